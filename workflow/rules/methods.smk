# Clones and environments of other people's methods, on the submit host: they need a network, and no job does.


localrules:
    fetch_method,
    build_method,


# The commit determines what is cloned, the manifest what is built.
rule fetch_method:
    output:
        card=METHODS / "{method}/clone" / CARD,
    log:
        LOGS / "methods/{method}-clone.log",
    wildcard_constraints:
        method=one_of(study.methods.values()),
    conda:
        "../../environment.yml"
    params:
        commit=method_commit,
    message:
        "Clone {wildcards.method}"
    shell:
        "framer fetch-method {wildcards.method} 2> {log}"


rule build_method:
    input:
        clone=METHODS / "{method}/clone" / CARD,
    output:
        card=METHODS / "{method}/environment" / CARD,
    log:
        LOGS / "methods/{method}-environment.log",
    wildcard_constraints:
        method=one_of(study.methods.values()),
    conda:
        "../../environment.yml"
    params:
        environment=method_environment,
    message:
        "Make the environment of {wildcards.method}"
    shell:
        "framer build-method {wildcards.method} 2> {log}"
