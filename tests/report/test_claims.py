"""Verdicts, each from scores whose truth is set."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from framer.report.cells import Cell, tables
from framer.report.claims import Claim, Verdict, claims, summary
from framer.report.comparison import Scope, compare, corrected
from framer.report.main_table import claims_row
from framer.report.paper_numbers import Ledger
from framer.scoring.protocols import Protocol
from framer.study.study import Study
from tests.fixtures.clone import ROOT
from tests.fixtures.finished_study import STUDY, write_scores

N = 40
RECIPES = ("paper", "released")


def make(
    seeds: list[int],
    gains: dict[int, float],
    *,
    protocol: str = "framer",
    metric: str = "psnr",
    base: str = "stabilityai/stable-diffusion-2-1-base",
    noise: float = 0.3,
    n: int = N,
) -> list[Claim]:
    """The claims of a study with one FRAMER arm at full size on RealSR: its true gain by seed, in the metric's unit."""
    config = yaml.safe_load(STUDY)
    config |= {"seeds": seeds, "sets": ["realsr-crop128"], "protocols": [protocol], "metrics": [metric]}
    backbone = config["backbones"]["pisa_sr"] | {"base": base}
    config["backbones"]["pisa_sr"] = (
        backbone if base == "tiny" else {k: v for k, v in backbone.items() if k != "pretrain"}
    )
    config["arms"] = {
        "baseline": {"label": "PiSA-SR", "backbone": "pisa_sr"},
        "framer": {"label": "FRAMER_U", "backbone": "pisa_sr", "recipe": "paper"},
    }
    Path("config", "claims.yaml").write_text(yaml.safe_dump(config))
    Path("datasets", "realsr-crop128.yaml").write_text((ROOT / "datasets" / "realsr-crop128.yaml").read_text())
    study = Study.load(Path("config", "claims.yaml"))
    rng = np.random.default_rng(0)
    image = rng.normal(24, 3, n)
    for seed in seeds:
        ours = image + gains[seed] + noise * rng.normal(size=n)
        for arm, values in (("baseline", image), ("framer", ours)):
            path = study.out / "scores" / f"{arm}-s{seed}" / "realsr-crop128" / f"{protocol}.csv"
            write_scores(path, {f"{i}.png": {metric: float(v)} for i, v in enumerate(values)}, {}, protocol)
    ledger = Ledger.read(ROOT / "results" / "published")
    [found] = claims(study, tables(study, {}, ledger=ledger), ledger)
    return found


@pytest.fixture(autouse=True)
def _in_a_study(study: Study) -> None:
    """The folder of `conftest.study`, for its data sets."""


def test_one_seed_speaks_for_its_checkpoint_and_its_size_is_not_judged():
    [claim] = make([0], {0: 0.8})
    assert claim.verdict is Verdict.CHECKPOINT
    assert claim.published is not None
    assert claim.published.value == "3.3"
    assert claim.size is None, "one run does not show how runs differ"
    assert claim.text == "holds for this checkpoint"
    assert make([0], {0: -0.8})[0].text == "fails for this checkpoint"


def test_seeds_that_agree_confirm_and_their_size_counts():
    [claim] = make([0, 1, 2], {0: 0.8, 1: 0.82, 2: 0.77}, noise=0.05)
    assert claim.verdict is Verdict.CONFIRMED
    assert claim.comparison is not None
    assert claim.comparison.scope is Scope.CROSSED
    assert claim.comparison.interval is not None
    assert claim.comparison.interval.low > 0
    assert claim.text == "confirmed, second-hand size reproduced", "0.8 dB of 24 is 3.3%"
    assert claim.published is not None
    quoted = replace(claim, published=replace(claim.published, status="quoted"))
    assert quoted.text == "confirmed, size reproduced"
    [small] = make([0, 1, 2], {0: 0.30, 1: 0.31, 2: 0.29}, noise=0.05)
    assert small.text == "confirmed, second-hand size not reproduced"
    found = make([0, 1, 2], {0: -0.8, 1: -0.82, 2: -0.77}, noise=0.05)
    assert found[0].verdict is Verdict.CONTRADICTED


