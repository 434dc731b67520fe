# Weights of metrics and of training losses: single files by their manifests. Their card records their hashes.


localrules:
    weights,


# No parameter: weights that a study without network took from packages are not fetched again by one with.
OFFLINE = "" if scope.weights.network else "HF_HUB_OFFLINE=1 "


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
        "{OFFLINE}framer fetch --weights {wildcards.weights} 2> {log}"


ruleorder: weights > base
