"""Several processes for one training: the same command again under torchrun, one process a GPU."""

import os
import shutil
import subprocess
import sys

from framer.errors import UserError

PORT = 29400
"""Where the processes of several nodes meet; plus the job's number, so that two jobs on one node do not meet."""


def relaunch(gpus: int, nodes: int) -> None:
    """Replace this process by torchrun with the same command, where it takes more than one process.

    Args:
        gpus: processes in all; 0 counts as one, on a CPU.
        nodes: nodes of the Slurm job in which this process runs.

    Raises:
        UserError: several nodes outside a Slurm job, or GPUs that are not evenly spread over them.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ or max(gpus, nodes) <= 1:
        return
    command = torchrun(gpus, nodes, sys.argv[1:])
    os.execvp(command[0], command)  # signals reach torchrun itself, which hands them on


def torchrun(gpus: int, nodes: int, arguments: list[str]) -> list[str]:
    """The command line that runs `framer ARGUMENTS` in `gpus` processes; see `relaunch`."""
    if gpus % nodes:
        raise UserError(f"--gpus {gpus}: cannot be spread evenly over {nodes} nodes")
    processes = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={gpus // nodes}"]
    # Without the dashes torchrun takes --run for an abbreviation of its own --run-path.
    framer = ["-m", "--", "framer", *arguments]
    if nodes == 1:
        return [*processes, "--standalone", *framer]
    job = os.environ.get("SLURM_JOB_ID")
    if not job or not shutil.which("srun"):
        raise UserError(f"--nodes {nodes}: several nodes need a Slurm job; run it with --profile slurm")
    # Snakemake's own step has one task on one node. Another step beside it starts a torchrun on each node.
    step = ["srun", f"--jobid={job}", "--overlap", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    meeting = ["--rdzv-backend=c10d", f"--rdzv-id={job}", f"--rdzv-endpoint={_first_node(job)}:{_port(job)}"]
    return [*step, *processes, f"--nnodes={nodes}", *meeting, *framer]


def _first_node(job: str) -> str:
    listed = subprocess.run(["squeue", "-h", "-j", job, "-o", "%B"], capture_output=True, text=True, check=False)
    if listed.returncode or not listed.stdout.strip():
        raise UserError(f"squeue does not know the nodes of job {job}: {listed.stderr.strip()}")
    return listed.stdout.split()[0]


def _port(job: str) -> int:
    return PORT + int(job) % 1000
