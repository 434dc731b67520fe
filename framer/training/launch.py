"""Several processes for one training: the same command again under torchrun, one process per GPU.

A rank counts only where this launcher started it. It hands `FRAMER_LAUNCH` to its processes, which torchrun repeats in
TORCHELASTIC_RUN_ID: RANK, WORLD_SIZE and their like, left in an environment by other programs, lack that pair.
"""

import os
import re
import shutil
import subprocess
import sys

from framer.errors import UserError

LAUNCH, RUN_ID = "FRAMER_LAUNCH", "TORCHELASTIC_RUN_ID"

PORT = 29400
"""Where the processes of several nodes meet; plus the job's number, so that two jobs on one node do not meet."""

_RANKS = re.compile(r"((GROUP|LOCAL|ROLE)_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)")
_FOREIGN = re.compile(r"ACCELERATE_\w+|FORK_LAUNCHED|(PMI|OMPI_COMM_WORLD|MV2_COMM_WORLD)_\w+")
"""What accelerate and torch read as ranks or as settings of a training: of torchrun, and of others."""


def relaunch(gpus: int, nodes: int) -> None:
    """Replace this process by torchrun with the same command, where it takes more than one process.

    Args:
        gpus: processes in all; 0 counts as one, on a CPU.
        nodes: nodes of the Slurm job in which this process runs.

    Raises:
        UserError: torchrun started this process, several nodes outside a Slurm job, or GPUs that are not evenly spread.
    """
    for flag, given, least in (("--gpus", gpus, 0), ("--nodes", nodes, 1)):
        if given < least:
            raise UserError(f"{given} is too few; give at least {least}", key=flag)
    if launched() or max(gpus, nodes) <= 1:
        return
    _refuse_foreign()
    token = os.environ.get("SLURM_JOB_ID", "") if nodes > 1 else os.urandom(16).hex()
    command = torchrun(gpus, nodes, sys.argv[1:], token)
    # Signals reach torchrun itself, which hands them on.
    os.execvpe(command[0], command, os.environ | {LAUNCH: token})


def torchrun(gpus: int, nodes: int, arguments: list[str], token: str) -> list[str]:
    """The command line that runs `framer ARGUMENTS` in `gpus` processes; see `relaunch`.

    Args:
        token: the run id of the processes; with several nodes the number of the Slurm job.
    """
    if gpus % nodes:
        raise UserError(f"{gpus} cannot be spread evenly over {nodes} nodes; use a multiple", key="--gpus")
    processes = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={gpus // nodes}"]
    # Without the dashes torchrun takes --run for an abbreviation of its own --run-path.
    framer = ["-m", "--", "framer", *arguments]
    meeting = ["--rdzv-backend=c10d", f"--rdzv-id={token}"]
    if nodes == 1:
        return [*processes, *meeting, "--rdzv-endpoint=localhost:0", *framer]  # 0: any free port
    job = os.environ.get("SLURM_JOB_ID")
    if not job or not shutil.which("srun"):
        raise UserError("several nodes need a Slurm job; run it with --profile slurm", key=f"--nodes {nodes}")
    # Snakemake's own step has one task on one node. Another step beside it starts a torchrun on each node.
    step = ["srun", f"--jobid={job}", "--overlap", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    meeting.append(f"--rdzv-endpoint={_first_node(job)}:{_port(job)}")
    return [*step, *processes, f"--nnodes={nodes}", *meeting, *framer]


def launched() -> bool:
    """Whether this process is a rank that `relaunch` started."""
    return bool(token := os.environ.get(LAUNCH)) and token == os.environ.get(RUN_ID)


def is_first_rank() -> bool:
    """Whether this process is the first of those that train together, known before they meet."""
    return not launched() or os.environ.get("RANK", "0") == "0"


def isolate() -> None:
    """Remove from the environment what other launchers left in it, so that it changes nothing in a training.

    Raises:
        UserError: torchrun started this process, and not through `relaunch`.
    """
    if not launched():
        _refuse_foreign()
    for name in list(os.environ):
        if _FOREIGN.fullmatch(name) or (not launched() and _RANKS.fullmatch(name)):
            del os.environ[name]


def _refuse_foreign() -> None:
    if RUN_ID in os.environ:
        raise UserError(
            f"torchrun or accelerate started this process; start the command itself with --gpus N, which starts its own"
            f" processes (if {RUN_ID} is only left over, unset it)",
            key=RUN_ID,
            code="conflict",
        )


def _first_node(job: str) -> str:
    listed = subprocess.run(["squeue", "-h", "-j", job, "-o", "%B"], capture_output=True, text=True, check=False)
    if listed.returncode or not listed.stdout.strip():
        raise UserError(f"squeue does not know the nodes of job {job}: {listed.stderr.strip()}", code="unavailable")
    return listed.stdout.split()[0]


def _port(job: str) -> int:
    return PORT + int(job) % 1000
