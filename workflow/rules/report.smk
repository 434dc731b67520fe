# Tables and the report: made from scores, images and logs alone, in seconds and without torch.


rule tables:
    input:
        scores=graph.scores("csv"),
        sidecars=graph.scores("json"),
        cards=graph.images(),
        published=graph.published(),
        cost=graph.cost(),
    output:
        report(graph.tables("html"), caption="../report/tables.rst", category="Tables"),
        graph.tables("md", "tex", "csv"),
    log:
        f"{graph.logs}/tables.log",
    conda:
        "../../environment.yml"
    resources:
        cpus_per_task=1,
        mem_mb=2000,
        runtime=10,
    params:
        study=graph.path,
        shown=graph.presentation(),
        absent=sorted(graph.absent),
        code=fingerprint("tables"),
        out=subpath(output[0], parent=True),
    message:
        "Render the tables"
    shell:
        "framer tables --study {params.study} --out {params.out} --absent {params.absent} 2> {log}"


rule figures:
    input:
        scores=graph.scores("csv"),
        images=graph.images(),
        curves=graph.training_logs(),
        arrays=graph.analysed(),
    output:
        report(graph.figures("png"), caption="../report/figures.rst", category="Figures"),
        graph.figures("pdf"),
    log:
        f"{graph.logs}/figures.log",
    conda:
        "../../environment.yml"
    resources:
        cpus_per_task=1,
        mem_mb=4000,
        runtime=30,
    params:
        study=graph.path,
        shown=graph.presentation(),
        absent=sorted(graph.absent),
        code=fingerprint("figures"),
        out=subpath(output[0], parent=True),
    message:
        "Draw the figures"
    shell:
        "framer figures --study {params.study} --out {params.out} --absent {params.absent} 2> {log}"


rule report:
    input:
        f"{graph.out}/tables/main.csv",
        figures=graph.figures("png"),
        cards=graph.images(),
        scores=graph.scores("csv"),
        published=graph.published(),
    output:
        report(f"{graph.out}/report.html", caption="../report/report.rst", category="Report"),
    log:
        f"{graph.logs}/report.log",
    conda:
        "../../environment.yml"
    resources:
        cpus_per_task=1,
        mem_mb=2000,
        runtime=10,
    params:
        study=graph.path,
        shown=graph.presentation(),
        absent=sorted(graph.absent),
        code=fingerprint("report"),
    message:
        "Render the report"
    shell:
        "framer report --study {params.study} --out {output} --absent {params.absent} 2> {log}"
