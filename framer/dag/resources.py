"""What a job of each rule requests from a cluster: one table for the workflow, the plan and `framer doctor --cluster`.

CPUs are requested by `cpus_per_task`: `snakemake --cores all` would limit `threads` to the cores of the login node. A
profile overrides each value by `set-resources`; none of them is part of a result. The rules that fetch are not listed:
they run on the login node.
"""

from dataclasses import dataclass

from framer.study.study import Study

TINY_MEMORY = 4000
"""MB of a job that runs tiny networks, on CPUs."""


@dataclass(frozen=True)
class Request:
    """Request of one job at full size.

    Attributes:
        mem_mb: memory in MB; of a training per GPU.
        runtime: time limit in minutes; of a training that of one slice, after which it resumes.
        cpus: None for the threads of the study; of a training these are per GPU.
        gpu: None for a rule that never uses one.
        nodes: None for a rule that never runs on several.
        tiny: whether the job runs networks of the study, which need no GPU where they are tiny.
    """

    mem_mb: int
    runtime: int
    cpus: int | None = None
    gpu: int | None = None
    nodes: int | None = None
    tiny: bool = False


TABLE = {
    "degrade": Request(4000, 60, cpus=1),
    "caption": Request(64000, 1440, cpus=4, gpu=1),
    "pretrain": Request(TINY_MEMORY, 60, gpu=0, nodes=1),
    "encode": Request(64000, 1440, gpu=1, tiny=True),
    "train": Request(64000, 1440, gpu=1, nodes=1, tiny=True),
    "tune": Request(2000, 10, cpus=1),
    "release": Request(32000, 60, cpus=4),
    "restore": Request(32000, 1440, gpu=1, tiny=True),
    "feed_forward": Request(16000, 240, gpu=1, tiny=True),
    "method": Request(64000, 1440, cpus=8, gpu=1),
    "bicubic": Request(2000, 60, cpus=1),
    "supplied": Request(2000, 60, cpus=1),
    "score": Request(32000, 120, gpu=1, tiny=True),
    "analyse": Request(64000, 240, gpu=1, tiny=True),
    "cost": Request(64000, 240, gpu=1, tiny=True),
    "tables": Request(2000, 10, cpus=1),
    "figures": Request(4000, 30, cpus=1),
    "report": Request(2000, 10, cpus=1),
}


def requested(rule: str, study: Study, backbone: str | None = None) -> dict[str, int]:
    """The resources of a job, by Snakemake's names.

    Args:
        rule: a key of `TABLE`.
        study: its threads, and whether its networks are tiny.
        backbone: of a training, which takes as many GPUs as the study sets for it.
    """
    request = TABLE[rule]
    tiny = request.tiny and study.tiny
    gpus = study.config.backbones[backbone].gpus if backbone else 1
    found = {
        "cpus_per_task": request.cpus or study.config.threads * (1 if tiny else gpus),
        "mem_mb": TINY_MEMORY if tiny else request.mem_mb * gpus,
        "runtime": request.runtime,
    }
    if request.gpu is not None:
        found["gpu"] = 0 if tiny else request.gpu * gpus
    if request.nodes is not None:
        found["nodes"] = request.nodes
    return found


def uses_gpu(rule: str, study: Study) -> bool:
    """Whether the jobs of a rule run on GPUs."""
    return requested(rule, study).get("gpu", 0) > 0
