# Restoring the test sets: one job a row and set, never one an image.


rule restore:
    input:
        run=lambda wildcards: f"{graph.run(wildcards.row)}/card.json",
        captions=lambda wildcards: graph.restoring_captions(wildcards.row, wildcards.set),
        lr=f"{DATASETS}/{{set}}/card.json",
    output:
        card=f"{graph.out}/images/{{row}}/{{set}}/card.json",
    log:
        f"{graph.logs}/restore/{{row}}/{{set}}.log",
    wildcard_constraints:
        row="|".join(graph.model_rows) or "(?!)",
    conda:
        "../../environment.yml"
    threads: graph.threads
    resources:
        cpus_per_task=graph.threads,
        gpu=0 if graph.tiny else 1,
        mem_mb=4000 if graph.tiny else 32000,
        runtime=1440,
    params:
        options=lambda wildcards: graph.restore_options(wildcards.row, wildcards.set),
        captions=lambda wildcards: graph.restoring_captions_state(wildcards.row, wildcards.set),
        code=lambda wildcards: graph.code("restore", graph.study.restore_job(wildcards.row).backbone),
        run=lambda wildcards: graph.run(wildcards.row),
        lr=subpath(input.lr, parent=True),
        out=subpath(output.card, parent=True),
    message:
        "Restore {wildcards.set} with {wildcards.row}"
    shell:
        "framer restore --checkpoint {params.run} --lr {params.lr}/LR --out {params.out} {params.options} 2> {log}"


rule bicubic:
    input:
        lr=f"{DATASETS}/{{set}}/card.json",
    output:
        card=f"{graph.out}/images/{{row}}/{{set}}/card.json",
    log:
        f"{graph.logs}/restore/{{row}}/{{set}}.log",
    wildcard_constraints:
        row="|".join(graph.untrained_rows) or "(?!)",
    conda:
        "../../environment.yml"
    resources:
        cpus_per_task=1,
        mem_mb=2000,
        runtime=60,
    params:
        code=fingerprint("restore"),
        lr=subpath(input.lr, parent=True),
        out=subpath(output.card, parent=True),
    message:
        "Interpolate {wildcards.set}"
    shell:
        "framer restore --checkpoint bicubic --lr {params.lr}/LR --out {params.out} 2> {log}"


# What another method restored, as its user put it there.
rule supplied:
    input:
        lr=f"{DATASETS}/{{set}}/card.json",
    output:
        card=f"{graph.out}/images/{{row}}/{{set}}/card.json",
    log:
        f"{graph.logs}/restore/{{row}}/{{set}}.log",
    wildcard_constraints:
        row="|".join(graph.study.supplied) or "(?!)",
    conda:
        "../../environment.yml"
    resources:
        cpus_per_task=1,
        mem_mb=2000,
        runtime=60,
    params:
        content=lambda wildcards: graph.supplied_state(wildcards.row, wildcards.set),
        code=fingerprint("import-images"),
        images=lambda wildcards: graph.supplied_folder(wildcards.row, wildcards.set),
        lr=subpath(input.lr, parent=True),
        out=subpath(output.card, parent=True),
    message:
        "Take over the images of {wildcards.row} for {wildcards.set}"
    shell:
        "framer import-images --images {params.images} --lr {params.lr}/LR --out {params.out} 2> {log}"
