"""The figures of a study, PDF and SVG: from scores, images, training logs and recorded arrays."""

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
from framer.report.figure_style import COLORS, FAINT, LINE, STYLE, label, literal, panels, save
from framer.report.gallery import restored
from framer.report.paper_numbers import Ledger
from framer.report.power_spectrum import frequencies, radial_power
from framer.report.sweeps import sweeps
from framer.report.training_curves import Curve, read_curves, running_mean
from framer.study import analysis_jobs
from framer.study.study import Study

ABLATION = LINE
"""Behind the rest."""
SPECTRUM_IMAGES = 32
"""Images a set whose spectra are averaged, at most."""
DECADES = 20
"""A swept field whose values span this factor has a logarithmic axis."""


def render(study: Study, out: Path, missing: dict[str, str] | None = None, datasets: Path = Path("datasets")) -> None:
    """Write each figure as `out/NAME.pdf` and `out/NAME.svg`.

    One that has nothing to show is empty, and the report omits it.

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
        "sweeps": lambda: sweep_curves(study, found),
        "curves": lambda: curves(study),
        "spectra": lambda: spectra(study, datasets),
    }
    drawn = {name: draw for name, draw in drawn.items() if name in study.figures}
    for name, source in analysis_jobs.figures(study, missing or {}).items():
        if (source.parent / CARD).is_file():  # it is written last
            drawn[name] = partial(analysis_figures.draw, study, source.parent.name, source)
    with claimed(out, "figures", inputs=(study.path,)) as folder, matplotlib.rc_context(STYLE):
        for name, make in drawn.items():
            figure = make()
            for kind in ("pdf", "svg"):
                with atomic(folder.file(f"{name}.{kind}")) as part:
                    save(figure, part, kind)


def scatter(study: Study, found: Sequence[Table]) -> Figure:
    """Every test image: its baseline's score against FRAMER's, mean over training seeds; above the line is larger."""
    pairs = [
        (table, claim)
        for table, of_table in zip(found, claims(study, found, Ledger()), strict=True)
        for claim in of_table
        if claim.reading and claim.comparison is not None and claim.ours.n_images > 1 and _values(claim.ours).size > 1
    ]
    figure, axes = panels(len(pairs))
    for axis, (table, claim) in zip(axes, pairs, strict=False):
        base, ours = _values(claim.baseline), _values(claim.ours)
        low, high = min(base.min(), ours.min()), max(base.max(), ours.max())
        axis.plot([low, high], [low, high], color=LINE, linewidth=0.8, zorder=0)
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
    figure, axes = panels(len(panes))
    for axis, (table, section, reference, other) in zip(axes, panes, strict=False):
        named = []
        for number, line in enumerate(section.methods):
            x, y = line.cells[reference], line.cells[other]
            if x.mean is None or y.mean is None:
                continue
            color = COLORS[number % len(COLORS)]
            axis.errorbar([x.mean], [y.mean], xerr=_bars(x), yerr=_bars(y), color=color, elinewidth=0.8)
            axis.plot([x.mean], [y.mean], "o", color=color, markersize=4)
            named.append((x.mean, y.mean, literal(line.label), color))
        first, second = table.metrics[reference], table.metrics[other]
        axis.set(xlabel=first.heading, ylabel=second.heading, title=f"{section.set}\n{table.protocol.name}")
        label(axis, named)
    return figure


def sweep_curves(study: Study, found: Sequence[Table]) -> Figure:
    """Difference to the reference by the value of a swept field, a panel per sweep, set and metric.

    Bars are 95% intervals over seeds and images, uncorrected. Dashed lines mark the values of the paper's and the
    released code's readings.
    """
    panes = [
        (table, sweep, number, metric)
        for table in found
        for sweep in sweeps(study, table)
        for number, metric in enumerate(table.metrics)
        if sum(point.compared[number] is not None for point in sweep.points) > 1
    ]
    figure, axes = panels(len(panes))
    for axis, (table, sweep, number, metric) in zip(axes, panes, strict=False):
        values = [point.value for point in sweep.points]
        if min(values) > 0 and max(values) >= DECADES * min(values):
            axis.set_xscale("log")
        for at, name in sweep.marked.items():
            axis.axvline(at, color=FAINT, linestyle="--", linewidth=0.8, zorder=0)
            side = "left" if at <= sorted(values)[len(values) // 2] else "right"
            axis.text(
                at, 1, name, transform=axis.get_xaxis_transform(), ha=side, va="bottom", size="small", color=FAINT
            )
        for point in sweep.points:
            if one := point.compared[number]:
                ends = one.interval
                bars = [[one.difference - ends.low], [ends.high - one.difference]] if ends else None
                axis.errorbar([point.value], [one.difference], yerr=bars, fmt="o", color=COLORS[0], elinewidth=0.8)
        axis.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
        axis.set(xlabel=sweep.key, ylabel=f"{metric.heading}, minus {literal(sweep.reference)}")
        axis.set_title(f"{sweep.set}\n{table.protocol.name}", pad=14 if sweep.marked else None)
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
    figure, axes = panels(len(by_stage))
    for axis, ((backbone, stage), arms) in zip(axes, by_stage.items(), strict=False):
        colors = dict(zip((arm for arm in arms if arm not in study.ablation_arms), cycle(COLORS), strict=False))
        ends: dict[str, tuple[float, float, str, str]] = {}
        for arm, found in arms.items():
            color = colors.get(arm, ABLATION)
            name = literal(study.arms[arm].label) if arm in colors else "ablations"
            for curve in found:
                means = running_mean(curve.losses)
                strong = axis.plot(curve.steps, means, color=color, linewidth=1.2)[0]
                ends.setdefault(name, (curve.steps[-1], means[-1], name, color if arm in colors else FAINT))
                if arm not in colors:
                    strong.set(linewidth=0.6, zorder=1)
                    continue
                axis.plot(curve.steps, curve.losses, color=color, linewidth=0.5, alpha=0.3)
                axis.plot([step for step, _ in curve.heldout], [loss for _, loss in curve.heldout], "o", color=color)
        axis.set(xlabel="step", ylabel="loss", yscale="log", title=f"{backbone}, {stage} stage")
        label(axis, list(ends.values()))
    return figure


def spectra(study: Study, datasets: Path) -> Figure:
    """Radial power of SR over that of HR: below 1 detail is missing. Dotted: the highest frequency of LR."""
    sets = [name for name in study.config.sets if (datasets / name / "HR").is_dir()]
    figure, axes = panels(len(sets))
    for axis, name in zip(axes, sets, strict=False):
        high = list_images(datasets / name / "HR")
        stems = list(high)[:: max(1, -(-len(high) // SPECTRUM_IMAGES))]
        truth = _mean_power([high[stem] for stem in stems])
        found = [(study.arms[arm], folder) for arm, folder in restored(study, name).items()]
        methods = [(literal(config.label), folder) for config, folder in found if not (config.untrained or config.of)]
        ends = []
        for number, (name_of_arm, folder) in enumerate(methods):
            images = list_images(folder)
            ratio = _mean_power([images[stem] for stem in stems if stem in images]) / truth
            color = COLORS[number % len(COLORS)]
            axis.plot(frequencies(), ratio, color=color, linewidth=1)
            ends.append((frequencies()[-1], ratio[-1], name_of_arm, color))
        axis.axhline(1, color=LINE, linewidth=0.8, zorder=0)
        axis.axvline(0.125, color=LINE, linewidth=0.8, linestyle=":", zorder=0)
        axis.set(xlabel="cycles per pixel", ylabel="power, SR / HR", yscale="log", title=name)
        label(axis, ends)
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