def test_a_further_run_may_differ_more_than_the_mean():
    """The paper's 3.3% lies outside the interval of our mean and inside the prediction of one further run."""
    [claim] = make([0, 1, 2, 3, 4], {0: 0.58, 1: 0.71, 2: 0.63, 3: 0.69, 4: 0.64}, noise=0.01)
    assert claim.verdict is Verdict.CONFIRMED
    assert claim.comparison is not None
    of_mean = claim.comparison.seeds_interval
    assert of_mean is not None
    assert 100 * of_mean.high / 24 < 3.25
    assert claim.size is True


def test_images_that_agree_are_not_enough_when_seeds_do_not():
    """Every image of two runs agrees, the third run differs: for the method, it is open."""
    [claim] = make([0, 1, 2], {0: 1.5, 1: 1.5, 2: -0.9})
    found = claim.comparison
    assert found is not None
    assert found.images_interval is not None
    assert found.images_interval.low > 0
    assert claim.verdict is Verdict.UNDECIDED
    assert found.seeds_needed is not None
    assert found.seeds_needed > 3
    assert claim.text.startswith(f"undecided, needs about {found.seeds_needed} seeds")
    many = replace(found, seeds_needed=99188, images_needed=None)
    assert replace(claim, comparison=many).text == "undecided, needs about 99,000 seeds"


def test_seeds_that_are_copies_count_as_one():
    """Two identical differences are no evidence that seeds do not matter."""
    rng = np.random.default_rng(1)
    values = 0.5 + 0.1 * rng.normal(size=(1, 20))
    [metric] = Protocol.named("framer").select(["psnr"])
    cell = Cell("a", "s", "framer", metric, 0.5, 20, (0, 1), values=np.repeat(values, 2, axis=0))
    found = compare(cell, replace(cell, arm="b", values=np.zeros((2, 20))))
    assert found is not None
    assert (found.copies, found.scope) == (True, Scope.IMAGES)
    [judged] = corrected([found]).values()
    assert judged.sign == 1
    [claim] = make([0, 1], {0: 0.8, 1: 0.8}, noise=0)
    assert claim.verdict is Verdict.CHECKPOINT
    assert claim.reason == "the 2 training seeds have the same difference and count as one checkpoint"
    assert claim.size is None


def test_metrics_of_whole_sets_are_judged_over_seeds():
    """FID has one value per set and seed, whatever the number of images."""
    [metric] = Protocol.named("framer").select(["fid"])
    ours = Cell("a", "s", "framer", metric, 1.0, 3000, (0, 1, 2), values=np.array([[20.0], [20.3], [19.9]]))
    theirs = replace(ours, arm="b", values=np.array([[24.0], [24.4], [23.8]]))
    found = compare(ours, theirs)
    assert found is not None
    assert found.scope is Scope.SEEDS
    [judged] = corrected([found]).values()
    assert judged.sign == 1, "lower is better"
    assert judged.p == pytest.approx(stats.ttest_rel(ours.values.ravel(), theirs.values.ravel()).pvalue)
    single = compare(
        replace(ours, seeds=(0,), values=ours.values[:1]), replace(theirs, seeds=(0,), values=theirs.values[:1])
    )
    assert single is not None
    assert (single.p, single.need) == (None, "needs 3 training seeds or more")


def test_noise_is_undecided_and_says_how_many_images_would_decide():
    [claim] = make([0], {0: -0.15}, noise=1.0)
    assert claim.verdict is Verdict.UNDECIDED
    assert claim.comparison is not None
    assert claim.comparison.images_needed is not None
    assert claim.comparison.images_needed > N
    assert "images" in claim.text
    [one] = make([0], {0: 0.8}, n=1)
    assert one.text == "undecided, needs 2 images or more"


