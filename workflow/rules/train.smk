# Bases and runs. Rules depend on `card.json`, which records the SHA-256 of the weights.


localrules:
    base,


# A pipeline of diffusers or a model of transformers; the rule `weights` fetches single files.
rule base:
    output:
        card=WEIGHTS / "{owner}--{name}" / CARD,
    log:
        LOGS / "weights/{owner}--{name}.log",
    conda:
        "../../environment.yml"
    message:
        "Fetch {wildcards.owner}/{wildcards.name}"
    shell:
        "framer fetch --weights {wildcards.owner}/{wildcards.name} 2> {log}"


rule pretrain:
    input:
        data=pretrain_inputs,
    output:
        card=paths.base("{base}") / "card.json",
        weights=paths.base("{base}") / "model.safetensors",
        config=paths.base("{base}") / "config.json",
        curve=paths.base("{base}") / "log.csv",
    log:
        paths.log("pretrain", "{base}"),
    wildcard_constraints:
        base=one_of(study.bases),
    conda:
        "../../environment.yml"
    threads: threads_of_study
    resources:
        **requested("pretrain", study),
    params:
        study=study_file,
        expect=pretrain_digest,
        code=pretrain_code,
        out=subpath(output.card, parent=True),
    message:
        "Pretrain the base {wildcards.base}"
    shell:
        "framer pretrain --study {params.study} --base {wildcards.base} --out {params.out}"
        " --expect {params.expect} --gpus {resources.gpu} --nodes {resources.nodes} 2> {log}"


# Latents and text embeddings of all pairs of a backbone: its runs share them.
rule encode:
    input:
        unpack(encode_inputs),
    output:
        card=paths.encoded("{backbone}") / CARD,
    log:
        paths.log("encode", "{backbone}"),
    conda:
        "../../environment.yml"
    threads: threads_of_study
    resources:
        **requested("encode", study),
    params:
        study=study_file,
        expect=encode_digest,
        captions=encode_captions,
        code=encode_code,
        base=encode_base,
        out=subpath(output.card, parent=True),
    message:
        "Encode the training pairs of {wildcards.backbone}"
    shell:
        "framer encode --study {params.study} --backbone {wildcards.backbone} --base {params.base} --out {params.out}"
        " --expect {params.expect} 2> {log}"


# At other seeds than those of a search, a tuned run waits for its choice, which is an input: its digest does not have the weight.
rule train:
    input:
        unpack(train_inputs),
    output:
        card=paths.run("{run}") / "card.json",
        weights=paths.run("{run}") / "model.safetensors",
        config=paths.run("{run}") / "config.json",
        curve=paths.run("{run}") / "log.csv",
    log:
        paths.log("train", "{run}"),
    wildcard_constraints:
        run=one_of(run for run in study.runs if run not in study.searched),
    conda:
        "../../environment.yml"
    threads: threads_of_study
    resources:
        **{name: value for name, value in requested("train", study).items() if name in ("nodes", "runtime")},
        cpus_per_task=train_resource("cpus_per_task"),
        gpu=train_resource("gpu"),
        mem_mb=train_resource("mem_mb"),
    params:
        study=study_file,
        expect=train_digest,
        captions=train_captions,
        code=train_code,
        base=base_of_run,
        encoded=encoded_option,
        out=subpath(output.card, parent=True),
    message:
        "Train {wildcards.run}"
    shell:
        "framer train --study {params.study} --run {wildcards.run} --base {params.base} --out {params.out}"
        " --expect {params.expect}{params.encoded} --gpus {resources.gpu} --nodes {resources.nodes} 2> {log}"


# The search for the weight of an auxiliary loss: the run with the best one is the tuned arm's of that seed.
rule tune:
    input:
        unpack(tune_inputs),
    output:
        choice=paths.tuning("{run}"),
        card=paths.run("{run}") / "card.json",
        weights=paths.run("{run}") / "model.safetensors",
        config=paths.run("{run}") / "config.json",
        curve=paths.run("{run}") / "log.csv",
    log:
        paths.log("tune", "{run}"),
    wildcard_constraints:
        run=one_of(study.searched),
    conda:
        "../../environment.yml"
    resources:
        **requested("tune", study),
    params:
        study=study_file,
        expect=search_digest,
        code=fingerprint("tune"),
        out=subpath(output.card, parent=True),
    message:
        "Tune {wildcards.run}"
    shell:
        "framer tune --study {params.study} --run {wildcards.run} --out {params.out} --expect {params.expect} 2> {log}"


# Published weights as a run, which restores like a trained one.
rule release:
    input:
        unpack(release_inputs),
    output:
        card=paths.run("{run}") / "card.json",
        weights=paths.run("{run}") / "model.safetensors",
        config=paths.run("{run}") / "config.json",
    log:
        paths.log("release", "{run}"),
    wildcard_constraints:
        run=one_of(study.released),
    conda:
        "../../environment.yml"
    resources:
        **requested("release", study),
    params:
        file=released_file,
        loose=released_bytes,
        backbone=released_backbone,
        code=release_code,
        base=base_of_run,
        out=subpath(output.card, parent=True),
    message:
        "Make a run of the published weights of {wildcards.run}"
    shell:
        "framer convert {params.file} --backbone {params.backbone} --to run --base {params.base} --out {params.out}"
        " 2> {log}"
