"""What of a Slurm cluster would trip the workflow up, found before anything is submitted: `framer doctor --cluster`."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framer.config_file import read_yaml
from framer.dag import resources
from framer.doctor.finding import Finding
from framer.errors import UserError, one_line
from framer.provenance.lock import exclusive
from framer.study.study import Study

NO_REQUEUE = "slurm-no-requeue"
INIT = "slurm-init-seconds-before-status-checks"
PROFILE = "slurm/profile.yaml"
SAVING = 30
"""Seconds that a checkpoint may take."""
ANSWER = 10.0
"""Seconds in which Slurm's controller must answer."""


@dataclass(frozen=True)
class Cluster:
    """Slurm's own account of its configuration.

    Attributes:
        config: `scontrol show config`.
        partitions: `scontrol show partition`, by name.
        nodes: `scontrol show node`.
        programs: commands of Slurm that are not on this machine.
        environment: variables that matter.
    """

    config: Mapping[str, str]
    partitions: Mapping[str, Mapping[str, str]]
    nodes: tuple[Mapping[str, str], ...] = ()
    programs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def here(cls) -> "Cluster":
        """Ask the cluster of this machine.

        Raises:
            UserError: there is none, or it does not answer.
        """
        programs = ("sbatch", "squeue", "scancel", "scontrol", "srun", "sacct")
        missing = tuple(name for name in programs if not shutil.which(name))
        if "scontrol" in missing:
            raise UserError("doctor --cluster: no scontrol here; run it where you would run sbatch")
        kept = {name: value for name, value in os.environ.items() if name == "SLURM_CONF"}
        config, partitions = parse_config(_ask("config")), parse_partitions(_ask("partition"))
        return cls(config, partitions, tuple(_records(_ask("node"))), missing, kept)


def parse_config(text: str) -> dict[str, str]:
    """`KEY = VALUE` lines."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def parse_partitions(text: str) -> dict[str, dict[str, str]]:
    """Records of `KEY=VALUE` words, one a line."""
    return {record["PartitionName"]: record for record in _records(text) if "PartitionName" in record}


def _records(text: str) -> list[dict[str, str]]:
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]


def requested(root: Path) -> dict[str, dict[str, Any]]:
    """The resources that each rule requests for the paper study, with those of the profile; of a training the largest.

    Args:
        root: folder of the repository.
    """
    profile = _profile(root)
    default, own = profile.get("default-resources") or {}, profile.get("set-resources") or {}
    study = Study.load(root / "config" / "paper.yaml", root / "datasets")
    largest = max(study.config.backbones, key=lambda name: study.config.backbones[name].gpus)
    rules = {rule: resources.requested(rule, study, largest if rule == "train" else None) for rule in resources.TABLE}
    return {rule: {**default, **asked, **own.get(rule, {})} for rule, asked in rules.items()}


def _profile(root: Path) -> dict[str, Any]:
    try:
        return read_yaml(root / PROFILE)
    except UserError as error:
        raise UserError(f"{error.message}; run this at the root of the repository", path=error.path) from None


def examine(cluster: Cluster, root: Path) -> Iterator[Finding]:
    """Check the configuration of a cluster for known problems.

    Args:
        cluster: the configuration that Slurm reports.
        root: of the repository, with its profile and rules.
    """
    config = cluster.config
    profile, rules = _profile(root), requested(root)
    missing = ", ".join(name for name in cluster.programs if name != "sacct")
    yield _found("programs", not missing, "all found", f"{missing}: not found; load Slurm's module")
    yield _accounting(config, profile)
    if "sacct" in cluster.programs:
        detail = (
            "not found: no failure of a job, whatever Snakemake writes of it above a log; it cannot avoid failed nodes"
        )
        yield Finding("sacct", "n/a", detail)

    age, init = seconds(config.get("MinJobAge", "300")), int(profile[INIT])
    fact = f"squeue knows finished jobs for {age:.0f} s; the profile asks after {init} s"
    yield _found("status of jobs", age >= 3 * init, fact, f"{fact}; set {INIT} to at most {age / 3:.0f}")

    mode = config.get("PreemptMode", "OFF")
    bad = [name for name, one in cluster.partitions.items() if "CANCEL" in one.get("PreemptMode", mode)]
    fact = f"PreemptMode of {', '.join(bad)} is CANCEL: Snakemake waits forever for a preempted job; use others"
    yield _found("preemption", not bad, "a preempted job is put back", fact)

    grace = seconds(config.get("KillWait", "30"))
    fact = f"{grace:.0f} s from SIGTERM to SIGKILL"
    yield _found(
        "time for a checkpoint", grace >= SAVING, fact, f"{fact}: too few to save a large model when cancelled"
    )

    sliced = profile.get("slurm-requeue") or (config.get("JobRequeue", "1") != "0" and not profile.get(NO_REQUEUE))
    fact = f"set slurm-requeue: true in the profile, and no {NO_REQUEUE}"
    yield _found("time slices", bool(sliced), "a training at its limit is put back", fact)
    conf = cluster.environment.get("SLURM_CONF")
    fact = (
        f"SLURM_CONF={conf} does not reach a job's step, whose srun then fails; put the file where Slurm looks itself"
    )
    yield _found("SLURM_CONF", conf is None, "not set", fact)
    yield from _habits(profile, rules)
    yield _locks(root)
    yield from _limits(cluster, rules)


def _accounting(config: Mapping[str, str], profile: Mapping[str, Any]) -> Finding:
    kind = config.get("AccountingStorageType", "(null)")
    off = kind in ("(null)", "") or kind.endswith("/none")
    status = profile.get("slurm-status-command")
    fact = f"{'none' if off else kind}; jobs are asked for by {status}"
    why = "never returns without accounting" if off else "never returns for jobs that are cancelled from outside"
    wrong = f"{fact}, which {why}; set slurm-status-command: squeue in the profile"
    return _found("accounting", status == "squeue", fact, wrong)


def _habits(profile: Mapping[str, Any], rules: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Settings that suit other workflows but not trainings that are interrupted and resumed."""
    fact = "set-threads in the profile: --cores all overrules it; use set-resources: {RULE: {cpus_per_task: N}}"
    yield _found("CPUs", "set-threads" not in profile, "asked for by cpus_per_task", fact)
    signalled = [name for name, asked in rules.items() if "--signal" in str(asked.get("slurm_extra", ""))]
    fact = (
        f"slurm_extra of {', '.join(signalled)} has --signal, which ends the inner Snakemake and lets the trainer live;"
        " take it out"
    )
    yield _found("signals", not signalled, "Slurm sends its own alone", fact)


