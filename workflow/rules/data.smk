# Data sets: fetched, or made by degrading another. A card stands for the images: it holds the hash of their index.


localrules:
    fetch,


# The manifest determines the bytes of a set: a change of the code that fetches is no reason to fetch again.
rule fetch:
    input:
        manifest=ancient(DATASETS / "{set}.yaml"),
    output:
        card=dataset_card("{set}"),
    log:
        LOGS / "datasets/{set}.log",
    wildcard_constraints:
        set=one_of(name for name, manifest in study.manifests.items() if not manifest.derived_from),
    conda:
        "../../environment.yml"
    params:
        manifest=manifest_digest,
    message:
        "Fetch {wildcards.set}"
    shell:
        "framer fetch {wildcards.set} 2> {log}"


rule degrade:
    input:
        manifest=ancient(DATASETS / "{set}.yaml"),
        source=source_card,
    output:
        card=dataset_card("{set}"),
    log:
        LOGS / "datasets/{set}.log",
    wildcard_constraints:
        set=one_of(name for name, manifest in study.manifests.items() if manifest.derived_from),
    conda:
        "../../environment.yml"
    resources:
        **requested("degrade", study),
    params:
        manifest=manifest_digest,
        code=fingerprint("degrade"),
    message:
        "Degrade {wildcards.set}"
    shell:
        "framer degrade {wildcards.set} 2> {log}"


# Captions of a set by a model: of its photographs, or of its LR images.
rule caption:
    input:
        images=dataset_card("{set}"),
        model=WEIGHTS / "{model}" / CARD,
    output:
        captions=CAPTIONS / "{model}/{set}.csv",
        sidecar=CAPTIONS / "{model}/{set}.json",
    log:
        LOGS / "captions/{model}/{set}.log",
    wildcard_constraints:
        model="[A-Za-z0-9_.-]+--[A-Za-z0-9_.-]+",
    conda:
        "../../environment.yml"
    resources:
        **requested("caption", study),
    params:
        images=captioned_images,
        model=subpath(input.model, parent=True),
        code=fingerprint("caption"),
    message:
        "Caption {wildcards.set} with {wildcards.model}"
    shell:
        "framer caption --images {params.images} --model {params.model} --out {output.captions} 2> {log}"
