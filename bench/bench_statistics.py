"""Simulations with known truth behind the verdicts and marks: coverage, false verdicts, power.

The difference of image i under seed s is `d[s,i] = g + a_s + b_i + c_si`: seed sd 0.05 or 0.2, image sd 0.5,
interaction sd 0.1; normal, or Student t with 3 degrees of freedom at the same sd. The functions under test are those of
the package; candidates that were not chosen are here. NumPy alone, one core, minutes.

    python bench/bench_statistics.py                          # 2000 trials per cell
    python bench/bench_statistics.py --trials 200
    python bench/bench_statistics.py --write docs/results.md  # replace the table between the markers
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import nctdtr, ndtri, stdtr, stdtrit

from framer.report.crossed import (
    Effects,
    Spread,
    gain_for,
    half_width,
    p_value,
    power,
    prediction_half_width,
    spread,
)
from framer.report.significance import ALPHA, Column, Tier, marks, pair_p_values
from framer.report.statistics import LEVEL, holm

Array = NDArray[np.float64]
BEGIN, END = "<!-- bench_statistics: begin -->", "<!-- bench_statistics: end -->"
SEED_SDS, IMAGE_SD, INTERACTION_SD = (0.05, 0.2), 0.5, 0.1
TAILS = ("normal", "t3")
SEEDS, IMAGES = (1, 3, 5, 8, 10), (6, 11, 50, 100, 193)
FAMILIES = (1, 4)
"""Claims of a study that are judged together."""
POOLED = ((0.2, 0.2, 0.2, 0.2), (0.05, 0.05, 0.05, 0.2))
"""Seed sds of four claims: alike, and one larger."""
METHODS, SETS, METRICS = (3, 11, 33), 4, 6
CHUNK = 4_000_000
"""Most numbers that are drawn at once."""


def draw(rng: np.random.Generator, tail: str, size: tuple[int, ...]) -> Array:
    """Numbers of mean 0 and sd 1."""
    if tail == "skewed":
        return rng.exponential(size=size) - 1
    return rng.normal(size=size) if tail == "normal" else rng.standard_t(3, size=size) / np.sqrt(3)


def differences(
    rng: np.random.Generator, tail: str, seed_sd: float, seeds: int, images: int, trials: int
) -> Iterator[Array]:
    """Trials of the model with a true gain of zero, in chunks of shape (trials, seeds, images)."""
    for size in chunks(trials, seeds * images):
        seed = seed_sd * draw(rng, tail, (size, seeds, 1))
        image = IMAGE_SD * draw(rng, tail, (size, 1, images))
        yield seed + image + INTERACTION_SD * draw(rng, tail, (size, seeds, images))


def chunks(trials: int, each: int) -> Iterator[int]:
    """Numbers of trials that are drawn together."""
    most = max(1, CHUNK // each)
    while trials > 0:
        yield min(most, trials)
        trials -= most


def satterthwaite(found: Spread, level: float) -> Array:
    """Candidate: one t quantile with Satterthwaite's degrees of freedom."""
    whole = found.of_seeds + found.of_images
    degrees = whole**2 / (found.of_seeds**2 / (found.seeds - 1) + found.of_images**2 / (found.images - 1))
    return np.asarray(stdtrit(degrees, (1 + level) / 2) * found.error)


def larger(found: Spread, level: float) -> Array:
    """Candidate: the larger of the two parts, with its own degrees of freedom."""
    seeds = stdtrit(found.seeds - 1, (1 + level) / 2) * np.sqrt(found.of_seeds)
    images = stdtrit(found.images - 1, (1 + level) / 2) * np.sqrt(found.of_images)
    return np.asarray(np.maximum(seeds, images))


def fewest(found: Spread, level: float) -> Array:
    """Candidate: a t quantile with the smaller degrees of freedom."""
    return np.asarray(stdtrit(min(found.seeds, found.images) - 1, (1 + level) / 2) * found.error)


CANDIDATES: dict[str, Callable[[Spread, float], Array]] = {
    "weighted": half_width,
    "Satterthwaite": satterthwaite,
    "larger part": larger,
    "fewest df": fewest,
}
"""Half widths of crossed intervals; the first one is the package's."""


def error(share: float, trials: int) -> float:
    """Monte Carlo standard error of a share."""
    return float(np.sqrt(share * (1 - share) / trials))


