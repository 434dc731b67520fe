"""`framer match`: the definition behind a published number, on images whose authors published every score."""

import csv
import math
import os
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framer.cli import main
from framer.errors import UserError
from framer.scoring.definitions import Lpips
from framer.scoring.match import DEFINITIONS, Published, match
from framer.scoring.protocols import PROTOCOLS
from framer.scoring.sources import SOURCES, table
from tests.fixtures.clone import ROOT
from tests.scoring.conftest import smooth_noise

DATA = os.environ.get("FRAMER_TEST_DATA")
WEIGHTS = os.environ.get("FRAMER_TEST_WEIGHTS")
OSEDIFF = {metric.name: metric.id for metric in PROTOCOLS["osediff"].metrics}


def osediffs(name: str, metric: str) -> tuple[Path, list[float]]:
    """The folder of a set, and the scores of its images as OSEDiff's authors published them."""
    folder = Path(str(DATA)) / f"{name}_dev"
    with (folder / "osediff_published_scores.csv").open(newline="") as file:
        rows = sorted((row["image"], float(row["value"])) for row in csv.DictReader(file) if row["metric"] == metric)
    return folder, [value for _, value in rows]


@pytest.mark.skipif(not DATA, reason="needs FRAMER_TEST_DATA")
@pytest.mark.parametrize("name", ["realsr", "drealsr"])
@pytest.mark.parametrize(
    ("metric", "digits", "nearby"),
    [
        ("psnr", 4, 1e-3),
        pytest.param("ssim", 4, 1e-4, marks=pytest.mark.slow),
        pytest.param(
            "niqe", 2, 2e-2, marks=[pytest.mark.slow, pytest.mark.skipif(not WEIGHTS, reason="needs weights")]
        ),
    ],
)
def test_osediffs_protocol_is_found_and_no_other(
    name: str, metric: str, digits: int, nearby: float, weights: Path
) -> None:
    """From the published mean alone; and of each image no other definition gives the published score."""
    if WEIGHTS:
        shutil.copy(Path(WEIGHTS) / "niqe_modelparameters.mat", weights / "hub" / "pyiqa")
    folder, published = osediffs(name, metric)
    number = Published(metric, f"{statistics.mean(published):.{digits}f}")
    ((first, *others),) = match(folder / "osediff", folder / "hr", [number], progress=False)
    assert first.definition.id == OSEDIFF[metric]
    assert first.holds
    for other in (other for other in others if other.values):
        assert not other.holds, other.definition.id
        if not other.definition.pooled:  # which has no score of an image
            differences = [abs(ours - theirs) for ours, theirs in zip(other.values, published, strict=True)]
            assert max(differences) > nearby, other.definition.id
    differences = [abs(ours - theirs) for ours, theirs in zip(first.values, published, strict=True)]
    assert max(differences) < nearby


def values(pairs: tuple[Path, Path], metric: str) -> dict[str, float | None]:
    (matches,) = match(*pairs, [Published(metric, "1.0")], progress=False)
    return {one.definition.id: one.value for one in matches}


def test_psnr_of_pooled_errors_and_of_rounded_y(pairs: tuple[Path, Path]) -> None:
    """Derived again from all pixels; a gray level of Y is 1 / 255 of the peak."""
    weights = np.array([65.481, 128.553, 24.966])
    found = values(pairs, "psnr")
    float_errors, rounded_errors = [], []
    for path in sorted(pairs[0].iterdir()):
        sr, hr = (np.array(Image.open(file), np.float64) / 255 @ weights + 16 for file in (path, pairs[1] / path.name))
        float_errors.append(np.mean((sr - hr) ** 2) / 255**2)
        rounded_errors.append(np.mean((np.rint(sr) - np.rint(hr)) ** 2) / 255**2)

    def decibel(error: float) -> float:
        return -10 * math.log10(error + 1e-8)

    name = "psnr@y-bt601-limited,c0"
    assert found[name] == pytest.approx(np.mean([decibel(error) for error in float_errors]), abs=1e-9)
    assert found[f"{name},pooled"] == pytest.approx(decibel(float(np.mean(float_errors))), abs=1e-9)
    assert found[f"{name},8bit"] == pytest.approx(np.mean([decibel(error) for error in rounded_errors]), abs=1e-9)
    assert found[f"{name},8bit,pooled"] == pytest.approx(decibel(float(np.mean(rounded_errors))), abs=1e-9)


