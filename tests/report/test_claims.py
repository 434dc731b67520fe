"""Verdicts, each from scores whose truth is set."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from framer.report.cells import tables
from framer.report.claims import Claim, Verdict, claims, summary
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
    [table] = tables(study, {}, ledger=ledger)
    return claims(study, table, ledger)


@pytest.fixture(autouse=True)
def _in_a_study(study: Study) -> None:
    """The folder of `conftest.study`, for its data sets."""


def test_one_seed_speaks_for_its_checkpoint():
    [claim] = make([0], {0: 0.8})
    assert claim.verdict is Verdict.CHECKPOINT
    assert claim.published is not None
    assert claim.published.value == "3.3"
    assert claim.size is True, "0.8 dB of 24 is 3.3%"
    assert claim.text == "holds for this checkpoint, second-hand size reproduced"
    quoted = replace(claim, published=replace(claim.published, status="quoted"))
    assert quoted.text == "holds for this checkpoint, size reproduced"
    assert make([0], {0: -0.8})[0].text == "fails for this checkpoint"


def test_seeds_that_agree_confirm_and_their_size_counts():
    [claim] = make([0, 1, 2], {0: 0.8, 1: 0.82, 2: 0.77})
    assert claim.verdict is Verdict.CONFIRMED
    assert claim.seeds_interval is not None
    assert claim.seeds_interval.low > 0
    [small] = make([0, 1, 2], {0: 0.30, 1: 0.31, 2: 0.29}, noise=0.05)
    assert small.text == "confirmed, second-hand size not reproduced"
    assert make([0, 1, 2], {0: -0.8, 1: -0.82, 2: -0.77})[0].verdict is Verdict.CONTRADICTED


def test_images_that_agree_are_not_enough_when_seeds_do_not():
    """Every image of two runs agrees, the third run differs: for the method, it is open."""
    [claim] = make([0, 1, 2], {0: 1.5, 1: 1.5, 2: -0.9})
    assert claim.interval is not None
    assert claim.interval.low > 0
    assert claim.verdict is Verdict.UNDECIDED
    assert claim.seeds_needed is not None
    assert claim.seeds_needed > 3
    assert claim.text == f"undecided, needs about {claim.seeds_needed} seeds"
    many = replace(claim, seeds_needed=110188)
    assert many.text == "undecided, needs about 110,000 seeds"


def test_noise_is_undecided_and_says_how_many_images_would_decide():
    [claim] = make([0], {0: -0.15}, noise=1.0)
    assert claim.verdict is Verdict.UNDECIDED
    assert claim.images_needed is not None
    assert claim.images_needed > N
    assert "images" in claim.text
    [few] = make([0], {0: 0.8}, n=5)
    assert few.text == "undecided, needs 6 images or more"


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
    assert claim.difference == pytest.approx(0.8, abs=0.2)


def test_a_column_of_claims_is_corrected_together(study: Study):
    """Two arms in one column: each interval has 97.5%."""
    text = study.path.read_text().replace(
        "pisa_sr-blank:", "pisa_sr-paper: {label: P, backbone: pisa_sr, recipe: paper}\n  pisa_sr-blank:"
    )
    study.path.write_text(text)
    two = Study.load(study.path)
    for seed in (0, 1):
        for name in two.config.sets:
            source = study.out / "scores" / f"pisa_sr-framer-s{seed}" / name / "osediff.csv"
            target = study.out / "scores" / f"pisa_sr-paper-s{seed}" / name / "osediff.csv"
            target.parent.mkdir(parents=True)
            for suffix in (".csv", ".json"):
                target.with_suffix(suffix).write_bytes(source.with_suffix(suffix).read_bytes())
    [table] = tables(two, {})
    levels = {(c.ours.arm, c.ours.metric.name): c.level for c in claims(two, table, Ledger())}
    assert levels["pisa_sr-paper", "psnr"] == pytest.approx(0.975)
    assert levels["pisa_sr-framer", "psnr"] == pytest.approx(0.975)
    assert levels["pisa_sr-framer", "lpips"] == 0.95, "nothing was tested there"


def test_verdicts_are_counted():
    [first], [second] = make([0], {0: 0.8}), make([0], {0: -0.8})
    counts = "2 claims: 1 holds for this checkpoint, 1 fails for this checkpoint"
    assert summary([first, second]) == f"{counts}; second-hand size reproduced in 1."
    assert first.published is not None
    quoted = replace(first, published=replace(first.published, status="quoted"))
    both = "second-hand size reproduced in 1; size reproduced in 1"
    assert summary([first, quoted]) == f"2 claims: 2 holds for this checkpoint; {both}."


def test_false_confirmations_are_rare():
    """Without a true difference, at most 5% are confirmed or contradicted."""
    from framer.report.claims import _verdict
    from framer.report.statistics import over_images, over_seeds

    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(1000):
        values = rng.normal(0, 0.1, (3, 1)) + rng.gamma(2.0, size=(3, 30)) - 2
        verdict = _verdict(1, over_images(values.mean(0)), over_seeds(values.mean(1)), 3)
        wrong += verdict in (Verdict.CONFIRMED, Verdict.CONTRADICTED)
    assert wrong / 1000 <= 0.05
