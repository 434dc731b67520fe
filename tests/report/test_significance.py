from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from framer.report.significance import Column, Tier, images_to_decide, marks, pair_p_values

BEST, NEXT, UNDECIDED, NONE = Tier.BEST, Tier.NEXT, Tier.UNDECIDED, Tier.NONE


def tiers(columns: Sequence[np.ndarray], higher_is_better: bool, reproducibility: float = 0.0) -> list[Tier]:
    """The marks of a table of one column."""
    [found] = marks([Column(tuple(columns), higher_is_better, reproducibility)])
    return list(found.tiers)


def skewed(rng: np.random.Generator, n: int, methods: int) -> list[np.ndarray]:
    """Methods of equal expectation: a common image, and errors of different shape."""
    image = rng.normal(0, 3, n)
    return [image + (rng.exponential(size=n) - 1 if k % 2 else rng.normal(size=n)) for k in range(methods)]


@pytest.mark.parametrize(("n", "methods"), [(20, 3), (20, 7), (100, 3), (100, 7)])
def test_family_wise_error(n: int, methods: int):
    """No method is better than another: any that is not bold is an error. 400 draws: standard error 1.1%."""
    rng = np.random.default_rng(0)
    wrong = [any(tier is not BEST for tier in tiers(skewed(rng, n, methods), True)) for _ in range(400)]
    assert np.mean(wrong) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(wrong))


def test_family_wise_error_below_a_winner():
    """One method is far better: the rest, all equal, must share the next tier."""
    rng = np.random.default_rng(1)
    wrong = []
    for _ in range(1500):
        columns = skewed(rng, 20, 5)
        columns[2] = columns[2] + 30
        found = tiers(columns, True)
        assert found[2] is BEST
        wrong.append(any(tier is not NEXT for k, tier in enumerate(found) if k != 2))
    assert np.mean(wrong) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(wrong))


def test_copies_are_never_split():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        one = rng.gamma(2.0, size=20)
        others = [one + rng.normal(rng.normal(0, 0.5), 0.3, 20) for _ in range(3)]
        found = tiers([others[0], one, others[1], one.copy(), others[2]], bool(seed % 2))
        assert found[1] is found[3]


def test_order_does_not_matter():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        image = rng.normal(size=20)
        columns = [image + rng.normal(0.3 * k, 0.4, 20) for k in range(5)]
        order = rng.permutation(5)
        found = tiers(columns, True)
        assert tiers([columns[k] for k in order], True) == [found[k] for k in order]


def test_three_tiers_both_ways():
    rng = np.random.default_rng(0)
    base = rng.normal(size=30)
    columns = [base + offset + rng.normal(0, 0.01, 30) for offset in (0, 0, 1, 1, 2)]
    assert tiers(columns, False) == [BEST, BEST, NEXT, NEXT, NONE]
    assert tiers(columns, True) == [NONE, NONE, NEXT, NEXT, BEST]


def test_no_marks_without_a_contest():
    data = np.arange(8.0)
    assert tiers([data], True) == [NONE]
    assert tiers([], True) == []
    assert tiers([data[:1], data[:1] + 9], True) == [NONE, NONE], "one image"
    assert marks([]) == []


@pytest.mark.parametrize("n", [2, 6, 50])
def test_pairs_are_scipys_paired_t_test(n: int):
    columns = np.random.default_rng(n).normal(size=(3, n))
    expected = [stats.ttest_rel(columns[i], columns[j]).pvalue for i, j in ((0, 1), (0, 2), (1, 2))]
    assert pair_p_values(Column(tuple(columns), True)) == pytest.approx(expected)


@pytest.mark.parametrize(("methods", "n"), [(3, 6), (3, 11), (11, 11), (33, 11)])
def test_a_method_far_below_is_never_tied(methods: int, n: int):
    """10 dB below the others in 24 columns, where differences of images have an sd of 0.5 dB."""
    rng = np.random.default_rng(0)
    columns = rng.normal(25, 0.35, (24, methods, n))
    columns[:, -1] -= 10
    found = marks([Column(tuple(column), True) for column in columns])
    assert not any(column.tiers[-1] in (BEST, UNDECIDED) for column in found)


def test_too_few_images_are_undecided_and_the_number_that_decides_is_given():
    rng = np.random.default_rng(1)
    few = [Column(tuple(rng.normal(size=(11, 4))), True) for _ in range(24)]
    found = marks(few)
    assert {tier for column in found for tier in column.tiers} == {UNDECIDED}
    needed = images_to_decide(24 * 55)
    assert 4 < needed <= 11
    assert found[0].note == f"4 images cannot separate methods in a table of this size; {needed} can"
    enough = marks([Column(tuple(rng.normal(size=(11, needed))), True) for _ in range(24)])
    assert UNDECIDED not in {tier for column in enough for tier in column.tiers}


def test_a_whole_table_is_corrected_together():
    """A difference that decides alone does not among many columns of equal methods."""
    rng = np.random.default_rng(2)
    pair = np.stack([rng.normal(size=30), np.zeros(30)])
    pair[0] += 0.45 - pair[0].mean()
    alone = Column(tuple(pair), True)
    others = [Column(tuple(rng.normal(size=(5, 30))), True) for _ in range(23)]
    assert marks([alone])[0].tiers == (BEST, NEXT)
    assert marks([alone, *others])[0].tiers == (BEST, BEST)


def test_copies_at_rounding_level_are_equal():
    """The same images scored by two programs, SSIM 2e-7 apart with one sign."""
    rng = np.random.default_rng(3)
    one = rng.uniform(0.6, 0.9, 50)
    other = one + 2e-7 + 1e-9 * rng.normal(size=50)
    assert tiers([one, other], True, 1e-6) == [BEST, BEST]
    assert tiers([one, other], True) == [NEXT, BEST], "without the metric's reproducibility they differ"