def percent(share: float) -> str:
    """One decimal."""
    return f"{100 * share:.1f}"


def table(heading: str, columns: tuple[str, ...], rows: list[list[str]]) -> str:
    """A Markdown table below a heading."""
    lines = [f"### {heading}", "", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows), ""])


def intervals(rng: np.random.Generator, trials: int) -> str:
    """Coverage and width of the candidates."""
    rows, low, wide, ratios = [], 1.0, [], [1.0]
    bar = LEVEL - 0.01 - 2 * error(LEVEL - 0.01, trials)
    for tail, sd, seeds, images in product(TAILS, SEED_SDS, SEEDS[1:], IMAGES):
        draws = [spread(d) for d in differences(rng, tail, sd, seeds, images, trials)]
        mean = np.concatenate([one.mean for one in draws])
        halves = {name: np.concatenate([half(one, LEVEL) for one in draws]) for name, half in CANDIDATES.items()}
        covered = {name: float((np.abs(mean) <= half).mean()) for name, half in halves.items()}
        best = min(halves[name].mean() for name in halves if covered[name] >= bar)
        ratio = float(halves["weighted"].mean() / best)
        if images >= 11:
            low, ratios = min(low, covered["weighted"]), [*ratios, ratio]
            if covered["weighted"] > 0.97:
                wide.append(f"{tail} {sd} S={seeds} n={images} ({percent(covered['weighted'])})")
        rows.append([tail, str(sd), str(seeds), str(images), *map(percent, covered.values()), f"{ratio:.2f}"])
    columns = ("tails", "seed sd", "S", "n", *(f"{name}, %" for name in CANDIDATES), "width")
    verdict = (
        f"Lowest coverage of the crossed interval with n >= 11: {percent(low)}% (bar {percent(bar)}%). "
        f"Largest width against the narrowest candidate that covers: {max(ratios):.2f} (bar 1.25). "
        f"Above 97%: {'; '.join(wide) or 'none'}."
    )
    return table("Coverage of 95% crossed intervals", columns, rows) + f"\n{verdict}\n"


def false_verdicts(rng: np.random.Generator, trials: int) -> str:
    """Studies with a confirmed or contradicted claim where no gain is different from zero."""
    rows, worst = [], 0.0
    bar = ALPHA + 2 * error(ALPHA, trials)
    cells = [(tail, sd, seeds) for tail, sd, seeds in product(TAILS, SEED_SDS, SEEDS[1:])]
    for (tail, sd, seeds), images in product([*cells, *((tail, 0.0, 1) for tail in TAILS)], IMAGES):
        draws = differences(rng, tail, sd, seeds, images, trials * FAMILIES[-1])
        p = np.concatenate([p_value(spread(d)) for d in draws]).reshape(trials, -1)
        found = [float(np.mean([holm(one[:family]).min() <= ALPHA for one in p])) for family in FAMILIES]
        worst = max(worst, *found)
        rows.append([tail, str(sd) if seeds > 1 else "fixed", str(seeds), str(images), *map(percent, found)])
    columns = ("tails", "seed sd", "S", "n", *(f"{family} claims, %" for family in FAMILIES))
    verdict = (
        f"Most false verdicts: {percent(worst)}% (bar {percent(bar)}%). One seed is never confirmed; its rows are "
        'false "holds for this checkpoint" where the checkpoints are fixed and equal.'
    )
    return table("False verdicts in a study without true gains", columns, rows) + f"\n{verdict}\n"


def pooled(rng: np.random.Generator, trials: int) -> str:
    """Candidate that was not chosen: the seeds' variance pooled over the four claims of a family, for its freedom."""
    rows, worst = [], 0.0
    for tail, sds, seeds, images in product(TAILS, POOLED, SEEDS[1:3], IMAGES[2:]):
        claims = [[spread(d) for d in differences(rng, tail, sd, seeds, images, trials)] for sd in sds]
        mean = np.stack([np.concatenate([one.mean for one in ones]) for ones in claims])
        of_seeds = np.stack([np.concatenate([one.of_seeds for one in ones]) for ones in claims]).mean(0)
        of_images = np.stack([np.concatenate([one.of_images for one in ones]) for ones in claims])
        whole = of_seeds + of_images
        t, freedom = np.abs(mean) / np.sqrt(whole), len(sds) * (seeds - 1)
        p = 2 * (of_seeds * stdtr(freedom, -t) + of_images * stdtr(images - 1, -t)) / whole
        wrong = float((p.min(0) <= ALPHA / len(sds)).mean())
        worst = max(worst, wrong)
        rows.append([tail, " ".join(map(str, sds)), str(seeds), str(images), percent(wrong)])
    columns = ("tails", "seed sds", "S", "n", "4 claims, %")
    bar = percent(ALPHA + 2 * error(ALPHA, trials))
    verdict = f"Most false verdicts: {percent(worst)}% (bar {bar}%). Claims keep their own variance for that."
    return table("False verdicts if four claims shared their seeds' variance", columns, rows) + f"\n{verdict}\n"


