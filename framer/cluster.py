"""What of a Slurm cluster would trip the workflow up, found before anything is submitted: `framer doctor --cluster`."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from framer.errors import UserError
from framer.finding import Finding

INIT = "slurm-init-seconds-before-status-checks"
SAVING = 30
"""Seconds that a checkpoint may take."""


@dataclass(frozen=True)
class Cluster:
    """What Slurm says of itself.

    Attributes:
        config: `scontrol show config`.
        partitions: `scontrol show partition`, by name.
        programs: commands of Slurm that are not on this machine.
        environment: variables that matter.
    """

    config: Mapping[str, str]
    partitions: Mapping[str, Mapping[str, str]]
    programs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def here(cls) -> "Cluster":
        """Ask the cluster of this machine.

        Raises:
            UserError: there is none, or it does not answer.
        """
        missing = tuple(name for name in ("sbatch", "squeue", "scancel", "scontrol", "srun") if not shutil.which(name))
        if "scontrol" in missing:
            raise UserError("doctor --cluster: no scontrol here; run it where you would run sbatch")
        kept = {name: value for name, value in os.environ.items() if name == "SLURM_CONF"}
        return cls(parse_config(_ask("config")), parse_partitions(_ask("partition")), missing, kept)


def parse_config(text: str) -> dict[str, str]:
    """`KEY = VALUE` lines."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def parse_partitions(text: str) -> dict[str, dict[str, str]]:
    """Records of `KEY=VALUE` words, one a line."""
    records = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]
    return {record["PartitionName"]: record for record in records if "PartitionName" in record}


def requested(root: Path) -> dict[str, dict[str, Any]]:
    """What each rule asks for that a cluster could refuse: minutes and partition, with the profile's last word.

    Args:
        root: of the repository.
    """
    profile = yaml.safe_load((root / "slurm/profile.yaml").read_text(encoding="utf-8"))
    default = profile.get("default-resources") or {}
    rules: dict[str, dict[str, Any]] = {}
    for path in sorted((root / "workflow/rules").glob("*.smk")):
        for name, body in re.findall(r"^rule (\w+):\n((?:[ \t].*\n|\n)+)", path.read_text(encoding="utf-8"), re.M):
            if minutes := re.search(r"runtime=(\d+)", body):  # local rules have none
                own = (profile.get("set-resources") or {}).get(name, {})
                rules[name] = {**default, "runtime": int(minutes[1]), **own}
    return rules


def examine(cluster: Cluster, root: Path) -> Iterator[Finding]:
    """What the workflow would meet.

    Args:
        cluster: what Slurm says.
        root: of the repository, with its profile and rules.
    """
    config = cluster.config
    profile = yaml.safe_load((root / "slurm/profile.yaml").read_text(encoding="utf-8"))
    absent = ", ".join(cluster.programs)
    yield _found("programs", not absent, "all here", f"{absent}: not here; load Slurm's module")
    yield _accounting(config, profile)

    age, init = seconds(config.get("MinJobAge", "300")), int(profile[INIT])
    says = f"squeue knows finished jobs for {age:.0f} s; the profile asks after {init} s"
    yield _found("status of jobs", age >= 3 * init, says, f"{says}; set {INIT} to at most {age / 3:.0f}")

    mode = config.get("PreemptMode", "OFF")
    bad = [name for name, one in cluster.partitions.items() if "CANCEL" in one.get("PreemptMode", mode)]
    says = f"PreemptMode of {', '.join(bad)} is CANCEL: Snakemake waits forever for a preempted job; use others"
    yield _found("preemption", not bad, "a preempted job is put back", says)

    grace = seconds(config.get("KillWait", "30"))
    says = f"{grace:.0f} s from SIGTERM to SIGKILL"
    yield _found(
        "time for a checkpoint", grace >= SAVING, says, f"{says}: too few to save a large model when cancelled"
    )

    sliced = config.get("JobRequeue", "1") != "0" or profile.get("slurm-requeue")
    yield _found(
        "time slices", bool(sliced), "a training at its limit is put back", "set slurm-requeue: true in the profile"
    )
    conf = cluster.environment.get("SLURM_CONF")
    says = (
        f"SLURM_CONF={conf} does not reach a job's step, whose srun then fails; put the file where Slurm looks itself"
    )
    yield _found("SLURM_CONF", conf is None, "not set", says)
    yield from _limits(cluster, requested(root))


def _accounting(config: Mapping[str, str], profile: Mapping[str, Any]) -> Finding:
    kind = config.get("AccountingStorageType", "(null)")
    off = kind in ("(null)", "") or kind.endswith("/none")
    status = profile.get("slurm-status-command")
    says = f"{'none' if off else kind}; jobs are asked for by {status}"
    return _found("accounting", status == "squeue" or not off, says, f"{says}: hangs; set it to squeue")


def _limits(cluster: Cluster, rules: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Slurm takes a job that asks for more time than its partition gives, and never starts it."""
    usual = [name for name, one in cluster.partitions.items() if one.get("Default") == "YES"]
    for rule, asked in rules.items():
        names = str(asked.get("slurm_partition") or (usual[0] if usual else "")).split(",")
        known = [cluster.partitions[name] for name in names if name in cluster.partitions]
        if not known:
            says = "no default partition; name one in default-resources" if names == [""] else f"no such: {names}"
            yield Finding(f"partition of {rule}", "WRONG", says)
            continue
        longest = max(seconds(one.get("MaxTime", "UNLIMITED")) for one in known)
        says = f"{asked['runtime']} min, of {longest / 60:.0f} in {', '.join(names)}"
        yield _found(
            f"runtime of {rule}",
            60 * asked["runtime"] <= longest,
            says,
            f"{says}: would wait forever; set-resources: {{{rule}: {{runtime: {longest / 60:.0f}}}}} in the profile",
        )


def seconds(text: str) -> float:
    """A time as Slurm writes it: "30 sec", "1-12:00:00", "UNLIMITED"."""
    if text in ("UNLIMITED", "INFINITE", "NONE"):
        return float("inf")
    if match := re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", text):
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        return ((24 * days + hours) * 60 + minutes) * 60 + rest
    return float(text.split()[0])


def _found(check: str, fine: bool, says: str, otherwise: str) -> Finding:
    return Finding(check, "ok" if fine else "WRONG", says if fine else otherwise)


def _ask(what: str) -> str:
    command = ["scontrol", "--oneliner", "show", what]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise UserError(f"doctor --cluster: scontrol show {what}: {' '.join(str(said).split())}") from None
