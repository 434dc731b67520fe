"""What `framer doctor --cluster` says of clusters that are described, not there."""

import errno
import os
from dataclasses import replace

import pytest
import yaml

from framer.doctor import slurm
from framer.doctor.slurm import Cluster, examine, gpus, parse_config, parse_partitions, requested, seconds
from framer.errors import UserError

CONFIG = """Configuration data as of 2026-11-23T12:00:00
AccountingStorageType   = accounting_storage/slurmdbd
KillWait                = 30 sec
MinJobAge               = 300 sec
PreemptMode             = REQUEUE
JobRequeue              = 1
"""
PARTITIONS = """PartitionName=main Default=YES MaxTime=2-00:00:00 PreemptMode=REQUEUE
PartitionName=short Default=NO MaxTime=01:00:00 PreemptMode=OFF
"""
NODES = (
    {"CPUTot": "64", "RealMemory": "512000", "Gres": "gpu:h100:8(S:0-1)", "Partitions": "main"},
    {"CPUTot": "128", "RealMemory": "1024000", "Gres": "(null)", "Partitions": "main,short"},
)
GOOD = Cluster(parse_config(CONFIG), parse_partitions(PARTITIONS), NODES)


def wrong(cluster, root):
    return {finding.check: finding.detail for finding in examine(cluster, root) if finding.wrong}


def configured(**more):
    return replace(GOOD, config={**GOOD.config, **more})


def test_a_good_cluster_has_nothing_wrong(clone):
    assert not wrong(GOOD, clone)


@pytest.mark.parametrize(
    ("cluster", "check", "says"),
    [
        (replace(GOOD, programs=("sbatch",)), "programs", "sbatch: not found"),
        (configured(MinJobAge="30 sec"), "status of jobs", "to at most 10"),
        (configured(KillWait="5 sec"), "time for a checkpoint", "5 s from SIGTERM"),
        (replace(GOOD, environment={"SLURM_CONF": "x/slurm.conf"}), "SLURM_CONF", "does not reach"),
        (
            replace(GOOD, partitions={"main": {"Default": "YES", "MaxTime": "1-00:00:00", "PreemptMode": "CANCEL"}}),
            "preemption",
            "PreemptMode of main is CANCEL",
        ),
        (replace(GOOD, nodes=NODES[1:]), "size of train", "gpu 4 of 0 on one node: sbatch refuses it"),
        (replace(GOOD, nodes=({**NODES[0], "RealMemory": "60000"},)), "size of train", "mem_mb 256000 of 60000"),
        # One has the GPU and another one the memory.
        (replace(GOOD, nodes=({**NODES[0], "RealMemory": "20000"}, NODES[1])), "size of restore", "on one node"),
        (replace(GOOD, partitions={"short": {"MaxTime": "01:00:00"}}), "partition of train", "no default partition"),
    ],
)
def test_each_trap_is_named(clone, cluster, check, says):
    assert says in wrong(cluster, clone)[check]


def test_a_limit_that_a_partition_does_not_give_is_wrong_until_the_profile_asks_for_less(clone):
    short = replace(GOOD, partitions={"short": {"Default": "YES", "MaxTime": "01:00:00"}})
    assert "1440 min, of 60 in short: would wait forever" in wrong(short, clone)["runtime of train"]
    profile = clone / "slurm/profile.yaml"
    profile.write_text(profile.read_text() + "set-resources:\n  train: {runtime: 50}\n")
    assert "runtime of train" not in wrong(short, clone)


def test_a_cluster_without_sacct_is_usable(clone):
    cluster = replace(GOOD, programs=("sacct",))
    assert not wrong(cluster, clone)
    [about] = [finding for finding in examine(cluster, clone) if finding.check == "sacct"]
    assert about.verdict == "n/a" and not [one for one in examine(GOOD, clone) if one.check == "sacct"]


