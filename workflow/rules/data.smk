# Data sets: fetched, or made by degrading another. A card stands for the images: it holds the hash of their index.


localrules:
    fetch,


# What must come is said by the manifest, to the byte; the code that brings it is no reason to bring it again.
rule fetch:
    input:
        manifest=ancient(f"{DATASETS}/{{set}}.yaml"),
    output:
        card=f"{DATASETS}/{{set}}/card.json",
    log:
        "logs/datasets/{set}.log",
    wildcard_constraints:
        set="|".join(graph.fetched_sets) or "(?!)",
    conda:
        "../../environment.yml"
    params:
        manifest=lambda wildcards: graph.manifest(wildcards.set),
    message:
        "Fetch {wildcards.set}"
    shell:
        "framer fetch {wildcards.set} 2> {log}"


rule degrade:
    input:
        manifest=ancient(f"{DATASETS}/{{set}}.yaml"),
        source=lambda wildcards: graph.source_card(wildcards.set),
    output:
        card=f"{DATASETS}/{{set}}/card.json",
    log:
        "logs/datasets/{set}.log",
    wildcard_constraints:
        set="|".join(graph.derived_sets) or "(?!)",
    conda:
        "../../environment.yml"
    resources:
        cpus_per_task=1,
        mem_mb=4000,
        runtime=60,
    params:
        manifest=lambda wildcards: graph.manifest(wildcards.set),
        code=fingerprint("degrade"),
    message:
        "Degrade {wildcards.set}"
    shell:
        "framer degrade {wildcards.set} 2> {log}"


# Captions of a set by a model: of its photographs, or of its LR images.
rule caption:
    input:
        images=f"{DATASETS}/{{set}}/card.json",
        model=f"{WEIGHTS}/{{model}}/card.json",
    output:
        captions="captions/{model}/{set}.csv",
        sidecar="captions/{model}/{set}.json",
    log:
        "logs/captions/{model}/{set}.log",
    wildcard_constraints:
        model="[A-Za-z0-9_.-]+--[A-Za-z0-9_.-]+",
    conda:
        "../../environment.yml"
    resources:
        cpus_per_task=4,
        gpu=1,
        mem_mb=64000,
        runtime=1440,
    params:
        images=lambda wildcards: graph.captioned_folder(wildcards.set),
        model=subpath(input.model, parent=True),
        code=fingerprint("caption"),
    message:
        "Caption {wildcards.set} with {wildcards.model}"
    shell:
        "framer caption --images {params.images} --model {params.model} --out {output.captions} 2> {log}"
