# FRAMER: a whole study, from the data to the report.
#
#   snakemake --cores all --profile slurm           the paper study on a Slurm cluster
#   snakemake --cores all --config study=smoke      a small study on this machine
#
# One study file under config/ is read, and nothing else is configuration.

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import min_version

from framer.errors import UserError
from framer.provenance.code import fingerprint
from framer.weights.store import folder
from framer.dag.graph import DATASETS, Graph

min_version("9.22")

WEIGHTS = folder().as_posix()

try:
    graph = Graph.open(config)
except UserError as error:
    raise WorkflowError(str(error)) from None

if workflow.is_main_process:
    for line in graph.warnings():
        logger.warning(line)
    # Without a cluster, for which alone a number of jobs at once is given, jobs take turns on the GPU: a second beside the
    # first would take of its memory, and of its time, which one of them measures.
    if workflow.resource_settings.nodes is None and "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", 1)


report: "workflow/report/workflow.rst"


wildcard_constraints:
    set="[a-z0-9_-]+",
    base="[a-z0-9_-]+",
    row="[a-z0-9_-]+",
    run="[a-z0-9_-]+",
    protocol="[a-z0-9_-]+",


rule all:
    default_target: True
    input:
        graph.results(),
    message:
        "All of {graph.out} is made"


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/weights.smk"
include: "workflow/rules/restore.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/analyse.smk"
include: "workflow/rules/report.smk"


onsuccess:
    print(graph.summary())


onerror:
    print(f"A job failed: its log is named above. All logs lie under {graph.logs}/")
