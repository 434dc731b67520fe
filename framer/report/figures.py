"""The figures of a study, PDF and PNG: from scores, images, training logs and recorded arrays."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from framer.data.images import list_images, read_rgb
from framer.provenance.cards import CARD
from framer.provenance.files import atomic
from framer.provenance.output import claimed
from framer.report import analysis_figures
from framer.report.cells import Cell, Table, tables
from framer.report.claims import claims
from framer.report.figure_style import COLORS, STYLE, literal, panels
from framer.report.gallery import restored
from framer.report.paper_numbers import Ledger
from framer.report.power_spectrum import frequencies, radial_power
from framer.report.training_curves import Curve, read_curves, running_mean
from framer.study import analysis_jobs
from framer.study.study import Study

ABLATION = "0.75"
"""Grey, behind the rest."""
SPECTRUM_IMAGES = 32
"""Images a set whose spectra are averaged, at most."""


def render(study: Study, out: Path, missing: dict[str, str] | None = None, datasets: Path = Path("datasets")) -> None:
    """Write each figure as `out/NAME.pdf` and `out/NAME.png`. One that has nothing to show says so.

    Args:
        study: whose scores, images and logs are read.
        out: folder of the figures.
        missing: sets that are not on this machine.
        datasets: folder of the data, for the spectra of HR.

    Raises:
        UserError: scores are missing or do not fit together, or an image, log or recorded array is damaged.
    """
    found = tables(study, missing or {}, datasets)
    drawn: dict[str, Callable[[], Figure]] = {
        "scatter": lambda: scatter(study, found),
        "plane": lambda: plane(study, found),
        "curves": lambda: curves(study),
        "spectra": lambda: spectra(study, datasets),
    }
    for name, source in analysis_jobs.figures(study, missing or {}).items():
        if (source.parent / CARD).is_file():  # it is written last
            drawn[name] = partial(analysis_figures.draw, study, source.parent.name, source)
    with claimed(out, "figures", inputs=(study.path,)) as folder, matplotlib.rc_context(STYLE):
        for name, make in drawn.items():
            figure = make()
            for kind, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
                with atomic(folder.file(f"{name}.{kind}")) as part:
                    figure.savefig(part, format=kind, metadata=metadata)


def scatter(study: Study, found: Sequence[Table]) -> Figure:
    """Every test image: its baseline's score against FRAMER's, mean over training seeds; above the line is larger."""
    pairs = [
        (table, claim)
        for table, of_table in zip(found, claims(study, found, Ledger()), strict=True)
        for claim in of_table
        if claim.comparison is not None and claim.ours.n_images > 1 and _values(claim.ours).size > 1
    ]
    figure, axes = panels(len(pairs), "No arm has both FRAMER and a baseline with scores of images")
    for axis, (table, claim) in zip(axes, pairs, strict=False):
        base, ours = _values(claim.baseline), _values(claim.ours)
        low, high = min(base.min(), ours.min()), max(base.max(), ours.max())
        axis.plot([low, high], [low, high], color="0.7", linewidth=0.8, zorder=0)
        axis.scatter(base, ours, s=9, color=COLORS[0], alpha=0.75, linewidths=0)
        axis.set(xlabel=claim.baseline_label, ylabel=claim.label, aspect="equal")
        axis.set_title(f"{claim.ours.metric.heading}, {claim.ours.set}\n{table.protocol.name}")
    return figure


def plane(study: Study, found: Sequence[Table]) -> Figure:
    """Distortion against perception: each method's first full-reference metric against each no-reference one."""
    panes = [
        (table, section, reference, other)
        for table in found
        for section in table.sections
        for reference in [number for number, metric in enumerate(table.metrics) if metric.needs_hr][:1]
        for other, metric in enumerate(table.metrics)
        if not metric.needs_hr and sum(_both(line.cells, reference, other) for line in section.methods) > 1
    ]
    figure, axes = panels(len(panes), "No set has scores of both a full-reference and a no-reference metric")
    for axis, (table, section, reference, other) in zip(axes, panes, strict=False):
        for number, line in enumerate(section.methods):
            x, y = line.cells[reference], line.cells[other]
            if x.mean is None or y.mean is None:
                continue
            color = COLORS[number % len(COLORS)]
            axis.errorbar([x.mean], [y.mean], xerr=_bars(x), yerr=_bars(y), color=color, elinewidth=0.8)
            axis.plot([x.mean], [y.mean], "o", color=color, markersize=4, label=literal(line.label))
        first, second = table.metrics[reference], table.metrics[other]
        axis.set(xlabel=first.heading, ylabel=second.heading, title=f"{section.set}\n{table.protocol.name}")
        axis.legend(frameon=False)
    return figure


