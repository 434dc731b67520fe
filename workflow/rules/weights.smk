# Weights of metrics and of training losses: single files by their manifests. A card stands for them: it holds their hashes.


localrules:
    weights,


# What must come is said by the manifest; what came is bound by the card.
rule weights:
    output:
        card=f"{WEIGHTS}/{{weights}}/card.json",
    log:
        "logs/weights/{weights}.log",
    wildcard_constraints:
        weights="|".join(graph.weights.manifests) or "(?!)",
    conda:
        "../../environment.yml"
    message:
        "Fetch the weights {wildcards.weights}"
    shell:
        "framer fetch --weights {wildcards.weights} 2> {log}"


ruleorder: weights > base
