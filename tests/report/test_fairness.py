"""A comparison is fair where the recipe alone differs: by the study's settings, and by the cards of what was done."""

import json
import re
from pathlib import Path

import pytest

from framer.provenance.hashing import digest
from framer.report.cells import tables
from framer.report.claims import Claim, Verdict, baseline_of, claims
from framer.report.main_table import claims_grid, main_grid
from framer.report.paper_numbers import Ledger
from framer.report.render_table import latex, markdown
from framer.report.significance import Tier
from framer.study.study import Study
from tests.fixtures.finished_study import trained


def claims_of(study: Study) -> list[Claim]:
    [table] = tables(study, {})
    return claims(study, [table], Ledger())[0]


def edited(study: Study, text: str, other: str) -> Study:
    before = study.path.read_text()
    study.path.write_text(before.replace(text, other))
    assert study.path.read_text() != before
    return Study.load(study.path)


def retrained(study: Study, run: str, **changes: object) -> None:
    """Another card of a run, and images of it."""
    path = study.out / "runs" / run / "card.json"
    card = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(card))
    for images in (study.out / "images" / run).glob("*/card.json"):
        images.write_text(json.dumps(json.loads(images.read_text()) | {"checkpoint": digest(card)}))


def test_the_recipe_and_what_comes_of_it_are_fair(study: Study):
    trained(study)
    assert {claim.unfair for claim in claims_of(study)} == {None}


def test_nothing_is_known_and_nothing_differs(study: Study):
    """Scores that travelled without cards."""
    assert {claim.unfair for claim in claims_of(study)} == {None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lock": "other"}, "train.lock: other, not l"),
        ({"code": "other"}, "train.code: other, not train"),
        ({"captions": "some"}, "train.captions: some, not -"),
        ({"base": "other"}, "base.weights: other, not b"),
        ({"data": {"photos": "other"}}, "train.data.photos: other, not p"),
        ({"job": {"recipe": "released", "lr": 0.2}}, "lr: 0.2, not 0.1"),
    ],
)
def test_a_card_that_differs_is_unfair(study: Study, changes: dict, words: str):
    trained(study)
    retrained(study, "pisa_sr-framer-s1", **changes)
    found = [claim for claim in claims_of(study) if claim.comparison is not None]
    assert found
    for claim in found:
        assert claim.verdict is Verdict.INCOMPARABLE
        assert claim.reason == claim.unfair == f"Unfair: more than FRAMER differs from Base & <b>line</b>: {words}"
        assert claim.text == "not comparable, unfair"


@pytest.mark.parametrize(
    "changes", [{"job": {"recipe": "released", "lr": 0.1, "snapshots": [1, 2]}}, {"snapshots": {"snapshots/1": "a"}}]
)
def test_what_is_kept_on_the_way_is_no_difference(study: Study, changes: dict):
    trained(study)
    retrained(study, "pisa_sr-framer-s1", **changes)
    assert {claim.unfair for claim in claims_of(study)} == {None}


@pytest.mark.parametrize("key", ["code", "lock", "captions"])
def test_restoring_and_scoring_count_as_well(study: Study, key: str):
    trained(study)
    path = study.out / "images" / "pisa_sr-framer-s0" / "pairs-a" / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: "other"}))
    path = study.out / "scores" / "pisa_sr-framer-s0" / "pairs-b" / "osediff.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: "other"}))
    found = {claim.ours.set: str(claim.unfair) for claim in claims_of(study) if claim.comparison is not None}
    assert f"restore.{key}: other" in found["pairs-a"]
    assert f"score.{key}: other" in found["pairs-b"]


def test_settings_that_differ_are_said_once_and_marks_stay(study: Study):
    marks = [cell.tier for cell in tables(study, {})[0].cells]
    changed = edited(study, "recipe: released}", "recipe: released, settings: {rank_pix: 8}}")
    assert baseline_of(changed, "pisa_sr-framer") == "pisa_sr-baseline", "the only one there is"
    [table] = tables(changed, {})
    assert [cell.tier for cell in table.cells] == marks
    assert Tier.BEST in marks
    [found] = claims(changed, [table], Ledger())
    text = markdown(main_grid(table, "T", found))
    number = re.search(r"gain over Base .*, unfair (\[\d\]) ", text)
    assert number
    note = "Unfair: more than FRAMER differs from Base & \\<b>line\\</b>: settings.rank_pix: 8, not 4."
    assert f"{number[1]} {note}" in " ".join(text.split())
    shown = claims_grid(table, found, "T")
    assert "not comparable, unfair [" in markdown(shown)
    assert "not comparable, unfair$" in latex(shown)


def test_the_baseline_with_the_same_settings_comes_first(study: Study):
    other = "other: {label: Other, backbone: pisa_sr, settings: {rank_pix: 8}}\n  pisa_sr-framer:"
    assert baseline_of(edited(study, "pisa_sr-framer:", other), "pisa_sr-framer") == "pisa_sr-baseline"
    ours = edited(study, "recipe: released}", "recipe: released, settings: {rank_pix: 8}}")
    assert baseline_of(ours, "pisa_sr-framer") == "other"


def test_released_weights_and_images_of_others_are_no_baseline(study: Study):
    text = "pisa_sr-baseline: {label: B, backbone: pisa_sr, checkpoint: pisa_sr}\n  supplied: {label: S, images: true}"
    config = study.path.read_text()
    start = config.index("  pisa_sr-baseline:")
    lines = [line for line in config[start:].splitlines()[1:] if "blank" not in line]
    study.path.write_text(config[:start] + "  " + "\n".join([text, *lines]) + "\n")
    changed = Study.load(study.path)
    assert all(baseline_of(changed, arm) is None for arm in changed.arms)


def test_seeds_that_both_have_are_compared(study: Study):
    """28 against 28.248 at seed 0, where the baseline has no other."""
    one = edited(study, 'line</b>", backbone: pisa_sr}', 'line</b>", backbone: pisa_sr, seeds: [0]}')
    found = {(claim.ours.set, claim.ours.metric.name): claim for claim in claims_of(one)}
    claim = found["pairs-a", "psnr"]
    assert (claim.seeds, claim.unfair) == ((0,), None)
    assert claim.comparison is not None
    assert claim.comparison.difference == pytest.approx(0.248)
    assert claim.gain == pytest.approx(100 * 0.248 / 28)
    assert claim.comparison.seeds_interval is None


def test_no_seed_in_common_is_no_comparison(study: Study):
    one = edited(study, 'line</b>", backbone: pisa_sr}', 'line</b>", backbone: pisa_sr, seeds: [0]}')
    none = edited(one, "recipe: released}", "recipe: released, seeds: [1]}")
    found = [claim for claim in claims_of(none) if claim.ours.metric.name == "psnr"]
    assert all((claim.verdict, claim.comparison) == (Verdict.INCOMPARABLE, None) for claim in found)
    assert all("seeds: [1], not [0]" in str(claim.unfair) for claim in found)


def test_no_claim_is_made_of_a_set_that_an_arm_does_not_have(study: Study):
    changed = edited(study, "recipe: released}", "recipe: released, sets: [pairs-a]}")
    found = claims_of(changed)
    assert {claim.ours.set for claim in found} == {"pairs-a"}
    assert Path(changed.out, "scores/pisa_sr-framer-s0/pairs-b/osediff.csv").is_file()