def curves(study: Study) -> Figure:
    """Training loss by step, without FRAMER's own term, and its running mean; dots are the held-out loss.

    An arm has one colour for all its seeds; ablations, of which there may be dozens, are grey means alone.
    """
    by_stage: dict[tuple[str, str], dict[str, list[Curve]]] = {}
    for run in study.runs:
        for stage, curve in read_curves(study.paths.run(run)).items():
            arms = by_stage.setdefault((str(study.arm(run).backbone), stage), {})
            arms.setdefault(study.rows[run].arm, []).append(curve)
    figure, axes = panels(len(by_stage), "No run has a training log")
    for axis, ((backbone, stage), arms) in zip(axes, by_stage.items(), strict=False):
        colors = dict(zip((arm for arm in arms if arm not in study.ablation_arms), cycle(COLORS), strict=False))
        for arm, found in arms.items():
            color, label = colors.get(arm, ABLATION), literal(study.arms[arm].label) if arm in colors else "ablations"
            for curve in found:
                strong = axis.plot(curve.steps, running_mean(curve.losses), color=color, linewidth=1.2)[0]
                if arm not in colors:
                    strong.set(linewidth=0.6, zorder=1)
                    continue
                axis.plot(curve.steps, curve.losses, color=color, linewidth=0.5, alpha=0.3)
                axis.plot([step for step, _ in curve.heldout], [loss for _, loss in curve.heldout], "o", color=color)
            if label not in axis.get_legend_handles_labels()[1]:
                strong.set_label(label)
        axis.set(xlabel="step", ylabel="loss", yscale="log", title=f"{backbone}, {stage} stage")
        axis.legend(frameon=False)
    return figure


def spectra(study: Study, datasets: Path) -> Figure:
    """Radial power of SR over that of HR: below 1 detail is missing. Dotted: the highest frequency of LR."""
    sets = [name for name in study.config.sets if (datasets / name / "HR").is_dir()]
    figure, axes = panels(len(sets), "No set with HR images is on this machine")
    for axis, name in zip(axes, sets, strict=False):
        high = list_images(datasets / name / "HR")
        stems = list(high)[:: max(1, -(-len(high) // SPECTRUM_IMAGES))]
        truth = _mean_power([high[stem] for stem in stems])
        found = [(study.config.arms[arm], folder) for arm, folder in restored(study, name).items()]
        methods = [(literal(config.label), folder) for config, folder in found if not (config.untrained or config.of)]
        for number, (label, folder) in enumerate(methods):
            images = list_images(folder)
            ratio = _mean_power([images[stem] for stem in stems if stem in images]) / truth
            axis.plot(frequencies(), ratio, color=COLORS[number % len(COLORS)], linewidth=1, label=label)
        axis.axhline(1, color="0.7", linewidth=0.8, zorder=0)
        axis.axvline(0.125, color="0.7", linewidth=0.8, linestyle=":", zorder=0)
        axis.set(xlabel="cycles a pixel", ylabel="power, SR / HR", yscale="log", title=name)
        axis.legend(frameon=False)
    return figure


def _mean_power(paths: Sequence[Path]) -> np.ndarray:
    return np.nanmean(np.stack([radial_power(read_rgb(path)) for path in paths]), axis=0)


def _values(cell: Cell) -> np.ndarray:
    assert cell.values is not None
    return cell.values.mean(0)


def _both(cells: Sequence[Cell], *numbers: int) -> bool:
    return all(cells[number].mean is not None for number in numbers)


def _bars(cell: Cell) -> list[list[float]] | None:
    """A cell's interval over images as matplotlib takes error bars."""
    if cell.interval is None or cell.mean is None or not np.isfinite([cell.interval.low, cell.interval.high]).all():
        return None
    return [[cell.mean - cell.interval.low], [cell.interval.high - cell.mean]]
