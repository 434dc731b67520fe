import numpy as np
import pytest

from framer.report.significance import Tier, tiers

BEST, NEXT, NONE = Tier.BEST, Tier.NEXT, Tier.NONE


def skewed(rng: np.random.Generator, n: int, methods: int) -> list[np.ndarray]:
    """Methods of equal expectation: a common image, and errors of different shape."""
    image = rng.normal(0, 3, n)
    return [image + (rng.exponential(size=n) - 1 if k % 2 else rng.normal(size=n)) for k in range(methods)]


@pytest.mark.parametrize(("n", "methods"), [(20, 3), (20, 7), (100, 3), (100, 7)])
def test_family_wise_error(n: int, methods: int):
    """No method is better than another: any that is not bold is an error. 400 draws: standard error 1.1%."""
    rng = np.random.default_rng(0)
    wrong = [any(tier is not BEST for tier in tiers(skewed(rng, n, methods), True)) for _ in range(400)]
    assert np.mean(wrong) <= 0.05


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
    assert np.mean(wrong) <= 0.05


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
    assert tiers([data[:5], data[:5] + 9], True) == [NONE, NONE], "five images cannot reach 5%"
