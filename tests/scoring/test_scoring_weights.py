import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from framer.errors import UserError
from framer.scoring import weights as module
from framer.scoring.protocols import Protocol

PSNR, LPIPS, NIQE, MUSIQ = Protocol.named("osediff").select(["psnr", "lpips", "niqe", "musiq"])


def test_default_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("FRAMER_WEIGHTS", raising=False)
    assert module.folder() == Path("weights")


def test_what_is_missing_is_named(weights: Path):
    assert module.missing(LPIPS) == list(LPIPS.weights)
    (weights / LPIPS.weights[0]).touch()
    assert module.missing(LPIPS) == [LPIPS.weights[1]]
    assert module.missing(PSNR) == []


def test_reasons(weights: Path):
    assert module.unavailable(PSNR, has_hr=True) is None
    assert "HR" in str(module.unavailable(PSNR, has_hr=False))
    assert NIQE.weights[0] in str(module.unavailable(NIQE, has_hr=False))
    (weights / NIQE.weights[0]).touch()
    assert module.unavailable(NIQE, has_hr=False) is None


def test_state_follows_the_weights(weights: Path):
    assert module.state("osediff", ["musiq", "ssim", "psnr"]) == "psnr,ssim"
    (weights / MUSIQ.weights[0]).touch()
    assert module.state("osediff", ["musiq", "ssim", "psnr"]) == "psnr,ssim,musiq"
    with pytest.raises(UserError, match="unknown metric"):
        module.state("osediff", ["fid"])


def test_hashes_are_taken_and_checked_against_names(weights: Path):
    content = b"some weights"
    digest = hashlib.sha256(content).hexdigest()
    good = f"hub/pyiqa/net-{digest[:8]}.pth"
    bad = "hub/pyiqa/net-00000000.pth"
    for name in (good, bad, *NIQE.weights):
        (weights / name).write_bytes(content)
    ours = replace(MUSIQ, weights=(good,))
    assert module.hashes([PSNR, ours, NIQE]) == {NIQE.weights[0]: digest, good: digest}
    with pytest.raises(UserError, match=r"net-00000000\.pth.*fetch it again"):
        module.hashes([replace(MUSIQ, weights=(bad,))])
