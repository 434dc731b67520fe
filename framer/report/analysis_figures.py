"""The paper's analyses, drawn from recorded arrays and images."""

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from framer.analysis import arrays
from framer.analysis.arrays import Recorded
from framer.data.images import list_images, read_rgb
from framer.report.figure_style import COLORS, FAINT, PAGE, label, literal, panels
from framer.study.analysis_config import AnalysisConfig
from framer.study.layout import EARLY, HR
from framer.study.study import Study


def draw(study: Study, backbone: str, source: Path) -> Figure:
    """One figure of a backbone, from what `framer analyse` wrote.

    Args:
        study: whose arms are named.
        backbone: its name.
        source: a file of arrays, or the folder of the images of early training.

    Raises:
        UserError: the file or an image is damaged or missing.
    """
    if source.name == EARLY:
        return early(source, backbone)
    recorded = arrays.read(source)
    arms = study.arms
    named = tuple(literal(arms[arm].label) if arm in arms else arm for arm in recorded.labels.get("arm", ()))
    labels = recorded.labels | ({"arm": named} if named else {})
    figure = DRAWN[source.stem](replace(recorded, labels=labels))
    figure.suptitle(backbone, fontsize=8)
    if recorded.about:
        figure.supxlabel(_wrapped(recorded.about, figure.get_size_inches()[0]), fontsize=5, color=FAINT)
    return figure


def densities(recorded: Recorded) -> Figure:
    """Fig. 2: how magnitudes are distributed in the low and the high ring, mean and deviation over images."""
    figure, [axis] = panels(1)
    edges, density, deviation = (recorded.arrays[name] for name in ("edges", "density", "deviation"))
    middle = (edges[1:] + edges[:-1]) / 2
    named = []
    for number, band in enumerate(recorded.along("band", len(density))):
        axis.plot(middle, density[number], color=COLORS[number], linewidth=1)
        top = int(np.argmax(density[number]))
        named.append((middle[top], density[number][top], band, COLORS[number]))
        low, high = density[number] - deviation[number], density[number] + deviation[number]
        axis.fill_between(middle, np.maximum(low, 0), high, color=COLORS[number], alpha=0.2, linewidth=0)
    axis.set(xlabel="log(1 + |F|)", ylabel="density")
    label(axis, named)
    return figure


def layers(recorded: Recorded) -> Figure:
    """Figs. 3 and 7: cosine of every layer to the final one, mean and deviation over images, one panel a band."""
    similarity = recorded.arrays["similarity"]
    bands = recorded.along("band", similarity.shape[1])
    figure, axes = panels(len(bands))
    for panel, (axis, band) in enumerate(zip(axes, bands, strict=True)):
        named = [
            _line(axis, similarity[number, panel], arm, COLORS[number % len(COLORS)])
            for number, arm in enumerate(recorded.along("arm", len(similarity)))
        ]
        axis.set(xlabel="layer", ylabel="cosine to the final layer", title=band)
        label(axis, named)
    return figure


def images(recorded: Recorded) -> Figure:
    """Fig. 5: cosine between the images of a batch, one panel a band, on one scale of colours."""
    similarity = recorded.arrays["similarity"]
    bands = recorded.along("band", len(similarity))
    figure, axes = panels(len(bands))
    drawn = None
    for axis, band, values in zip(axes, bands, similarity, strict=True):
        drawn = axis.imshow(values, vmin=similarity.min(), vmax=similarity.max(), cmap="viridis")
        axis.set(title=band, xlabel="image", ylabel="image")
    if drawn is not None:
        figure.colorbar(drawn, ax=axes, label="cosine", shrink=0.8)
    return figure


def weights(recorded: Recorded) -> Figure:
    """Fig. 9: FAW and FAM of every layer, one panel a moment of training and weight."""
    moments = recorded.along("moment", len(recorded.arrays["faw"]))
    figure, axes = panels(2 * len(moments))
    places = [(index, moment, name) for index, moment in enumerate(moments) for name in ("faw", "fam")]
    for axis, (index, moment, name) in zip(axes, places, strict=True):
        values = recorded.arrays[name][index]
        named = [
            _line(axis, values[number], band, COLORS[number])
            for number, band in enumerate(recorded.along("band", len(values)))
        ]
        axis.set(xlabel="layer", ylabel=name.upper(), title=moment, ylim=(0, 1.05))
        label(axis, named)
    return figure


def early(folder: Path, backbone: str) -> Figure:
    """Fig. 8: `folder/RECIPE/STEP/STEM.png` side by side, a column per step and HR last, a row per image and recipe."""
    recipes = [recipe for recipe in AnalysisConfig.compared if (folder / recipe).is_dir()]
    steps = sorted({int(path.name) for recipe in recipes for path in (folder / recipe).iterdir()})
    stems = list(list_images(folder / recipes[0] / str(steps[0]))) if steps else []
    places = [(stem, recipe) for stem in stems for recipe in recipes]
    columns = [*map(str, steps), HR]
    side = PAGE / len(columns)
    figure = Figure(figsize=(PAGE, side * max(1, len(places))), layout="constrained")
    figure.suptitle(backbone, fontsize=8)
    for row, (stem, recipe) in enumerate(places):
        for column, name in enumerate(columns):
            axis = figure.add_subplot(len(places), len(columns), row * len(columns) + column + 1)
            image = folder / HR / f"{stem}.png" if name == HR else folder / recipe / name / f"{stem}.png"
            axis.imshow(read_rgb(image), interpolation="nearest")
            axis.set(xticks=[], yticks=[], title="" if row else name if name == HR else f"step {name}")
            axis.set_ylabel("" if column else f"{recipe}\n{stem}")
    return figure


def _wrapped(about: Mapping[str, str], inches: float) -> str:
    """What was measured, a line as wide as the figure."""
    lines = textwrap.wrap("; ".join(f"{key}: {text}" for key, text in about.items()), int(30 * inches))
    return "\n".join(lines)


def _line(axis: Axes, values: np.ndarray, name: str, color: str) -> tuple[float, float, str, str]:
    """(layer, image): the mean over images and one deviation around it; its end, name and color."""
    mean, deviation, steps = values.mean(1), values.std(1), np.arange(len(values))
    axis.plot(steps, mean, color=color, linewidth=1)
    axis.fill_between(steps, mean - deviation, mean + deviation, color=color, alpha=0.2, linewidth=0)
    return float(steps[-1]), float(mean[-1]), name, color


DRAWN: dict[str, Callable[[Recorded], Figure]] = {
    "densities": densities,
    "layers": layers,
    "images": images,
    "weights": weights,
}
"""By the name of the file of arrays."""