def test_protocols_that_differ_are_not_compared():
    [claim] = make([0], {0: 0.8}, protocol="osediff")
    assert claim.verdict is Verdict.INCOMPARABLE
    assert claim.reason == "the paper's PSNR is that of protocol framer, this is psnr@y-bt601-limited,c0"
    assert claim.size is None
    [musiq] = make([0], {0: 0.8}, protocol="osediff", metric="musiq")
    assert musiq.verdict is Verdict.CHECKPOINT, "both protocols mean the same MUSIQ"
    [lpips] = make([0], {0: -0.8}, metric="lpips")
    assert lpips.published is None, "no LPIPS of FRAMER_U on RealSR is known"
    assert lpips.verdict is Verdict.CHECKPOINT, "lower is better"


def test_a_gain_that_sources_tell_differently_has_no_verdict_on_its_size():
    """9.6% of MANIQA is of one of two sets, and nobody knows of which."""
    ledger = Ledger.read(ROOT / "results" / "published")
    [maniqa] = Protocol.named("framer").select(["maniqa"])
    assert [gain.status for gain in ledger.gain("FRAMER_U", "reallq250", maniqa)] == ["conflict"]
    [claim] = make([0], {0: 0.8})
    shown = claims_row(replace(claim, published=ledger.gain("FRAMER_U", "reallq250", maniqa)[0]))
    note = "FRAMER's table 1, its sources differ: it decides nothing"
    assert (shown.entries[2].text, shown.entries[2].note) == ("+9.6", note)
    assert claims_row(claim).entries[2].note == "FRAMER's table 1, second-hand"


def test_tiny_networks_prove_nothing():
    [claim] = make([0], {0: 0.8}, base="tiny")
    assert (claim.verdict, claim.published) == (Verdict.INCOMPARABLE, None)
    assert claim.comparison is not None
    assert claim.comparison.difference == pytest.approx(0.8, abs=0.2)


def test_tiny_networks_are_judged_for_themselves():
    """Not by the paper's claim, but corrected like one."""
    better, worse = (make([0, 1, 2, 3], dict.fromkeys(range(4), gain), base="tiny")[0] for gain in (0.8, -0.8))
    assert (better.verdict, better.text) == (Verdict.INCOMPARABLE, "better, not comparable")
    assert (worse.verdict, worse.text) == (Verdict.INCOMPARABLE, "worse, not comparable")
    assert better.comparison and compare(better.ours, better.baseline)
    assert summary([better, worse]) == "2 claims: 2 not comparable, of which 1 better, 1 worse here."
    [nothing] = make([0, 1, 2, 3], {0: 0.3, 1: -0.3, 2: 0.2, 3: -0.2}, base="tiny")
    assert nothing.text.startswith("undecided, not comparable")
    assert make([0], {0: 0.8}, base="tiny")[0].text == "better for this checkpoint, not comparable"


def test_other_losses_change_no_verdict_on_framer(study: Study):
    """They are judged in a family of their own, tuned rows among them."""
    found = {}
    rng = np.random.default_rng(0)
    image, gains = rng.normal(24, 3, N), {"framer": 0.8, "truth": 0.5, "framer-tuned": 0.9}
    for name, more in (("alone", ()), ("beside", ("truth",))):
        config = yaml.safe_load(STUDY)
        config |= {"seeds": [0, 1, 2], "sets": ["realsr-crop128"], "protocols": ["framer"], "metrics": ["psnr"]}
        del config["backbones"]["pisa_sr"]["pretrain"]
        config["backbones"]["pisa_sr"] |= {"base": "stabilityai/stable-diffusion-2-1-base"}
        config["arms"] = {
            "baseline": {"label": "PiSA-SR", "backbone": "pisa_sr"},
            "framer": {"label": "FRAMER_U", "backbone": "pisa_sr", "recipe": "paper"},
            **{
                arm: {"label": arm, "backbone": "pisa_sr", "recipe": {"base": "paper", "teacher": "truth"}}
                for arm in more
            },
        }
        if more:
            config["tune"] = {"weight": [0.1, 1], "by": "pairs-a", "arms": ["framer"]}
        Path("config", f"{name}.yaml").write_text(yaml.safe_dump(config))
        Path("datasets", "realsr-crop128.yaml").write_text((ROOT / "datasets" / "realsr-crop128.yaml").read_text())
        mine = Study.load(Path("config", f"{name}.yaml"))
        for row in mine.rows.values():
            if row.arm in mine.search_arms:
                continue
            noise = np.random.default_rng(len(row.id)).normal(size=N) + (row.seed or 0) / 50
            values = image + (gains[row.arm] + 0.3 * noise if row.arm in gains else 0)
            path = mine.out / "scores" / row.id / "realsr-crop128" / "framer.csv"
            write_scores(path, {f"{i}.png": {"psnr": float(v)} for i, v in enumerate(values)}, {}, "framer")
        ledger = Ledger.read(ROOT / "results" / "published")
        [found[name]] = claims(mine, tables(mine, {}, ledger=ledger), ledger)
    [alone], [framer, *others] = found["alone"], found["beside"]
    assert alone.text == framer.text and alone.comparison and framer.comparison
    assert alone.comparison.level == framer.comparison.level and alone.comparison.interval == framer.comparison.interval
    assert [(one.ours.arm, one.reading, one.text) for one in others] == [
        ("truth", False, "better"),
        ("framer-tuned", False, "better"),
    ]
    assert summary(found["beside"]).endswith("Other losses against the baselines, 2 comparisons: 2 better.")


