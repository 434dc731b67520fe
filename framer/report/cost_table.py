"""What FRAMER costs in training: measured time and memory of each arm, beside its baseline's and the paper's."""

import csv
import math
from collections.abc import Container, Mapping
from pathlib import Path

from framer.analysis.arrays import COLUMNS, QUANTITIES
from framer.backbones.registry import settings_of
from framer.errors import UserError
from framer.report.claims import baseline_of
from framer.report.main_table import signed
from framer.report.paper_numbers import COSTS, FOLDER, Published, read_rows
from framer.report.render_table import Entry, Grid, Group, Row
from framer.study.analysis_jobs import cost_job
from framer.study.availability import rows_without_model
from framer.study.jobs import CostJob
from framer.study.study import Study


def cost_grid(study: Study, missing: Mapping[str, str]) -> list[Grid]:
    """The cost table, from `results/<study>/analysis/cost.csv` (columns arm, quantity, value, device).

    A measurement holds for one device, so it is recorded once and never made in passing. None where there is no file.
    An arm that was to be measured and is not in the file did not fit into the device's memory.

    Args:
        study: whose costs are read.
        missing: what is not on this machine, as `framer.report.cells.tables` takes it. No note names arms that
            depend on it and are not in the file.

    Raises:
        UserError: the file has other columns, an arm or quantity that is not known, or a value that is no number.
    """
    path = study.paths.cost
    if not path.is_file():
        return []
    measured, device = _read(study, path)
    job, untrained = cost_job(study, {}), rows_without_model(study, missing)
    published = read_rows(FOLDER / COSTS) if (FOLDER / COSTS).is_file() else []
    rows = []
    for arm, config in study.config.arms.items():
        values = measured.get(arm)
        if values:
            rows.append(Row(config.label, tuple(Entry(_text(values.get(q))) for q in QUANTITIES)))
        elif job and arm in job.runs and job.runs[arm] not in untrained:
            where = device.partition(", torch ")[0] if device else "the device"
            note = f"not measured: it did not fit into the memory of {where} at batch {job.batch}"
            rows.append(Row(config.label, tuple(Entry("n/a") for _ in QUANTITIES), note))
        base = baseline_of(study, arm)
        if values and base in measured:
            over = [_over(values.get(q), measured[base].get(q)) for q in QUANTITIES]
            rows.append(Row(f"over {study.config.arms[base].label}", tuple(map(Entry, over)), minor=True))
            if config.backbone == "dit4sr" and study.config.backbones["dit4sr"].base != "tiny":
                rows += _paper(published)
    return [
        Grid(
            "cost",
            f"{study.config.title}: cost",
            f"Measured on {device}{_conditions(study, job, measured) if job else ''}." if device else "Nothing fitted.",
            ("Method", *QUANTITIES.values()),
            (Group("", tuple(rows)),),
            "Ratios are within one run on one device.",
        )
    ]


def _conditions(study: Study, job: CostJob, measured: Container[str]) -> str:
    """Under what it was measured; by backbone where that is not the same for all, by arm where a backbone's differ."""
    numerics = {arm: _numerics(study, run) for arm, run in job.runs.items() if arm in measured}
    of_backbone: dict[str, set[str]] = {}
    for arm, text in numerics.items():
        of_backbone.setdefault(str(study.config.arms[arm].backbone), set()).add(text)
    names: dict[str, list[str]] = {}
    for arm, text in numerics.items():
        backbone = str(study.config.arms[arm].backbone)
        name = backbone if len(of_backbone[backbone]) == 1 else study.config.arms[arm].label
        if name not in names.setdefault(text, []):
            names[text].append(name)
    parts = list(names) if len(names) == 1 else [f"{', '.join(of)}: {text}" for text, of in names.items()]
    what = f"training with batch {job.batch} on crops of {job.crop} pixels, restoring one image of that size"
    return "; ".join([f": {what}", *parts])


def _numerics(study: Study, run: str) -> str:
    """The numerics of a run that affect its time and memory."""
    job, arm = study.train_job(run), study.arm(run)
    restoring = settings_of(job.backbone, study.config.backbones[job.backbone].settings, arm.settings).restore
    trained, restored = job.numerics.precision, restoring.precision
    words = [trained if trained == restored else f"training in {trained}, restoring in {restored}"]
    words += ["deterministic"] * job.numerics.deterministic + ["compiled"] * job.numerics.compile
    checkpointing = job.settings.get("gradient_checkpointing")
    if checkpointing is not None:
        words.append(f"with{'' if checkpointing else 'out'} gradient checkpointing")
    return ", ".join(words)


def _read(study: Study, path: Path) -> tuple[dict[str, dict[str, float]], str | None]:
    """The values by arm and quantity, and the device; None where no arm fitted into it."""
    measured: dict[str, dict[str, float]] = {}
    optional = study.config.rivals.arms.keys() if study.config.rivals else ()
    devices = set()
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise UserError(f"needs the columns {', '.join(COLUMNS)}; measure again", path=path, code="unreadable")
        for number, row in enumerate(reader, 2):
            try:
                value = float(row["value"])
            except (TypeError, ValueError):
                value = math.nan
            if row["arm"] in optional:  # measured with the study's optional part, and shown with it alone
                continue
            if row["arm"] not in study.config.arms or row["quantity"] not in QUANTITIES or not value > 0:
                message = "needs an arm of the study, a quantity and a positive value"
                raise UserError(message, path=path, key=f"line {number}")
            measured.setdefault(row["arm"], {})[row["quantity"]] = value
            devices.add(row["device"])
    if len(devices) > 1:
        message = f"{len(devices)} devices; times of different devices do not compare: measure on one"
        raise UserError(message, path=path, code="mismatch")
    return measured, next(iter(devices), None)


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _over(value: float | None, base: float | None) -> str:
    return "" if value is None or not base else f"{signed(100 * (value / base - 1), 1)}%"


def _paper(published: list[Published]) -> list[Row]:
    """What the paper states of FRAMER_D over DiT4SR, with what is known of the circumstances."""
    found = {row.metric: row for row in published if row.method == "FRAMER_D" and row.metric in QUANTITIES}
    if not found:
        return []
    origins = dict.fromkeys(f"{row.origin}: {row.dataset}" for row in found.values())
    entries = (Entry(f"{signed(found[q].number, 0)}%" if q in found else "") for q in QUANTITIES)
    return [Row("paper", tuple(entries), f"{'; '.join(origins)}; its other settings are not known", minor=True)]
