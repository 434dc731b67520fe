# Tables, figures and the report: made from scores, images and logs alone, in seconds and without torch.
# The images are read, too; scores depend on them, so that they need not be inputs once more. The table `main.csv` names
# the hashes behind each cell: whatever changes a score or an image changes it.


rule tables:
    input:
        scores=targets.scores(scope, "csv"),
        sidecars=targets.scores(scope, "json"),
        published=inputs.published(scope),
        cost=targets.cost(scope),
    output:
        report(targets.tables(scope, "html"), caption="../report/tables.rst", category="Tables"),
        targets.tables(scope, "md", "tex", "csv"),
    log:
        paths.log("tables"),
    conda:
        "../../environment.yml"
    resources:
        **requested("tables", study),
    params:
        study=study_shown,
        shown=triggers.presentation(scope),
        missing=sorted(scope.missing),
        code=fingerprint("tables"),
        out=subpath(output[0], parent=True),
    message:
        "Render the tables"
    shell:
        "framer tables --study {params.study} --out {params.out} --missing {params.missing} 2> {log}"


rule figures:
    input:
        scores=targets.scores(scope, "csv"),
        curves=targets.training_logs(scope),
        arrays=targets.analyses(scope),
        published=inputs.published(scope),
    output:
        report(targets.figures(scope, "svg"), caption="../report/figures.rst", category="Figures"),
        targets.figures(scope, "pdf"),
    log:
        paths.log("figures"),
    conda:
        "../../environment.yml"
    resources:
        **requested("figures", study),
    params:
        study=study_shown,
        shown=triggers.presentation(scope),
        missing=sorted(scope.missing),
        code=fingerprint("figures"),
        out=subpath(output[0], parent=True),
    message:
        "Draw the figures"
    shell:
        "framer figures --study {params.study} --out {params.out} --missing {params.missing} 2> {log}"


rule report:
    input:
        paths.table("main", "csv"),
        figures=targets.figures(scope, "svg"),
        published=inputs.published(scope),
    output:
        report(paths.report, caption="../report/report.rst", category="Report"),
    log:
        paths.log("report"),
    conda:
        "../../environment.yml"
    resources:
        **requested("report", study),
    params:
        study=study_shown,
        shown=triggers.presentation(scope),
        missing=sorted(scope.missing),
        code=fingerprint("report"),
    message:
        "Render the report"
    shell:
        "framer report --study {params.study} --out {output} --missing {params.missing} 2> {log}"