def sizes(rng: np.random.Generator, trials: int) -> str:
    """How often the size of a true replication is reproduced: one further run on the same images."""
    rows, low = [], 1.0
    for tail, sd, images in product(TAILS, SEED_SDS, IMAGES):
        found = []
        for seeds in SEEDS[1:]:
            inside = []
            for d in differences(rng, tail, sd, seeds + 1, images, trials):
                means = d.mean(-1)
                half = prediction_half_width(means[:, 1:])
                inside.append(np.abs(means[:, 0] - means[:, 1:].mean(1)) <= half)
            found.append(float(np.concatenate(inside).mean()))
        low = min(low, *found)
        rows.append([tail, str(sd), str(images), *map(percent, found)])
    columns = ("tails", "seed sd", "n", *(f"S={seeds}, %" for seeds in SEEDS[1:]))
    verdict = f"Lowest: {percent(low)}% (bar 93.0%). One seed has no spread to predict from: its size is not judged."
    return table("Size reproduced, for a true replication", columns, rows) + f"\n{verdict}\n"


def powers(trials: int) -> str:
    """Power of a claim against a z test that knows all variances, where that has 80% and 95%."""
    rows, below = [], []
    for sd, seeds, images, family in product(SEED_SDS, SEEDS[1:], IMAGES[1:], (1, 4)):
        level = 1 - ALPHA / family
        true = float(np.sqrt(sd**2 / seeds + IMAGE_SD**2 / images + INTERACTION_SD**2 / seeds / images))
        row = [str(sd), str(seeds), str(images), str(family)]
        for oracle in (0.8, 0.95):
            gain = true * float(ndtri((1 + level) / 2) + ndtri(oracle))
            ours = power(gain, Effects(sd, IMAGE_SD, INTERACTION_SD), seeds=seeds, images=images, level=level)
            row += [percent(ours), percent(ours / oracle)]
            for number in (seeds, images):
                # All variance from one factor: the uniformly most powerful unbiased test, of which the power is exact.
                alone = 1 - nctdtr(number - 1, gain / true, stdtrit(number - 1, (1 + level) / 2))
                row.append(percent(float(alone) / oracle))
            if seeds in (5, 10) and ours / oracle < 0.8:
                below.append(
                    f"{sd} S={seeds} n={images} claims={family} at {oracle:.0%} ({percent(ours / oracle)}; "
                    f"seeds alone {row[-2]}, images alone {row[-1]})"
                )
        rows.append(row)
    columns = ("seed sd", "S", "n", "claims")
    of = (
        f"{name}, oracle {oracle}"
        for oracle in ("80%", "95%")
        for name in ("power, %", "% of it", "seeds alone, % of it", "images alone, % of it")
    )
    verdict = (
        f"Below 80% of the oracle at S = 5 and 10: {'; '.join(below) or 'none'}. The columns of one factor alone are "
        "the exact power, at the same ratio of gain to standard error, of Student's t test on the means of the seeds "
        "with S - 1 degrees of freedom, and on those of the images with n - 1. Each is uniformly most powerful among "
        "unbiased tests where the other factor's noise vanishes: where seeds dominate, no such test has a larger share "
        "of the oracle than seeds alone."
    )
    return table("Power against an oracle that knows the variances", (*columns, *of), rows) + f"\n{verdict}\n"


def scores(rng: np.random.Generator, tail: str, methods: int, images: int) -> list[Array]:
    """A table of equal methods: per set and metric scores (methods, images); metrics of a set correlate by 0.5."""
    columns = []
    for _ in range(SETS):
        shared = draw(rng, tail, (1, methods, images))
        own = draw(rng, tail, (METRICS, methods, images))
        columns += [*((shared + own) * IMAGE_SD / 2)]
    return columns


