# `snakemake rehearse --config study=NAME`: every kind of job of a study once, at full architecture with random weights, where a
# training would run. No result depends on it, so it is made anew when its report is deleted.


rule rehearsal:
    output:
        report=REHEARSED,
        table=REHEARSED.with_suffix(".csv"),
    log:
        paths.log("rehearse", "{backbone}"),
    wildcard_constraints:
        backbone=one_of(trained_backbones),
    conda:
        "../../environment.yml"
    threads: threads_of_study
    resources:
        cpus_per_task=rehearsal_resource("cpus_per_task"),
        gpu=rehearsal_resource("gpu"),
        mem_mb=rehearsal_resource("mem_mb"),
        runtime=240,
    params:
        study=study_file,
    message:
        "Rehearse {wildcards.backbone}"
    shell:
        "framer rehearse --study {params.study} --backbone {wildcards.backbone} > {log} 2>&1"


rule rehearse:
    input:
        expand(REHEARSED, backbone=trained_backbones),
    localrule: True
    message:
        "The reports are {input}"
