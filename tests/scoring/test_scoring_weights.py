from pathlib import Path

import pytest

from framer.errors import UserError
from framer.scoring import weights as module
from framer.scoring.protocols import Protocol

PSNR, LPIPS, NIQE, MUSIQ = Protocol.named("osediff").select(["psnr", "lpips", "niqe", "musiq"])


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


def test_only_weights_as_published_are_hashed_for_scores(weights: Path):
    for name in (*MUSIQ.weights, *NIQE.weights):
        (weights / name).write_bytes(b"x")
    assert list(module.hashes([PSNR, NIQE])) == list(NIQE.weights)
    with pytest.raises(UserError, match=r"musiq_koniq_ckpt-e95806b9\.pth: its sha256 starts with 2d711642"):
        module.hashes([MUSIQ, NIQE])
