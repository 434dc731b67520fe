"""FRAMER once more, from its formulas: NumPy, float64, full spectra, loops. Written apart from the package.

`frozen` holds the maps from which everything detached is taken (weights, negatives, keys), so that differences of this
function in `students` alone are what autograd should give.
"""

import numpy as np

EPS = 1e-9


def framer(recipe, students, teacher, negatives, frozen=None):
    """Loss of students [L] (B, C, H, W), teacher (B, C, H, W), negatives [L]; and its terms by (layer, band, image)."""
    frozen = students if frozen is None else frozen
    depth, images = len(students), len(teacher)
    source = {"final": depth - 1, "truth": depth - 1, "middle": depth // 2}.get(recipe.teacher, recipe.teacher)
    if recipe.teacher not in ("final", "truth"):
        teacher = frozen[source]
    layers = [i for i in range(depth) if recipe.students == "all" or i != source]
    terms = {}
    if recipe.objective == "none":
        return 0.0, terms
    per_layer = []
    for i in layers:
        total = 0.0
        for b in range(images):
            if recipe.objective == "l2":
                total += np.mean((students[i][b] - teacher[b]) ** 2)
                continue
            for band, kind in recipe.terms.items():
                term = contrast(recipe, band, kind, i, negatives[i], b, students, teacher, frozen)
                terms[i, band, b] = term
                total += term["faw"] * term["fam"] * term["loss"]
        per_layer.append(total / images)
    return recipe.weight * (np.sum(per_layer) if recipe.reduction == "sum" else np.mean(per_layer)), terms


def contrast(recipe, band, kind, i, j, b, students, teacher, frozen):
    def feature(maps, image):
        return unit(recipe, maps[image], mask(recipe, teacher[image], band))

    query = feature(students[i], b)
    target = feature(teacher, b)
    positive = query @ target
    logits = [positive]
    negative = np.nan
    if recipe.negatives != "none" and j is not None:
        negative = query @ feature((frozen if recipe.stop_negatives else students)[j], b)
        logits.append(negative)
    others = []
    if kind == "inter":
        for other in range(len(teacher)):
            if other != b:
                others.append(query @ feature(teacher, other))
                if recipe.keys == "teachers+negatives" and recipe.negatives != "none" and j is not None:
                    others.append(query @ feature(frozen[j], other))
    scaled = np.array(logits + others) / recipe.temperature
    faw = fam = 1.0
    if recipe.faw:
        own, final = (energy(x, mask(recipe, teacher[b], band)) for x in (frozen[i][b], teacher[b]))
        divisor = {"student": own + EPS, "teacher": final + EPS, "absolute": 1.0}[recipe.discrepancy]
        faw = 1 / (1 + abs(final - own) / divisor)
    if recipe.fam:
        fam = positive if not recipe.fam_stop else feature(frozen[i], b) @ target
        fam = max(fam, 0.0) if recipe.fam_relu else fam
    return {
        "loss": np.log(np.exp(scaled).sum()) - scaled[0],
        "positive": positive,
        "negative": negative,
        "others": np.mean(others) if others else np.nan,
        "faw": faw,
        "fam": fam,
    }


def mask(recipe, teacher, band):
    """(C, H, W), 1 in the band."""
    height, width = teacher.shape[-2:]
    cutoffs = recipe.cutoff if isinstance(recipe.cutoff, tuple) else [recipe.cutoff]
    if recipe.masks == "radial":
        y = np.minimum(np.arange(height), height - np.arange(height)) / (height / 2)
        x = np.minimum(np.arange(width), width - np.arange(width)) / (width / 2)
        value, at = np.broadcast_to(np.sqrt(y[:, None] ** 2 + x**2), teacher.shape), lambda c: c
    else:
        magnitude = np.abs(np.fft.fft2(teacher))
        twin = np.roll(magnitude[:, ::-1, ::-1], 1, axis=(1, 2))
        magnitude = np.maximum(magnitude, twin)
        value, at = magnitude, lambda c: np.quantile(magnitude, c)
    passes = [np.zeros(teacher.shape), *(low_pass(value, at, c, recipe.edge) for c in cutoffs), np.ones(teacher.shape)]
    names = ["low", *(f"middle{i}" for i in range(1, len(cutoffs))), "high"]
    i = names.index(band)
    return passes[i + 1] - passes[i]


def low_pass(value, at, cutoff, edge):
    if not edge:
        return (value < at(cutoff) * (1 - 1e-12)).astype(float)  # on the circle is high
    start, end = at(cutoff - edge / 2), at(cutoff + edge / 2)
    return 0.5 + 0.5 * np.cos(np.pi * np.clip((value - start) / (end - start), 0, 1))


def unit(recipe, x, where):
    spectrum = np.fft.fft2(x) * where
    if recipe.feature == "magnitude":
        vector = np.abs(spectrum).ravel()
    elif recipe.feature == "complex":
        vector = np.fft.ifft2(spectrum).real.ravel()  # Parseval: the band-passed map
    else:
        vector = x.ravel()
    return vector / np.linalg.norm(vector)


def energy(x, where):
    """Mean over channels of the mean magnitude in the band."""
    magnitude = np.abs(np.fft.fft2(x))
    return np.mean([(m * w).sum() / (w.sum() + EPS) for m, w in zip(magnitude, where, strict=True)])