def test_every_definition_gives_another_value(pairs: tuple[Path, Path]) -> None:
    for metric in ("psnr", "ssim"):
        found = list(values(pairs, metric).values())
        assert len(found) == len(set(found)) == len(DEFINITIONS[metric])


def test_lpips_of_cropped_images(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.scoring.generated import generate

    hashes = generate(Lpips(net="alex").metric, weights)
    monkeypatch.setattr("framer.weights.store.verified", lambda names: hashes)
    for folder, seed in (("SR", 0), ("HR", 1)):
        image = smooth_noise(seed, 72, 80)
        for name, crop in (("whole", image), ("inside", image[4:-4, 4:-4])):
            (tmp_path / name / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(crop).save(tmp_path / name / folder / "image.png")
    whole, inside = (values((tmp_path / name / "SR", tmp_path / name / "HR"), "lpips") for name in ("whole", "inside"))
    assert whole["lpips@alex-v0.1,c4"] == inside["lpips@alex-v0.1"]
    assert whole["lpips@alex-v0.1,c4"] != whole["lpips@alex-v0.1"]
    assert whole["lpips@vgg-v0.1"] is None


def test_a_metric_without_weights_is_not_a_number(
    pairs: tuple[Path, Path], weights: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["match", "--sr", str(pairs[0]), "--published", "niqe=5.65", "psnr=25.1"]) == 0
    printed = capsys.readouterr()
    rows = [line for line in printed.out.splitlines() if "@" in line]
    assert len(rows) == len(DEFINITIONS["niqe"]) + len(DEFINITIONS["psnr"])
    assert all("n/a" in row and "yes" not in row for row in rows)
    assert "framer fetch --weights niqe-matlab" in printed.err
    assert "there are none" in printed.err


def test_the_nearest_is_printed_first(pairs: tuple[Path, Path], capsys: pytest.CaptureFixture) -> None:
    exact = values(pairs, "psnr")["psnr@rgb,c4"]
    assert main(["match", "--sr", str(pairs[0]), "--hr", str(pairs[1]), "--published", f"psnr={exact:.9f}"]) == 0
    header, _, first, *_ = capsys.readouterr().out.splitlines()
    assert f"psnr {exact:.9f}" in header
    assert [cell.strip() for cell in first.split("|")][1:5:3] == ["psnr@rgb,c4", "yes"]


@pytest.mark.parametrize(
    ("text", "code"), [("psrn=25", "unknown"), ("psnr", "invalid"), ("psnr=many", "invalid"), ("psnr=nan", "invalid")]
)
def test_what_is_no_published_number(text: str, code: str) -> None:
    with pytest.raises(UserError) as error:
        Published.parse(text)
    assert (error.value.key, error.value.code) == ("--published", code)


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("25.15", 25.1549, True),
        ("25.15", 25.155, True),
        ("25.15", 25.1451, True),
        ("25.15", 25.1551, False),
        ("25.150", 25.1511, False),
        ("25", 25.4, True),
        (".7341", 0.73414, True),
    ],
)
def test_a_rounding_holds_the_number(text: str, value: float, holds: bool) -> None:
    assert Published.parse(f"psnr={text}").holds(value) is holds


def test_sources_use_definitions_that_are_compared(capsys: pytest.CaptureFixture) -> None:
    known = {one.id for definitions in DEFINITIONS.values() for one in definitions}
    for source in SOURCES:
        assert set(source.ids) <= known
        assert len({name.partition("@")[0] for name in source.ids}) == len(source.ids)
    for name in ("osediff", "framer"):
        ids = {metric.id for metric in PROTOCOLS[name].metrics} & known
        assert any(set(source.ids) == ids for source in SOURCES)
    assert main(["protocols"]) == 0
    assert table() in capsys.readouterr().out
    assert table() in (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
