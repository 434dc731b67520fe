"""The paper's analyses, drawn from recorded arrays."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from framer.report.arrays import Recorded
from framer.report.style import COLORS, panels


def densities(recorded: Recorded) -> Figure:
    """Fig. 2: how magnitudes are distributed in the low and the high ring, mean and deviation over images."""
    figure, [axis] = panels(1, "")
    edges, density, deviation = (recorded.arrays[name] for name in ("edges", "density", "deviation"))
    middle = (edges[1:] + edges[:-1]) / 2
    for number, band in enumerate(recorded.along("band", len(density))):
        axis.plot(middle, density[number], color=COLORS[number], linewidth=1, label=band)
        low, high = density[number] - deviation[number], density[number] + deviation[number]
        axis.fill_between(middle, np.maximum(low, 0), high, color=COLORS[number], alpha=0.2, linewidth=0)
    axis.set(xlabel="log(1 + |F|)", ylabel="density")
    axis.legend(frameon=False)
    return figure


def layers(recorded: Recorded) -> Figure:
    """Figs. 3 and 7: cosine of every layer to the final one, mean and deviation over images, one panel a band."""
    similarity = recorded.arrays["similarity"]
    bands = recorded.along("band", similarity.shape[1])
    figure, axes = panels(len(bands), "")
    for panel, (axis, band) in enumerate(zip(axes, bands, strict=True)):
        for number, arm in enumerate(recorded.along("arm", len(similarity))):
            _lines(axis, similarity[number, panel], arm, COLORS[number % len(COLORS)])
        axis.set(xlabel="layer", ylabel="cosine to the final layer", title=band)
        axis.legend(frameon=False)
    return figure


def images(recorded: Recorded) -> Figure:
    """Fig. 5: cosine between the images of a batch, one panel a band, on one scale of colours."""
    similarity = recorded.arrays["similarity"]
    bands = recorded.along("band", len(similarity))
    figure, axes = panels(len(bands), "")
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
    figure, axes = panels(2 * len(moments), "")
    places = [(index, moment, name) for index, moment in enumerate(moments) for name in ("faw", "fam")]
    for axis, (index, moment, name) in zip(axes, places, strict=True):
        values = recorded.arrays[name][index]
        for number, band in enumerate(recorded.along("band", len(values))):
            _lines(axis, values[number], band, COLORS[number])
        axis.set(xlabel="layer", ylabel=name.upper(), title=moment, ylim=(0, 1.05))
        axis.legend(frameon=False)
    return figure


def _lines(axis: Axes, values: np.ndarray, label: str, color: str) -> None:
    """(layer, image): the mean over images and one deviation around it."""
    mean, deviation, steps = values.mean(1), values.std(1), np.arange(len(values))
    axis.plot(steps, mean, color=color, linewidth=1, label=label)
    axis.fill_between(steps, mean - deviation, mean + deviation, color=color, alpha=0.2, linewidth=0)


DRAWN: dict[str, Callable[[Recorded], Figure]] = {
    "densities": densities,
    "layers": layers,
    "images": images,
    "weights": weights,
}
"""By the name of the file of arrays."""
