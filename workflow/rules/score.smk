# Scores: tidy rows an image and metric, one file a row of the table, set and protocol.


rule score:
    input:
        sr=f"{graph.out}/images/{{row}}/{{set}}/card.json",
        data=f"{DATASETS}/{{set}}/card.json",
        weights=lambda wildcards: graph.weights_cards(wildcards.protocol),
    output:
        scores=f"{graph.out}/scores/{{row}}/{{set}}/{{protocol}}.csv",
        sidecar=f"{graph.out}/scores/{{row}}/{{set}}/{{protocol}}.json",
    log:
        f"{graph.logs}/score/{{row}}/{{set}}/{{protocol}}.log",
    conda:
        "../../environment.yml"
    threads: graph.threads
    resources:
        cpus_per_task=graph.threads,
        gpu=0 if graph.tiny else 1,
        mem_mb=4000 if graph.tiny else 32000,
        runtime=120,
    params:
        metrics=",".join(graph.study.config.metrics),
        weights=lambda wildcards: graph.weights_state(wildcards.protocol),
        code=fingerprint("score"),
        sr=subpath(input.sr, parent=True),
        hr=lambda wildcards: graph.hr_option(wildcards.set),
        threads=graph.threads,
    message:
        "Score {wildcards.row} on {wildcards.set} ({wildcards.protocol})"
    shell:
        "framer score --sr {params.sr} {params.hr} --metrics {params.metrics} --protocol {wildcards.protocol}"
        " --out {output.scores} --threads {params.threads} > {log} 2>&1"
