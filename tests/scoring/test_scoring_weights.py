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


def test_state_follows_what_is_in_the_weights(weights: Path):
    def state() -> str:
        return module.state("osediff", ["musiq", "ssim"])

    assert state() == "ssim@y-bt601-limited,c0"
    seen = {state()}
    for content in (b"one", b"two"):
        (weights / MUSIQ.weights[0]).write_bytes(content)
        assert state().startswith("ssim@y-bt601-limited,c0 musiq@koniq=")
        seen.add(state())
    assert len(seen) == 3
    (weights / MUSIQ.weights[0]).touch()
    assert state() in seen, "a touched file changes nothing"
    with pytest.raises(UserError, match="unknown metric"):
        module.state("osediff", ["vif"])


def test_a_file_is_hashed_once(weights: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []
    monkeypatch.setattr(module, "sha256_file", lambda path: calls.append(path) or hashlib.sha256(b"x").hexdigest())
    for name in LPIPS.weights:
        (weights / name).write_bytes(b"x")
    for _ in range(2):
        module.state("osediff", ["lpips"])
    assert len(calls) == 2
    (weights / module.CACHE).write_text("[]")
    module.state("osediff", ["lpips"])
    assert len(calls) == 4, "a damaged list of hashes is made again"


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
