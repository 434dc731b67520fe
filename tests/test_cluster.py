"""What `framer doctor --cluster` says of clusters that are described, not there."""

from dataclasses import replace

import pytest

from framer.cluster import Cluster, examine, parse_config, parse_partitions, requested, seconds

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
GOOD = Cluster(parse_config(CONFIG), parse_partitions(PARTITIONS))


def wrong(cluster, root):
    return {finding.check: finding.detail for finding in examine(cluster, root) if finding.wrong}


def configured(**more):
    return replace(GOOD, config={**GOOD.config, **more})


def test_a_good_cluster_has_nothing_wrong(clone):
    assert not wrong(GOOD, clone)


@pytest.mark.parametrize(
    ("cluster", "check", "says"),
    [
        (replace(GOOD, programs=("sbatch",)), "programs", "sbatch: not here"),
        (configured(MinJobAge="30 sec"), "status of jobs", "to at most 10"),
        (configured(KillWait="5 sec"), "time for a checkpoint", "5 s from SIGTERM"),
        (replace(GOOD, environment={"SLURM_CONF": "x/slurm.conf"}), "SLURM_CONF", "does not reach"),
        (
            replace(GOOD, partitions={"main": {"Default": "YES", "MaxTime": "1-00:00:00", "PreemptMode": "CANCEL"}}),
            "preemption",
            "PreemptMode of main is CANCEL",
        ),
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


def test_accounting_matters_only_where_jobs_are_asked_for_by_sacct(clone):
    without = configured(AccountingStorageType="(null)")
    assert not wrong(without, clone)
    profile = clone / "slurm/profile.yaml"
    profile.write_text(profile.read_text().replace("slurm-status-command: squeue", "slurm-status-command: sacct"))
    assert "hangs" in wrong(without, clone)["accounting"] and "accounting" not in wrong(GOOD, clone)


def test_rules_are_read(clone):
    rules = requested(clone)
    assert {"train", "pretrain", "restore", "score", "degrade", "tables", "report", "bicubic"} <= rules.keys()
    assert rules["train"]["runtime"] == 1440 and "fetch" not in rules


def test_times():
    assert [seconds(text) for text in ("30 sec", "00:01:00", "1-01:00:00", "UNLIMITED")] == [
        30,
        60,
        90000,
        float("inf"),
    ]
