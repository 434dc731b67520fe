"""Weights from a hub and from a web server on loopback, by the command line and by the module."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hub_server import Hub

from framer.errors import UserError
from framer.scoring import download
from framer.scoring.protocols import Protocol

LPIPS, NIQE = Protocol.named("osediff").select(["lpips", "niqe"])


def fetch(hub: Hub, folder: Path, *metrics: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "framer", "weights", "--protocol", "osediff", "--metrics", ",".join(metrics)]
    home = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "FRAMER_WEIGHTS": str(folder / "weights")}
    env = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"} | home | environment
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_fetched_once_and_then_at_hand_offline(tmp_path: Path):
    with Hub(download.REPO, {"niqe_modelparameters.mat": b"parameters"}).serve() as hub:
        offline = fetch(hub, tmp_path, "psnr", "niqe", HF_HUB_OFFLINE="1")
        assert (offline.returncode, "HF_HUB_OFFLINE forbids" in offline.stderr) == (2, True)
        assert not hub.requests
        first = fetch(hub, tmp_path, "psnr", "niqe")
        assert first.stdout == f"{hashlib.sha256(b'parameters').hexdigest()}  {NIQE.weights[0]}\n", first.stderr
        asked = len(hub.requests)
        again = fetch(hub, tmp_path, "niqe", HF_HUB_OFFLINE="1")
        assert (again.returncode, again.stdout, len(hub.requests)) == (0, first.stdout, asked)


def test_wrong_bytes_are_thrown_away(tmp_path: Path):
    with Hub(download.REPO, {"musiq_koniq_ckpt-e95806b9.pth": b"others"}).serve() as hub:
        run = fetch(hub, tmp_path, "musiq")
    assert run.returncode == 2
    assert "not e95806b9; it was thrown away" in run.stderr
    assert run.stderr.count("framer: error") == 1
    assert not list((tmp_path / "weights").rglob("*.pth"))


def test_from_the_web(weights: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    monkeypatch.setenv("FRAMER_WEIGHTS", str(weights))
    good = f"backbone-{hashlib.sha256(b'good').hexdigest()[:8]}.pth"
    metric = replace(LPIPS, weights=(f"hub/checkpoints/{good}",))
    with Hub("some/web", {good: b"good"}).serve() as hub:
        monkeypatch.setattr(download, "TORCHVISION", f"{hub.url}/some/web/resolve/main")
        hub.corrupt = 1
        with pytest.raises(UserError, match="it was thrown away"):
            download.fetch([metric], progress=False)
        assert not [path for path in weights.rglob("*") if path.is_file()]
        assert list(download.fetch([metric], progress=False)) == list(metric.weights)
        monkeypatch.setattr(download, "TORCHVISION", f"{hub.url}/some/web/resolve/gone")
        (weights / metric.weights[0]).unlink()
        with pytest.raises(UserError, match="404"):
            download.fetch([metric], progress=False)
