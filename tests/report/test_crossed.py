"""A short run of `bench/bench_statistics.py`, and the formulas against scipy and loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from framer.report.crossed import (
    Effects,
    gain_for,
    half_width,
    needed,
    p_value,
    power,
    prediction_half_width,
    spread,
)
from framer.report.statistics import holm

TRIALS = 1500
SEED_SDS = (0.05, 0.2)


def draw(rng: np.random.Generator, tail: str, size: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=size) if tail == "normal" else rng.standard_t(3, size=size) / np.sqrt(3)


def differences(rng: np.random.Generator, tail: str, sd: float, seeds: int, n: int, trials: int = TRIALS) -> np.ndarray:
    """The model of the module's docstring, shape (trials, seeds, n)."""
    parts = (sd, (trials, seeds, 1)), (0.5, (trials, 1, n)), (0.1, (trials, seeds, n))
    return sum((scale * draw(rng, tail, size) for scale, size in parts), np.zeros(()))


@pytest.mark.parametrize("tail", ["normal", "t3"])
@pytest.mark.parametrize("sd", SEED_SDS)
@pytest.mark.parametrize(("seeds", "n"), [(3, 11), (3, 100), (5, 50), (10, 11)])
def test_coverage(tail: str, sd: float, seeds: int, n: int):
    found = spread(differences(np.random.default_rng(0), tail, sd, seeds, n))
    assert np.mean(np.abs(found.mean) <= half_width(found, 0.95)) >= 0.93


@pytest.mark.parametrize("sd", SEED_SDS)
@pytest.mark.parametrize("seeds", [2, 3, 5, 8])
def test_false_verdicts_of_a_family_are_rare(sd: float, seeds: int):
    """Four claims without a gain: one of them confirmed or contradicted in at most 5% of the studies."""
    p = p_value(spread(differences(np.random.default_rng(1), "normal", sd, seeds, 100, 4 * TRIALS))).reshape(-1, 4)
    assert np.mean([holm(one).min() <= 0.05 for one in p]) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / TRIALS)


def test_satterthwaite_would_fail_the_same_simulation():
    """Why it is not used: three seeds that dominate are taken for more than they are."""
    d = differences(np.random.default_rng(1), "normal", 0.2, 3, 100)
    found = spread(d)
    whole = found.of_seeds + found.of_images
    degrees = whole**2 / (found.of_seeds**2 / 2 + found.of_images**2 / 99)
    assert np.mean(2 * stats.t.sf(np.abs(found.mean) / found.error, degrees) <= 0.05) > 0.065


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_a_further_run_lies_in_its_prediction(seeds: int):
    means = differences(np.random.default_rng(2), "normal", 0.2, seeds + 1, 20).mean(-1)
    off = np.abs(means[:, 0] - means[:, 1:].mean(1))
    assert np.mean(off <= prediction_half_width(means[:, 1:])) >= 0.93
    of_mean = stats.t.ppf(0.975, seeds - 1) * means[:, 1:].std(1, ddof=1) / np.sqrt(seeds)
    assert np.mean(off <= of_mean) < 0.87, "the interval of the mean is not made for a single run"


def test_spread_is_the_two_way_analysis_of_variance():
    d = np.random.default_rng(3).normal(size=(4, 7))
    seeds, n = d.shape
    grand = sum(d[s, i] for s in range(seeds) for i in range(n)) / (seeds * n)
    between_seeds = n * sum((sum(d[s]) / n - grand) ** 2 for s in range(seeds)) / (seeds - 1)
    between_images = seeds * sum((sum(d[:, i]) / seeds - grand) ** 2 for i in range(n)) / (n - 1)
    found = spread(d)
    assert float(found.mean) == pytest.approx(grand)
    assert float(found.of_seeds) == pytest.approx(between_seeds / (seeds * n))
    assert float(found.of_images) == pytest.approx(between_images / (seeds * n))


def test_one_seed_and_one_image_are_scipys_t_test():
    d = np.random.default_rng(4).normal(0.2, 1, 12)
    theirs = stats.ttest_1samp(d, 0)
    interval = theirs.confidence_interval(0.99)
    for shape in ((1, 12), (12, 1)):
        found = spread(d.reshape(shape))
        assert float(p_value(found)) == pytest.approx(theirs.pvalue)
        assert float(half_width(found, 0.99)) == pytest.approx((interval.high - interval.low) / 2)
    with pytest.raises(ValueError, match="no spread"):
        p_value(spread(d[:1, None]))


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 9), st.sampled_from([0.8, 0.95, 0.9975]))
@settings(max_examples=60, deadline=None)
def test_an_interval_excludes_zero_where_the_test_rejects(seed: int, seeds: int, n: int, level: float):
    d = np.random.default_rng(seed).normal(0.5, 1, (seeds, n))
    found = spread(d)
    edge = half_width(found, level)
    at_edge = spread(d - found.mean + edge)
    assert float(p_value(at_edge)) == pytest.approx(1 - level, rel=1e-4)


def test_what_two_computations_can_show_is_nothing():
    tiny = np.full((3, 8), 2e-7)
    assert float(p_value(spread(tiny, 1e-6))) == 1
    assert float(p_value(spread(np.zeros((3, 8))))) == 1
    assert float(p_value(spread(np.full((3, 8), 0.5), 1e-5))) < 1e-4


def test_power_is_that_of_the_whole_simulation():
    """The planned power draws sufficient statistics; here every image of every seed is drawn."""
    d = 0.2 + differences(np.random.default_rng(5), "normal", 0.05, 3, 50, 4000)
    found = spread(d)
    seen = np.mean((p_value(found) <= 0.0125) & (found.mean > 0))
    planned = power(0.2, Effects(0.05, 0.5, 0.1), seeds=3, images=50, level=1 - 0.0125)
    assert planned == pytest.approx(seen, abs=0.03)
    gain = gain_for(Effects(0.05, 0.5, 0.1), seeds=3, images=50, level=0.9875)
    assert power(gain, Effects(0.05, 0.5, 0.1), seeds=3, images=50, level=0.9875) == pytest.approx(0.8, abs=0.02)


def test_the_numbers_that_decide_decide():
    """With as many seeds or images as a pilot asks for, about four of five studies see its gain."""
    rng = np.random.default_rng(6)
    d = differences(rng, "normal", 0.2, 4, 60, 1)[0]
    pilot = spread(d - d.mean() + 0.25)
    seeds, _ = needed(pilot, 0.95)
    assert seeds is not None
    sd = np.sqrt(float(pilot.of_seeds) * 4 - 0.01 / 60)
    image_sd = np.sqrt(float(pilot.of_images) * 60)
    assert 0.72 <= power(0.25, Effects(sd, image_sd, 0.1), seeds=seeds, images=60, level=0.95) <= 0.92
    one = spread(d[:1] - d[:1].mean() + 0.1)
    none, images = needed(one, 0.95)
    assert none is None
    assert images is not None
    image_sd = float(np.sqrt(one.of_images * 60))
    assert power(0.1, Effects(0, image_sd, 0), seeds=1, images=images, level=0.95) == pytest.approx(0.8, abs=0.05)
    assert needed(spread(np.zeros((3, 5))), 0.95) == (None, None)
