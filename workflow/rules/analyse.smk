# Analyses of trained models, a job a backbone; and what training costs, only where the study says so.

from framer.study import analysis_jobs as analyses

measured = analyses.cost_job(graph.study, graph.absent)


rule analyse:
    input:
        runs=lambda wildcards: [
            f"{graph.out}/runs/{run}/card.json" for run in analyses.analyse_job(graph.study, wildcards.backbone).needed
        ],
        data=lambda wildcards: f"{DATASETS}/{analyses.analyse_job(graph.study, wildcards.backbone).set}/card.json",
        captions=lambda wildcards: graph.captions(wildcards.backbone, [graph.study.config.analysis.set]),
    output:
        card=f"{graph.out}/analysis/{{backbone}}/card.json",
    log:
        f"{graph.logs}/analyse/{{backbone}}.log",
    wildcard_constraints:
        backbone="|".join(analyses.analysed(graph.study, graph.absent)) or "(?!)",
    conda:
        "../../environment.yml"
    threads: graph.threads
    resources:
        cpus_per_task=graph.threads,
        gpu=0 if graph.tiny else 1,
        mem_mb=4000 if graph.tiny else 64000,
        runtime=240,
    params:
        study=graph.path,
        expect=lambda wildcards: analyses.analyse_job(graph.study, wildcards.backbone).digest,
        captions=lambda wildcards: graph.captions_state(wildcards.backbone, [graph.study.config.analysis.set]),
        code=lambda wildcards: graph.code("analyse", wildcards.backbone, framer=True),
        out=subpath(output.card, parent=True),
    message:
        "Analyse {wildcards.backbone}"
    shell:
        "framer analyse --study {params.study} --backbone {wildcards.backbone} --out {params.out}"
        " --expect {params.expect} 2> {log}"


# A measurement: only another question makes it again, neither code nor the runs that are trained anew.
rule cost:
    input:
        runs=ancient([f"{graph.out}/runs/{run}/card.json" for run in (measured.runs.values() if measured else [])]),
    output:
        table=f"{graph.out}/analysis/cost.csv",
    log:
        f"{graph.logs}/analyse/cost.log",
    conda:
        "../../environment.yml"
    threads: graph.threads
    resources:
        cpus_per_task=graph.threads,
        gpu=0 if graph.tiny else 1,
        mem_mb=4000 if graph.tiny else 64000,
        runtime=240,
    params:
        study=graph.path,
        expect=measured.digest if measured else "",
    message:
        "Measure what training costs"
    shell:
        "framer analyse --study {params.study} --cost --out {output.table} --expect {params.expect} 2> {log}"
