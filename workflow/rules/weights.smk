# Weights of metrics and of training losses: single files by their manifests. Their card records their hashes.


localrules:
    weights,
    metric_weights,


# The manifest determines what to fetch; the card records what was fetched.
rule weights:
    output:
        card=WEIGHTS / "{weights}" / CARD,
    log:
        LOGS / "weights/{weights}.log",
    wildcard_constraints:
        weights=one_of(scope.weights.manifests),
    conda:
        "../../environment.yml"
    resources:
        # Not a parameter, which would trigger: weights that a study without network took from packages stay for others.
        offline=int(not scope.weights.network),
    message:
        "Fetch the weights {wildcards.weights}"
    shell:
        "HF_HUB_OFFLINE={resources.offline} framer fetch --weights {wildcards.weights} 2> {log}"


# Weights of metrics that only the network has. Those that cannot be fetched are n/a in the tables, and each run tries them
# again: the time of the attempt before is another parameter. Only what arrived is an input of scoring.
checkpoint metric_weights:
    output:
        failures=paths.failures,
    log:
        paths.log("metric_weights"),
    conda:
        "../../environment.yml"
    params:
        weights=[f"--weights {name}" for name in scope.optional_weights],
        attempted=paths.failures.stat().st_mtime if paths.failures.is_file() else None,
    message:
        "Fetch weights of metrics"
    shell:
        "framer fetch {params.weights} --failures {output} 2> {log}"


ruleorder: weights > base
