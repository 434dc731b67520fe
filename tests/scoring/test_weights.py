from pathlib import Path

import pytest

from framer.errors import UserError
from framer.scoring.protocols import Protocol
from framer.scoring.score import missing_weights, unavailable, weight_hashes

PSNR, LPIPS, NIQE, MUSIQ = Protocol.named("osediff").select(["psnr", "lpips", "niqe", "musiq"])


def test_what_is_missing_is_named(weights: Path):
    assert missing_weights(LPIPS) == list(LPIPS.weights)
    (weights / LPIPS.weights[0]).touch()
    assert missing_weights(LPIPS) == [LPIPS.weights[1]]
    assert missing_weights(PSNR) == []


def test_reasons(weights: Path):
    assert unavailable(PSNR, has_hr=True) is None
    assert "HR" in str(unavailable(PSNR, has_hr=False))
    assert NIQE.weights[0] in str(unavailable(NIQE, has_hr=False))
    (weights / NIQE.weights[0]).touch()
    assert unavailable(NIQE, has_hr=False) is None


def test_only_weights_as_published_are_hashed_for_scores(weights: Path):
    for name in (*MUSIQ.weights, *NIQE.weights):
        (weights / name).write_bytes(b"x")
    assert list(weight_hashes([PSNR, NIQE])) == list(NIQE.weights)
    with pytest.raises(UserError, match=r"musiq_koniq_ckpt-e95806b9\.pth: its sha256 starts with 2d711642"):
        weight_hashes([MUSIQ, NIQE])
