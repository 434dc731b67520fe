# Analyses of trained models, one job per backbone; and the cost of training, only where the study declares it.


rule analyse:
    input:
        unpack(analyse_inputs),
    output:
        card=paths.analysis("{backbone}") / CARD,
    log:
        paths.log("analyse", "{backbone}"),
    wildcard_constraints:
        backbone=one_of(scope.analyses),
    conda:
        "../../environment.yml"
    threads: threads_of_study
    resources:
        **requested("analyse", study),
        rivals=rivals_option,
    params:
        study=study_file,
        expect=analyse_digest,
        captions=analyse_captions,
        code=analyse_code,
        out=subpath(output.card, parent=True),
    message:
        "Analyse {wildcards.backbone}"
    shell:
        "framer analyse --study {params.study} {resources.rivals} --backbone {wildcards.backbone} --out {params.out}"
        " --expect {params.expect} 2> {log}"


# A measurement: only another question repeats it, neither changed code nor runs that are trained again.
rule cost:
    input:
        runs=ancient([paths.run(run) / CARD for run in (scope.cost.runs.values() if scope.cost else [])]),
    output:
        table=paths.cost,
    log:
        paths.log("analyse", "cost"),
    conda:
        "../../environment.yml"
    threads: threads_of_study
    resources:
        **requested("cost", study),
        rivals=rivals_option,
    params:
        study=study_file,
        expect=scope.cost.digest if scope.cost else "",
    message:
        "Measure what training costs"
    shell:
        "framer analyse --study {params.study} {resources.rivals} --cost --out {output.table}"
        " --expect {params.expect} 2> {log}"