def test_all_claims_of_a_study_are_corrected_together():
    """Interval and corrected p-value agree, and copies under another protocol are no further test."""
    rng = np.random.default_rng(3)
    metrics = Protocol.named("framer").select(["psnr", "ssim", "musiq"])
    base = Cell("b", "s", "framer", metrics[0], 0.0, 30, (0, 1, 2, 3), values=np.zeros((4, 30)))
    family = []
    for metric, gain in zip(metrics, (0.5, 0.12, 0.0), strict=True):
        values = gain + 0.05 * rng.normal(size=(4, 1)) + 0.2 * rng.normal(size=(1, 30)) + 0.1 * rng.normal(size=(4, 30))
        cells = [
            replace(base, arm=arm, metric=metric, values=v) for arm, v in (("a", values), ("b", np.zeros((4, 30))))
        ]
        family += [compare(*cells), compare(*(replace(cell, protocol="osediff") for cell in cells))]
    judged = corrected([one for one in family if one])
    assert len(judged) == 3
    alone = [corrected([one]) for one in judged.values()]
    for one, found in zip(judged.values(), alone, strict=True):
        assert one.interval is not None
        assert (one.interval.low > 0 or one.interval.high < 0) == bool(one.sign)
        assert one.adjusted is not None
        assert one.adjusted >= found[one.key].adjusted
    assert {one.level for one in judged.values()} == {1 - 0.05 / max(1, sum(not one.sign for one in judged.values()))}


def test_verdicts_are_counted():
    [first], [second] = make([0], {0: 0.8}), make([0], {0: -0.8})
    assert summary([first, second]) == "2 claims: 1 holds for this checkpoint, 1 fails for this checkpoint."
    [several] = make([0, 1, 2], {0: 0.8, 1: 0.82, 2: 0.77}, noise=0.05)
    assert several.published is not None
    quoted = replace(several, published=replace(several.published, status="quoted"))
    both = "second-hand size reproduced in 1; size reproduced in 1"
    assert summary([several, quoted]) == f"2 claims: 2 confirmed; {both}."


def test_false_confirmations_are_rare():
    """Two sets and three metrics without a true difference: at most 5% of the studies confirm or contradict."""
    rng = np.random.default_rng(2)
    metrics = Protocol.named("framer").select(["psnr", "ssim", "musiq"])
    wrong = 0
    for _ in range(150):
        family = []
        for metric, name in product(metrics, ("one", "two")):
            values = rng.normal(0, 0.1, (3, 1)) + rng.gamma(2.0, 0.2, size=(1, 30)) - 0.4 + rng.normal(0, 0.1, (3, 30))
            ours = Cell("a", name, "framer", metric, 0.0, 30, (0, 1, 2), values=values)
            family.append(compare(ours, replace(ours, arm="b", values=np.zeros((3, 30)))))
        wrong += any(one.sign for one in corrected([one for one in family if one]).values())
    assert wrong / 150 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 150)
