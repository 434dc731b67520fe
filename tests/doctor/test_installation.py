"""The self-test finds nothing wrong here, and finds what is made wrong."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framer.cli import main
from framer.doctor import installation
from framer.scoring import psnr_ssim


def verdicts(check: str) -> dict[str, str]:
    return {finding.check: finding.verdict for finding in installation._guarded(check, installation.CHECKS[check])}


@pytest.mark.parametrize("check", [name for name in installation.CHECKS if name != "known values"])
def test_this_installation_is_right(check: str):
    assert set(verdicts(check).values()) == {"ok"}


def test_known_values_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FRAMER_WEIGHTS", str(tmp_path))
    assert list(verdicts("known values").values()) == ["ok", "ok", "n/a"]


def test_a_wrong_y_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(psnr_ssim._LUMA, "ycbcr", psnr_ssim._LUMA["yiq"])
    [finding] = installation._definitions_of_y()
    assert finding.wrong
    assert "0.000000, not 1.3219" in str(finding)
    assert "WRONG" in verdicts("pyiqa").values()


def test_a_check_that_cannot_run_is_wrong(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(installation.KNOWN, "psnr@rgb,c0", math.nan)
    monkeypatch.setitem(installation.CHECKS, "broken", lambda: iter([1 // 0]))
    assert verdicts("broken") == {"broken": "WRONG"}
    assert "WRONG" in verdicts("known values").values()


def test_published_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Against a log that is right, and one that is not."""
    monkeypatch.setattr(installation, "CHECKS", {})
    monkeypatch.setenv("FRAMER_WEIGHTS", str(tmp_path / "none"))
    rng = np.random.default_rng(0)
    lines = ["image,psnr,ssim,niqe"]
    for name in "ab":
        hr, sr = rng.integers(0, 256, (2, 24, 24, 3), dtype=np.uint8)
        for folder, image in (("SR", sr), ("HR", hr)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(image).save(tmp_path / folder / f"{name}.png")
        options = {"test_y_channel": True, "color_space": "ycbcr"}
        lines.append(f"{name}.png,{psnr_ssim.psnr(sr, hr, **options):.6f},{psnr_ssim.ssim(sr, hr, **options):.6f},5.0")
    log = tmp_path / "log.csv"
    command = ["doctor", "--sr", str(tmp_path / "SR"), "--hr", str(tmp_path / "HR"), "--log", str(log)]
    log.write_text("\n".join(lines))
    assert main(command) == 0
    assert "ok    psnr@y-bt601-limited,c0 against log.csv: 2 images" in capsys.readouterr().out
    log.write_text("\n".join([*lines[:2], lines[2].replace(",0.", ",0.9")]))
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 1
    printed = capsys.readouterr()
    assert "WRONG ssim@y-bt601-limited,c0 against log.csv" in printed.out
    assert "1 wrong" in printed.err
    assert main(["doctor", "--sr", str(tmp_path)]) == 2
