# Bases and runs. What hangs on weights hangs on their card, which holds their hash.


localrules:
    base,


# A pipeline of diffusers or a model of transformers; single files come by the rule `weights`.
rule base:
    output:
        card=f"{WEIGHTS}/{{owner}}--{{name}}/card.json",
    log:
        "logs/weights/{owner}--{name}.log",
    conda:
        "../../environment.yml"
    message:
        "Fetch {wildcards.owner}/{wildcards.name}"
    shell:
        "framer fetch --weights {wildcards.owner}/{wildcards.name} 2> {log}"


rule pretrain:
    input:
        data=lambda wildcards: graph.data_cards(graph.study.pretrain_job(wildcards.base)),
    output:
        card=f"{graph.out}/bases/{{base}}/card.json",
        weights=f"{graph.out}/bases/{{base}}/model.safetensors",
        config=f"{graph.out}/bases/{{base}}/config.json",
        curve=f"{graph.out}/bases/{{base}}/log.csv",
    log:
        f"{graph.logs}/pretrain/{{base}}.log",
    wildcard_constraints:
        base="|".join(graph.study.bases) or "(?!)",
    conda:
        "../../environment.yml"
    threads: graph.threads
    resources:
        cpus_per_task=graph.threads,
        gpu=0,
        nodes=1,
        mem_mb=4000,
        runtime=60,
    params:
        study=graph.path,
        expect=lambda wildcards: graph.study.pretrain_job(wildcards.base).digest,
        code=lambda wildcards: graph.code("pretrain", graph.study.pretrain_job(wildcards.base).backbone),
        out=subpath(output.card, parent=True),
    message:
        "Pretrain the base {wildcards.base}"
    shell:
        "framer pretrain --study {params.study} --base {wildcards.base} --out {params.out}"
        " --expect {params.expect} --gpus {resources.gpu} --nodes {resources.nodes} 2> {log}"


# Latents and text embeddings of all pairs of a backbone: its runs share them.
rule encode:
    input:
        data=lambda wildcards: graph.encoded_data(wildcards.backbone),
        base=lambda wildcards: f"{graph.base_of(wildcards.backbone)}/card.json",
        captions=lambda wildcards: graph.training_captions(wildcards.backbone),
    output:
        card=f"{graph.out}/encoded/{{backbone}}/card.json",
    log:
        f"{graph.logs}/encode/{{backbone}}.log",
    conda:
        "../../environment.yml"
    threads: graph.threads
    resources:
        cpus_per_task=graph.threads,
        gpu=0 if graph.tiny else 1,
        mem_mb=4000 if graph.tiny else 64000,
        runtime=1440,
    params:
        study=graph.path,
        expect=lambda wildcards: graph.study.encode_job(wildcards.backbone).digest,
        captions=lambda wildcards: graph.training_captions_state(wildcards.backbone),
        code=lambda wildcards: graph.code("encode", wildcards.backbone),
        base=lambda wildcards: graph.base_of(wildcards.backbone),
        out=subpath(output.card, parent=True),
    message:
        "Encode the training pairs of {wildcards.backbone}"
    shell:
        "framer encode --study {params.study} --backbone {wildcards.backbone} --base {params.base} --out {params.out}"
        " --expect {params.expect} 2> {log}"


rule train:
    input:
        data=lambda wildcards: graph.data_cards(graph.study.train_job(wildcards.run)),
        base=lambda wildcards: f"{graph.base(wildcards.run)}/card.json",
        captions=lambda wildcards: graph.training_captions(graph.study.arm(wildcards.run).backbone),
        encoded=lambda wildcards: graph.encoded(wildcards.run),
        weights=lambda wildcards: graph.training_weights(wildcards.run),
    output:
        card=f"{graph.out}/runs/{{run}}/card.json",
        weights=f"{graph.out}/runs/{{run}}/model.safetensors",
        config=f"{graph.out}/runs/{{run}}/config.json",
        curve=f"{graph.out}/runs/{{run}}/log.csv",
    log:
        f"{graph.logs}/train/{{run}}.log",
    wildcard_constraints:
        run="|".join(graph.study.runs) or "(?!)",
    conda:
        "../../environment.yml"
    threads: graph.threads
    resources:
        cpus_per_task=lambda wildcards: graph.threads * max(1, graph.gpus(wildcards.run)),
        gpu=lambda wildcards: graph.gpus(wildcards.run),
        nodes=1,
        mem_mb=lambda wildcards: 4000 if graph.tiny else 64000 * graph.gpus(wildcards.run),
        runtime=1440,
    params:
        study=graph.path,
        expect=lambda wildcards: graph.study.train_job(wildcards.run).digest,
        captions=lambda wildcards: graph.training_captions_state(graph.study.arm(wildcards.run).backbone),
        code=lambda wildcards: graph.training_code(wildcards.run),
        base=lambda wildcards: graph.base(wildcards.run),
        encoded=lambda wildcards: graph.encoded_option(wildcards.run),
        out=subpath(output.card, parent=True),
    message:
        "Train {wildcards.run}"
    shell:
        "framer train --study {params.study} --run {wildcards.run} --base {params.base} --out {params.out}"
        " --expect {params.expect}{params.encoded} --gpus {resources.gpu} --nodes {resources.nodes} 2> {log}"


# Published weights as a run, which restores like one that was trained here.
rule release:
    input:
        base=lambda wildcards: f"{graph.base(wildcards.run)}/card.json",
        weights=lambda wildcards: graph.weights.cards([graph.study.released[wildcards.run]]),
    output:
        card=f"{graph.out}/runs/{{run}}/card.json",
        weights=f"{graph.out}/runs/{{run}}/model.safetensors",
        config=f"{graph.out}/runs/{{run}}/config.json",
    log:
        f"{graph.logs}/release/{{run}}.log",
    wildcard_constraints:
        run="|".join(graph.study.released) or "(?!)",
    conda:
        "../../environment.yml"
    resources:
        cpus_per_task=4,
        mem_mb=32000,
        runtime=60,
    params:
        file=lambda wildcards: graph.released_file(wildcards.run),
        loose=lambda wildcards: graph.weights.loose([graph.study.released[wildcards.run]]),
        backbone=lambda wildcards: graph.released_backbone(wildcards.run),
        code=lambda wildcards: graph.code("convert", graph.released_backbone(wildcards.run)),
        base=lambda wildcards: graph.base(wildcards.run),
        out=subpath(output.card, parent=True),
    message:
        "Make a run of the published weights of {wildcards.run}"
    shell:
        "framer convert {params.file} --backbone {params.backbone} --to run --base {params.base} --out {params.out}"
        " 2> {log}"
