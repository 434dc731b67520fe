"""Simulations with known truth, and agreement with scipy where it has the test."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from framer.report.statistics import MIN_IMAGES, Interval, holm, over_images, over_seeds

SKEWED = {
    "exponential": (lambda rng, n: rng.exponential(size=n), 1.0),
    "gamma": (lambda rng, n: rng.gamma(2.0, size=n), 2.0),
    "chi-square, 1 degree": (lambda rng, n: rng.chisquare(1, n), 1.0),
    "normal and a tail": (lambda rng, n: rng.normal(size=n) + 0.8 * rng.exponential(size=n), 0.8),
}


@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize("name", SKEWED)
def test_coverage_on_skewed_data(name: str, n: int):
    """2000 or 400 draws: the standard error of a coverage of 95% is 0.5% or 1.1%."""
    draw, truth = SKEWED[name]
    rng = np.random.default_rng(7)
    draws = 2000 if n == 20 else 400
    intervals = [over_images(draw(rng, n)) for _ in range(draws)]
    covered = np.mean([i is not None and i.low <= truth <= i.high for i in intervals])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("n", [20, 100])
def test_coverage_of_a_gain(n: int):
    """The ratio of two correlated means, both skewed: truth is 10%."""
    rng = np.random.default_rng(8)
    covered = 0
    draws = 1000 if n == 20 else 400
    for _ in range(draws):
        base = 20 + rng.gamma(2.0, 2.0, n)
        found = over_images(0.1 * base + rng.exponential(size=n) - 1, base)
        covered += found is not None and found.low <= 0.1 <= found.high
    assert 0.93 <= covered / draws <= 0.97


def test_a_percentile_interval_would_fail_the_same_simulation():
    """Why it is studentised: without, 20 skewed images cover less than 93%."""
    rng, covered = np.random.default_rng(7), 0
    for _ in range(500):
        data = rng.chisquare(1, 20)
        means = data[rng.integers(0, 20, (1000, 20))].mean(1)
        covered += np.quantile(means, 0.025) <= 1 <= np.quantile(means, 0.975)
    assert covered / 500 < 0.92


def test_an_interval_against_a_loop():
    """A second implementation: resample by index, studentise with the sample's own deviation."""
    rng = np.random.default_rng(3)
    data = rng.gamma(3.0, size=30)
    t = []
    for _ in range(20_000):
        again = data[rng.integers(0, 30, 30)]
        t.append((again.mean() - data.mean()) / again.std())
    low, high = (data.mean() - q * data.std() for q in np.quantile(t, [0.975, 0.025]))
    found = over_images(data)
    width = high - low
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(low, abs=0.03 * width), pytest.approx(high, abs=0.03 * width))


@given(st.floats(-100, 100), st.floats(0.01, 100), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_an_interval_moves_and_stretches_with_the_data(shift: float, scale: float, seed: int):
    data = np.random.default_rng(seed).gamma(2.0, size=12)
    one, other = over_images(data), over_images(shift + scale * data)
    assert one is not None
    assert other is not None
    expected = (shift + scale * one.low, shift + scale * one.high)
    assert (other.low, other.high) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_a_higher_level_is_wider_and_few_images_have_no_interval():
    data = np.random.default_rng(0).normal(size=20)
    levels = [over_images(data, level=level) for level in (0.8, 0.95, 0.99)]
    widths = [i.high - i.low for i in levels if i is not None]
    assert widths == sorted(widths)
    assert over_images(data[: MIN_IMAGES - 1]) is None
    constant = over_images(np.full(8, 0.1))
    assert constant is not None
    assert (constant.low, constant.high) == pytest.approx((0.1, 0.1))
    assert over_images(np.zeros(8)) == Interval(0.0, 0.0)
    assert over_images(np.ones(8), np.zeros(8)) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_scipys(p: list[float]):
    """scipy has Benjamini-Hochberg alone, so this is the definition, hypothesis by hypothesis."""
    adjusted = holm(np.array(p))
    for alpha in (0.01, 0.05, 0.3):
        rejected, left = set(), sorted(range(len(p)), key=lambda i: p[i])
        while left and p[left[0]] * len(left) <= alpha:
            rejected.add(left.pop(0))
        assert {i for i in range(len(p)) if adjusted[i] <= alpha} == rejected
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))


def test_seeds_are_scipys_t_test():
    data = np.random.default_rng(9).normal(0.2, 0.3, 5)
    theirs = stats.ttest_1samp(data, 0)
    interval = theirs.confidence_interval(0.99)
    found = over_seeds(data, 0.99)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert over_seeds(data[:1]) is None


def test_seeds_cover_their_mean():
    rng = np.random.default_rng(4)
    intervals = [over_seeds(rng.normal(1, 2, 3)) for _ in range(2000)]
    assert 0.93 <= np.mean([i is not None and i.low <= 1 <= i.high for i in intervals]) <= 0.97
