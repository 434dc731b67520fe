# Restoration of the test sets: one job per row and set, never one per image.


rule restore:
    input:
        unpack(restore_inputs),
        lr=dataset_card("{set}"),
    output:
        card=paths.images("{row}", "{set}") / CARD,
    log:
        paths.log("restore", "{row}", "{set}"),
    wildcard_constraints:
        row=one_of(row.id for row in study.rows.values() if row.run),
    conda:
        "../../environment.yml"
    threads: threads_of_study
    resources:
        **requested("restore", study),
    params:
        options=restore_options,
        captions=restore_captions,
        code=restore_code,
        run=run_of_row,
        lr=subpath(input.lr, parent=True),
        out=subpath(output.card, parent=True),
    message:
        "Restore {wildcards.set} with {wildcards.row}"
    shell:
        "framer restore --checkpoint {params.run} --lr {params.lr}/LR --out {params.out} {params.options} 2> {log}"


# With a network of another architecture, from a file of published weights.
rule feed_forward:
    input:
        weights=model_inputs,
        lr=dataset_card("{set}"),
    output:
        card=paths.images("{row}", "{set}") / CARD,
    log:
        paths.log("restore", "{row}", "{set}"),
    wildcard_constraints:
        row=one_of(study.feed_forward),
    conda:
        "../../environment.yml"
    threads: threads_of_study
    resources:
        **requested("feed_forward", study),
    params:
        file=model_file,
        loose=model_bytes,
        options=model_options,
        code=triggers.code("restore", "spandrel"),
        lr=subpath(input.lr, parent=True),
        out=subpath(output.card, parent=True),
    message:
        "Restore {wildcards.set} with {wildcards.row}"
    shell:
        "framer restore --model {params.file} --lr {params.lr}/LR --out {params.out} {params.options} 2> {log}"


# With another method's own code, in an environment of its own. It needs no network.
rule method:
    input:
        unpack(method_inputs),
        lr=dataset_card("{set}"),
    output:
        card=paths.images("{row}", "{set}") / CARD,
    log:
        paths.log("restore", "{row}", "{set}"),
    wildcard_constraints:
        row=one_of(study.methods),
    conda:
        "../../environment.yml"
    resources:
        **requested("method", study),
    params:
        name=method_of_row,
        manifest=method_digest,
        seed=method_seed,
        code=fingerprint("run-method"),
        lr=subpath(input.lr, parent=True),
        out=subpath(output.card, parent=True),
    message:
        "Restore {wildcards.set} with {wildcards.row}"
    shell:
        "framer run-method {params.name} --lr {params.lr}/LR --out {params.out} --seed {params.seed} 2> {log}"


rule bicubic:
    input:
        lr=dataset_card("{set}"),
    output:
        card=paths.images("{row}", "{set}") / CARD,
    log:
        paths.log("restore", "{row}", "{set}"),
    wildcard_constraints:
        row=one_of(scope.interpolated),
    conda:
        "../../environment.yml"
    resources:
        **requested("bicubic", study),
    params:
        code=fingerprint("restore"),
        lr=subpath(input.lr, parent=True),
        out=subpath(output.card, parent=True),
    message:
        "Interpolate {wildcards.set}"
    shell:
        "framer restore --checkpoint bicubic --lr {params.lr}/LR --out {params.out} 2> {log}"


# Images that another method restored, as a user supplied them.
rule supplied:
    input:
        lr=dataset_card("{set}"),
    output:
        card=paths.images("{row}", "{set}") / CARD,
    log:
        paths.log("restore", "{row}", "{set}"),
    wildcard_constraints:
        row=one_of(study.supplied),
    conda:
        "../../environment.yml"
    resources:
        **requested("supplied", study),
    params:
        content=supplied_content,
        code=fingerprint("import-images"),
        images=supplied_images,
        source=supplied_source,
        lr=subpath(input.lr, parent=True),
        out=subpath(output.card, parent=True),
    message:
        "Import the images of {wildcards.row} for {wildcards.set}"
    shell:
        "framer import-images --images {params.images} --lr {params.lr}/LR --out {params.out} {params.source} 2> {log}"