def _locks(root: Path) -> Finding:
    """Whether the file system that runs are written to has locks, which keep a second trainer out."""
    results = root / "results"
    try:
        where = results if results.is_dir() else root
        with (
            tempfile.TemporaryDirectory(dir=where, prefix=".doctor-") as folder,
            exclusive(Path(folder, ".lock"), results),
        ):
            pass
    except (UserError, OSError) as error:
        return Finding("locks", "WRONG", one_line(error))
    return Finding("locks", "ok", "the file system of results has them, as seen from this machine")


def _limits(cluster: Cluster, rules: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Slurm takes a job that asks for more time than its partition gives, and never starts it."""
    usual = [name for name, one in cluster.partitions.items() if one.get("Default") == "YES"]
    for rule, asked in rules.items():
        names = str(asked.get("slurm_partition") or (usual[0] if usual else "")).split(",")
        known = [cluster.partitions[name] for name in names if name in cluster.partitions]
        if not known:
            fact = "no default partition; name one in default-resources" if names == [""] else f"no such: {names}"
            yield Finding(f"partition of {rule}", "WRONG", fact)
            continue
        yield from _size(rule, asked, [node for node in cluster.nodes if {*names} & {*_partitions(node)}])
        longest = max(seconds(one.get("MaxTime", "UNLIMITED")) for one in known)
        fact = f"{asked['runtime']} min, of {longest / 60:.0f} in {', '.join(names)}"
        yield _found(
            f"runtime of {rule}",
            60 * asked["runtime"] <= longest,
            fact,
            f"{fact}: would wait forever; set-resources: {{{rule}: {{runtime: {longest / 60:.0f}}}}} in the profile",
        )


def _size(rule: str, asked: Mapping[str, Any], nodes: list[Mapping[str, str]]) -> Iterator[Finding]:
    """sbatch refuses a job for which no node is large enough."""
    if not nodes:
        return
    share = {key: int(asked.get(key) or 0) for key in ("cpus_per_task", "mem_mb", "gpu")}
    share["gpu"] = -(-share["gpu"] // int(asked.get("nodes") or 1))
    model = str(asked.get("gpu_model") or "")

    def holds(node: Mapping[str, str]) -> dict[str, int]:
        cpus, memory = node.get("CPUTot", "0"), node.get("RealMemory", "0")
        return {"cpus_per_task": int(cpus), "mem_mb": int(memory), "gpu": gpus(node.get("Gres", ""), model)}

    fits = any(all(share[key] <= has for key, has in holds(node).items()) for node in nodes)
    most = {key: max(holds(node)[key] for node in nodes) for key in share}
    fact = ", ".join(f"{key} {share[key]} of {most[key]}" for key in share if share[key])
    yield _found(
        f"size of {rule}",
        fits,
        fact,
        f"{fact} on one node{f' with {model}' if model else ''}: sbatch refuses it; give {rule} less, or a partition of"
        " larger nodes, under set-resources in the profile",
    )


def _partitions(node: Mapping[str, str]) -> list[str]:
    return node.get("Partitions", "").split(",")


def gpus(gres: str, model: str = "") -> int:
    """How many GPUs, or of one model, `Gres` of a node lists: "gpu:h100:8(S:0-1),gpu:a100:2", "(null)"."""
    found = re.findall(r"\bgpu(?::([A-Za-z][\w.-]*))?:(\d+)", gres)
    return sum(int(count) for kind, count in found if model in ("", kind))


def seconds(text: str) -> float:
    """A time as Slurm writes it: "30 sec", "1-12:00:00", "UNLIMITED"."""
    if text in ("UNLIMITED", "INFINITE", "NONE"):
        return float("inf")
    if match := re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", text):
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        return ((24 * days + hours) * 60 + minutes) * 60 + rest
    return float(text.split()[0])


def _found(check: str, fine: bool, fact: str, otherwise: str) -> Finding:
    return Finding(check, "ok" if fine else "WRONG", fact if fine else otherwise)


def _ask(what: str) -> str:
    command = ["scontrol", "--oneliner", "show", what]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER, check=True).stdout
    except subprocess.TimeoutExpired:
        raise UserError(
            f"doctor --cluster: scontrol show {what}: no answer for {ANSWER:.0f} s; this machine has Slurm's programs"
            " and a slurm.conf, but its controller does not answer, and every snakemake command that loads the Slurm"
            " plugin waits for it, too; start slurmctld, or run this where squeue answers"
        ) from None
    except (OSError, subprocess.SubprocessError) as error:
        text = getattr(error, "stderr", "") or str(error)
        raise UserError(f"doctor --cluster: scontrol show {what}: {' '.join(str(text).split())}") from None
