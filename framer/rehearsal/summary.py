"""What a rehearsal found: every job's time and memory beside the plan's and beside what its rule requests."""

from collections.abc import Sequence
from pathlib import Path

from framer.dag.plan import Plan
from framer.dag.resources import TABLE, requested
from framer.dag.scope import Scope
from framer.provenance.files import csv_text, write_text
from framer.rehearsal.jobs import Measured
from framer.study.study import Study

COLUMNS = ("job", "rule", "outcome", "seconds", "planned_seconds", "peak_gb", "requested_gb", "gpu_peak_gb", "reason")
NOT_REHEARSED = (
    "Not rehearsed: downloads of data, bases and published weights; captions and text encoders, for which a base of"
    " random weights has none; the analyses and their figures; several GPUs or nodes."
)


def write(study: Study, backbone: str, small: Study, jobs: list[Measured], out: Path) -> None:
    """Write `rehearsal.csv` and `rehearsal.md`.

    Args:
        study: the study.
        backbone: which of its backbones was rehearsed.
        small: the study of the rehearsal, whose plan is compared.
        jobs: as they were measured.
        out: folder.
    """
    planned = {part.rule: part for part in Plan(Scope(small, {})).parts}
    # Of the rules that run once per job kind here; a training runs in two parts, of which the second ends it.
    rows = []
    for job in jobs:
        part = planned.get(job.rule)
        seconds = f"{part.seconds / part.jobs:.0f}" if part and part.seconds else ""
        asked = _requested(study, backbone, job.rule)
        rows.append(
            (
                job.name,
                job.rule,
                job.outcome,
                f"{job.seconds:.1f}",
                seconds,
                f"{job.peak / 1e9:.2f}",
                f"{asked / 1e3:.0f}" if asked else "",
                f"{job.gpu_peak / 1e9:.2f}" if job.gpu_peak else "",
                job.reason,
            )
        )
    write_text(out / "rehearsal.csv", csv_text(COLUMNS, rows))
    write_text(out / "rehearsal.md", "\n".join(lines(study, backbone, jobs, rows, planned["train"].how)) + "\n")


def lines(study: Study, backbone: str, jobs: list[Measured], rows: Sequence[tuple[str, ...]], source: str) -> list[str]:
    """The report in Markdown: verdict, table, what was not rehearsed."""
    over = [
        f"{job.name}: {job.peak / 1e9:.1f} GB at most, and its rule requests {asked / 1e3:.0f} GB"
        for job in jobs
        if (asked := _requested(study, backbone, job.rule)) and job.peak > asked * 1e6
    ]
    failed = [f"{job.name}: {job.outcome}: {job.reason}" for job in jobs if job.outcome in ("failed", "out of memory")]
    skipped = [job.name for job in jobs if job.outcome == "skipped"]
    verdict = "Every job ended as it should, within what its rule requests."
    if failed or over:
        verdict = "Not everything fits:"
    found = [f"# Rehearsal of {backbone} of {study.name}", "", verdict]
    found += [f"- {line}" for line in [*failed, *over]]
    found += [f"- not run, since an earlier job failed: {', '.join(skipped)}"] if skipped else []
    found += ["", "| job | outcome | seconds | planned | peak GB | requested GB | GPU peak GB |"]
    found += ["|:--|:--|--:|--:|--:|--:|--:|"]
    found += [f"| {r[0]} | {r[2]} | {r[3]} | {r[4]} | {r[5]} | {r[6]} | {r[7]} |" for r in rows]
    return [*found, "", f"Planned: the time of one job of this rehearsal by `framer plan` ({source}).", NOT_REHEARSED]


def _requested(study: Study, backbone: str, rule: str) -> int:
    """MB that a rule requests in the study; 0 for a rule that runs on the login node."""
    if rule not in TABLE:
        return 0
    return requested(rule, study, backbone if rule == "train" else None)["mem_mb"]
