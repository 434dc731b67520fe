# Scores: a tidy row per image and metric, one file per row of the table, set and protocol.


rule score:
    input:
        sr=paths.images("{row}", "{set}") / CARD,
        data=dataset_card("{set}"),
        weights=weights_cards,
    output:
        scores=paths.scores("{row}", "{set}", "{protocol}"),
        sidecar=paths.scores("{row}", "{set}", "{protocol}", "json"),
    log:
        paths.log("score", "{row}", "{set}", "{protocol}"),
    conda:
        "../../environment.yml"
    threads: threads_of_study
    resources:
        **requested("score", study),
    params:
        metrics=",".join(study.config.metrics),
        weights=weights_state,
        code=fingerprint("score"),
        sr=subpath(input.sr, parent=True),
        hr=hr_option,
        threads=threads_of_study,
    message:
        "Score {wildcards.row} on {wildcards.set} ({wildcards.protocol})"
    shell:
        "framer score --sr {params.sr} {params.hr} --metrics {params.metrics} --protocol {wildcards.protocol}"
        " --out {output.scores} --threads {params.threads} > {log} 2>&1"
