"""The command line that starts several processes, and who counts as one of them."""

import os

import pytest
from torch.distributed.run import parse_args

from framer.errors import UserError
from framer.training.launch import LAUNCH, RUN_ID, is_first_rank, isolate, relaunch, torchrun

ARGUMENTS = ["train", "--run", "a-s0", "--nodes", "2", "--role", "x"]


def test_torchrun_takes_no_argument_of_ours_for_its_own():
    python, *start, module = torchrun(2, 1, ARGUMENTS, "t1")[:3]
    assert start == ["-m"] and module == "torch.distributed.run" and python
    said = parse_args(torchrun(2, 1, ARGUMENTS, "t1")[3:])
    assert (said.module, said.training_script, said.training_script_args) == (True, "framer", ARGUMENTS)
    assert (said.nproc_per_node, said.rdzv_id, said.rdzv_endpoint) == ("2", "t1", "localhost:0")


def test_several_nodes_meet_at_the_first_one(monkeypatch, tmp_path):
    for name, says in (("srun", ""), ("squeue", "echo node7")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{says}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "1234")
    command = torchrun(16, 2, ARGUMENTS, "1234")
    assert command[:4] == ["srun", "--jobid=1234", "--overlap", "--nodes=2"]
    assert {"--ntasks=2", "--nproc-per-node=8", "--nnodes=2", "--rdzv-endpoint=node7:29634"} <= set(command)


def test_several_nodes_need_slurm(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv(RUN_ID, raising=False)
    with pytest.raises(UserError, match="several nodes need a Slurm job"):
        torchrun(4, 2, ARGUMENTS, "")
    with pytest.raises(UserError, match="--gpus: 3 cannot be spread evenly over 2 nodes"):
        relaunch(3, 2)


def test_one_process_is_this_one():
    assert relaunch(1, 1) is None and relaunch(0, 1) is None


@pytest.mark.parametrize(("gpus", "nodes", "key"), [(-1, 1, "--gpus"), (1, 0, "--nodes"), (2, -2, "--nodes")])
def test_no_nodes_or_fewer_than_no_gpus_are_refused(gpus, nodes, key):
    with pytest.raises(UserError) as error:
        relaunch(gpus, nodes)
    assert error.value.key == key


LEFT_OVER = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "PMI_RANK": "1"}


@pytest.fixture
def environment(monkeypatch):
    """Set variables; all of them are put back."""
    before = dict(os.environ)
    yield os.environ.update
    os.environ.clear()
    os.environ.update(before)


def test_ranks_that_other_programs_left_do_not_count(environment):
    settings = {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "ACCELERATE_MIXED_PRECISION": "bf16"}
    environment(LEFT_OVER | settings)
    assert is_first_rank()
    isolate()
    assert not (LEFT_OVER | settings).keys() & os.environ.keys()


def test_a_foreign_torchrun_is_refused_with_the_flag_to_use(environment):
    environment(LEFT_OVER | {RUN_ID: "none", LAUNCH: "of an earlier start"})
    for start in (isolate, lambda: relaunch(2, 1)):
        with pytest.raises(UserError, match="--gpus N") as error:
            start()
        assert (error.value.key, error.value.code) == (RUN_ID, "conflict")


def test_our_own_ranks_count(environment):
    environment(LEFT_OVER | {RUN_ID: "t1", LAUNCH: "t1"})
    isolate()
    assert not is_first_rank() and os.environ["WORLD_SIZE"] == "2"
    assert relaunch(2, 1) is None
