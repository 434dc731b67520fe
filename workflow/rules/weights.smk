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
    message:
        "Fetch the weights {wildcards.weights}"
    shell:
        "framer fetch --weights {wildcards.weights} 2> {log}"


ruleorder: weights > base
