# FRAMER: a whole study, from the data to the report.
#
#   snakemake --cores all --profile slurm           the paper study on a Slurm cluster
#   snakemake --cores all --config study=smoke      a small study on this machine
#
# One study file under config/ is read, and nothing else is configuration.

from snakemake.utils import min_version

min_version("9.22")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


wildcard_constraints:
    set="[a-z0-9_-]+",
    base="[a-z0-9_-]+",
    row="[a-z0-9_-]+",
    run="[a-z0-9_-]+",
    protocol="[a-z0-9_-]+",


rule all:
    default_target: True
    input:
        targets.results(scope),
    message:
        "All of {paths.out} is made"


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/weights.smk"
include: "workflow/rules/methods.smk"
include: "workflow/rules/restore.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/analyse.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/rehearse.smk"


onsuccess:
    print(summary())


onerror:
    print(f"A job failed: its log is named above. All logs are under {paths.logs}/")