def least_p(columns: Array) -> float:
    """The smallest p-value of all pairs, from the covariances of columns (columns, methods, images)."""
    images = columns.shape[-1]
    mean = columns.mean(-1)
    centred = columns - mean[..., None]
    covariance = centred @ centred.swapaxes(-1, -2) / (images - 1)
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    of_pairs = variance[:, :, None] + variance[:, None, :] - 2 * covariance
    upper = np.triu_indices(columns.shape[1], 1)
    t = np.abs(mean[:, :, None] - mean[:, None, :])[:, *upper] / np.sqrt(of_pairs[:, *upper] / images)
    return float(2 * stdtr(images - 1, -t.max()))


def false_marks(rng: np.random.Generator, trials: int) -> str:
    """Tables of equal methods in which one is not marked as tied with the best, and methods 10 dB below the others."""
    rows, worst, tied = [], 0.0, {False: 0, True: 0}
    bar = ALPHA + 2 * error(ALPHA, trials)
    for tail, methods, images in product((*TAILS, "skewed"), METHODS, IMAGES):
        if tail == "skewed" and methods == METHODS[-1]:
            continue
        pairs = SETS * METRICS * methods * (methods - 1) // 2
        wrong = bold = undecided = 0
        for trial in range(trials):
            table_of = scores(rng, tail, methods, images)
            least = least_p(np.stack(table_of))
            wrong += least <= ALPHA / pairs
            if trial < 20:
                exact = min(float(pair_p_values(Column(tuple(one), True)).min()) for one in table_of)
                assert np.isclose(least, exact), "two ways to the same p-value"
                for one in table_of:
                    one[-1] -= 10
                found = [one.tiers[-1] for one in marks([Column(tuple(one), True) for one in table_of])]
                bold += sum(tier is Tier.BEST for tier in found)
                undecided += sum(tier is Tier.UNDECIDED for tier in found)
        worst = max(worst, wrong / trials)
        tied[images < 11] += bold
        cells = 20 * SETS * METRICS
        rows.append(
            [
                tail,
                str(methods),
                str(images),
                percent(wrong / trials),
                percent(bold / cells),
                percent(undecided / cells),
            ]
        )
    columns = ("tails", "methods", "n", "false marks per table, %", "10 dB below: bold, %", "undecided, %")
    verdict = (
        f"Most false marks in a table of {SETS * METRICS} columns: {percent(worst)}% "
        f"(bar {percent(bar)}%). "
        f"Cells 10 dB below that are bold: {tied[False]} with n >= 11, {tied[True]} with n = 6."
    )
    return table("Marks", columns, rows) + f"\n{verdict}\n"


def plans() -> str:
    """The gain that a study confirms with 80%, by its seeds."""
    rows = []
    for sd, images, family in product(SEED_SDS, (100, 193), (4, 24)):
        effects = Effects(sd, IMAGE_SD, INTERACTION_SD)
        found = [gain_for(effects, seeds=seeds, images=images, level=1 - ALPHA / family) for seeds in SEEDS[1:]]
        rows.append([str(sd), str(images), str(family), *(f"{gain:.2f}" for gain in found)])
    return table(
        "Gain that is confirmed with 80%, in the unit of the spreads",
        ("seed sd", "n", "claims", *(f"S={seeds}" for seeds in SEEDS[1:])),
        rows,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="per cell (default: 2000)")
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="page whose table is replaced")
    args = parser.parse_args()
    parts = [f"Made by `bench/bench_statistics.py`, {args.trials} trials per cell.\n"]
    sections = (
        lambda: intervals(np.random.default_rng(1), args.trials),
        lambda: false_verdicts(np.random.default_rng(2), args.trials),
        lambda: pooled(np.random.default_rng(5), args.trials),
        lambda: sizes(np.random.default_rng(3), args.trials),
        lambda: powers(args.trials),
        lambda: false_marks(np.random.default_rng(4), args.trials),
        plans,
    )
    for section in sections:
        parts.append(section())
        print(parts[-1], flush=True)
    if args.write:
        before, _, rest = args.write.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        tables = "\n".join(parts)
        args.write.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
