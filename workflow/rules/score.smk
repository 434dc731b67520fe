# Scores: a tidy row per image and metric, one file per row of the table, set and protocol. One job scores all protocols of
# the study: each image is decoded once, and a metric that two protocols define alike is computed once.


rule score:
    input:
        sr=paths.images("{row}", "{set}") / CARD,
        data=dataset_card("{set}"),
        weights=metric_cards,
    output:
        scores=[paths.scores("{row}", "{set}", protocol) for protocol in study.config.protocols],
        sidecars=[paths.scores("{row}", "{set}", protocol, "json") for protocol in study.config.protocols],
    log:
        paths.log("score", "{row}", "{set}"),
    conda:
        "../../environment.yml"
    threads: threads_of_study
    resources:
        **requested("score", study),
    params:
        metrics=",".join(study.config.metrics),
        protocols=study.config.protocols,
        weights=metrics_state,
        code=fingerprint("score"),
        sr=subpath(input.sr, parent=True),
        hr=hr_option,
        threads=threads_of_study,
    message:
        "Score {wildcards.row} on {wildcards.set}"
    shell:
        "framer score --sr {params.sr} {params.hr} --metrics {params.metrics} --protocol {params.protocols}"
        " --out {output.scores} --threads {params.threads} > {log} 2>&1"
