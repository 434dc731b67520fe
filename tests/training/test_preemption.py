"""What a training knows of its time."""

import signal
from datetime import datetime

import pytest

from framer.training.preemption import GRACE, SlurmJob, Stop

NOW = datetime(2026, 11, 23, 12, 0, 0)
ANSWER = (
    "JobId=7 JobName=framer_0 JobState=RUNNING Requeue={requeue} Restarts=1 BatchFlag={batch} RunTime=00:00:10"
    " TimeLimit=01:00:00 EndTime={end} Comment={comment} TRES=cpu=4,mem=3000M"
)
OURS = {"requeue": 1, "batch": 1, "end": "2026-11-23T12:30:00", "comment": "rule_train_wildcards_a-s0"}


def job(**other):
    return SlurmJob.parse("7", ANSWER.format(**{**OURS, **other}), NOW)


def test_fields_of_a_slurm_job():
    assert job() == SlurmJob("7", 1800.0, rule=True, requeue=True)
    assert job(end="Unknown").seconds is None
    assert not job(batch=0).rule and not job(comment="(null)").rule and not job(requeue=0).requeue


def test_the_earlier_limit_counts():
    assert Stop(None, None).reason is None
    assert Stop(60, job(end="2026-11-23T12:00:10")).reason == "the time limit is near"
    assert Stop(0, job()).reason == "the time limit is near"
    assert Stop(60, job()).reason is None


def test_it_stops_ahead_by_the_longest_step_or_checkpoint():
    stop = Stop((GRACE + 100) / 60, None)
    stop.took(40)
    assert stop.reason is None
    stop.took(60)
    assert stop.reason == "the time limit is near"


def test_signals_are_noted_and_a_second_interrupt_is_one():
    stop = Stop(None, None)
    before = signal.getsignal(signal.SIGTERM)
    with stop.listening():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.reason == "SIGTERM"
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("other", [{"comment": "mine"}, {"requeue": 0}])
def test_a_job_that_is_not_a_rule_is_not_requeued(other):
    assert not Stop(None, job(end="2026-11-23T12:00:01", **other)).requeue()


def test_a_limit_of_the_user_requeues_no_job():
    assert not Stop(0, job()).requeue()