def test_sacct_never_returns_with_and_without_accounting(clone):
    without = configured(AccountingStorageType="(null)")
    assert not wrong(without, clone)
    profile = clone / "slurm/profile.yaml"
    profile.write_text(profile.read_text().replace("slurm-status-command: squeue", "slurm-status-command: sacct"))
    assert "never returns without accounting" in wrong(without, clone)["accounting"]
    assert "never returns for jobs that are cancelled from outside" in wrong(GOOD, clone)["accounting"]


@pytest.mark.parametrize(
    ("profile", "check", "says"),
    [
        ("slurm-no-requeue: true\n", "", ""),  # slurm-requeue wins
        ("set-threads: {train: 64}\n", "CPUs", "cpus_per_task: N"),
        (
            "set-resources:\n  train: {slurm_extra: '--signal=USR1@90'}\n",
            "signals",
            "slurm_extra of train has --signal",
        ),
        ("set-resources:\n  train: {gpu: 16, nodes: 2, gpu_model: h100}\n", "", ""),
        ("set-resources:\n  train: {gpu: 16, gpu_model: h100}\n", "size of train", "gpu 16 of 8 on one node with h100"),
        ("set-resources:\n  train: {gpu_model: a100}\n", "size of train", "gpu 4 of 0 on one node with a100"),
        ("set-resources:\n  train: {cpus_per_task: 256}\n", "size of train", "cpus_per_task 256 of 128"),
    ],
)
def test_habits_of_a_profile(clone, profile, check, says):
    path = clone / "slurm/profile.yaml"
    path.write_text(path.read_text() + profile)
    found = wrong(GOOD, clone)
    assert found.keys() == ({check} if check else set())
    assert says in found.get(check, "")


def test_requeueing_must_not_be_switched_off(clone):
    path = clone / "slurm/profile.yaml"
    path.write_text(path.read_text().replace("slurm-requeue: true", "slurm-no-requeue: true"))
    assert "no slurm-no-requeue" in wrong(GOOD, clone)["time slices"]


def test_a_file_system_without_locks_is_named(clone, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert "this file system has no locks" in wrong(GOOD, clone)["locks"]
    assert not list(clone.glob(".doctor-*"))


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exec sleep 60", r"scontrol show config: no answer for 1 s; .* controller does not answer"),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", "scontrol show config: Unable to contact slurm"),
    ],
)
def test_a_controller_that_does_not_answer_is_one_line(tmp_path, monkeypatch, script, says):
    for name in ("scontrol", "sbatch"):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(slurm, "ANSWER", 1.0)
    with pytest.raises(UserError, match=says):
        Cluster.here()


def test_a_profile_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"profile\.yaml: .* run this at the root of the repository"):
        list(examine(GOOD, tmp_path))


def test_gpus_of_a_node():
    said = ("gpu:4", "gpu:h100:8(S:0-1),gpu:a100:2(S:2)", "(null)", "shard:8,gpu:1")
    assert [gpus(text) for text in said] == [4, 10, 0, 1]
    assert gpus(said[1], "a100") == 2


def test_the_largest_training_of_the_paper_study_counts(clone):
    rules = requested(clone)
    study = yaml.safe_load((clone / "config/paper.yaml").read_text())
    assert {"train", "pretrain", "restore", "score", "degrade", "tables", "report", "bicubic"} <= rules.keys()
    assert rules["train"]["runtime"] == 1440 and "fetch" not in rules
    assert (rules["train"]["mem_mb"], rules["train"]["gpu"], rules["pretrain"]["gpu"]) == (256000, 4, 0)
    assert rules["degrade"]["cpus_per_task"] == 1
    assert rules["train"]["cpus_per_task"] == 4 * study["threads"]
    assert rules["degrade"]["disk_mb"] == 1000, "of the profile's default-resources"


def test_times():
    assert [seconds(text) for text in ("30 sec", "00:01:00", "1-01:00:00", "UNLIMITED")] == [
        30,
        60,
        90000,
        float("inf"),
    ]
