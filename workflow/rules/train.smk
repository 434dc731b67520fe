# Bases and runs. What hangs on weights hangs on their card, which holds their hash.


localrules:
    base,


rule base:
    output:
        card="weights/{owner}--{name}/card.json",
    log:
        "logs/weights/{owner}--{name}.log",
    conda:
        "../../environment.yml"
    params:
        out=subpath(output.card, parent=True),
    message:
        "Fetch {wildcards.owner}/{wildcards.name}"
    shell:
        "framer fetch --weights {wildcards.owner}/{wildcards.name} --out {params.out} 2> {log}"


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
    conda:
        "../../environment.yml"
    threads: graph.threads
    resources:
        cpus_per_task=graph.threads,
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
        " --expect {params.expect} 2> {log}"


rule train:
    input:
        data=lambda wildcards: graph.data_cards(graph.study.train_job(wildcards.run)),
        base=lambda wildcards: f"{graph.base(wildcards.run)}/card.json",
    output:
        card=f"{graph.out}/runs/{{run}}/card.json",
        weights=f"{graph.out}/runs/{{run}}/model.safetensors",
        config=f"{graph.out}/runs/{{run}}/config.json",
        curve=f"{graph.out}/runs/{{run}}/log.csv",
    log:
        f"{graph.logs}/train/{{run}}.log",
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
        expect=lambda wildcards: graph.study.train_job(wildcards.run).digest,
        code=lambda wildcards: graph.code("train", graph.study.train_job(wildcards.run).backbone),
        base=lambda wildcards: graph.base(wildcards.run),
        out=subpath(output.card, parent=True),
    message:
        "Train {wildcards.run}"
    shell:
        "framer train --study {params.study} --run {wildcards.run} --base {params.base} --out {params.out}"
        " --expect {params.expect} 2> {log}"
