"""The command line that starts several processes."""

import pytest
from torch.distributed.run import parse_args

from framer.errors import UserError
from framer.training.launch import relaunch, torchrun

ARGUMENTS = ["train", "--run", "a-s0", "--nodes", "2", "--role", "x"]


def test_torchrun_takes_no_argument_of_ours_for_its_own():
    python, *start, module = torchrun(2, 1, ARGUMENTS)[:3]
    assert start == ["-m"] and module == "torch.distributed.run" and python
    said = parse_args(torchrun(2, 1, ARGUMENTS)[3:])
    assert (said.module, said.training_script, said.training_script_args) == (True, "framer", ARGUMENTS)
    assert said.nproc_per_node == "2" and said.standalone


def test_several_nodes_meet_at_the_first_one(monkeypatch, tmp_path):
    for name, says in (("srun", ""), ("squeue", "echo node7")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{says}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "1234")
    command = torchrun(16, 2, ARGUMENTS)
    assert command[:4] == ["srun", "--jobid=1234", "--overlap", "--nodes=2"]
    assert {"--ntasks=2", "--nproc-per-node=8", "--nnodes=2", "--rdzv-endpoint=node7:29634"} <= set(command)


def test_several_nodes_need_slurm(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(UserError, match="several nodes need a Slurm job"):
        torchrun(4, 2, ARGUMENTS)
    with pytest.raises(UserError, match="--gpus 3: cannot be spread evenly over 2 nodes"):
        relaunch(3, 2)


def test_one_process_is_this_one():
    assert relaunch(1, 1) is None and relaunch(0, 1) is None
