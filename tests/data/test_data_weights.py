"""A published base from a hub on loopback, by the command line."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import COMMIT, Hub

from framer.provenance import read_card, verify_payload

REPO = "team/pipeline"
FILES = {
    "model_index.json": b'{"_class_name": "StableDiffusionPipeline"}',
    "unet/config.json": b"{}",
    "unet/diffusion_pytorch_model.safetensors": bytes(range(256)) * 40,
    "unet/diffusion_pytorch_model.bin": b"a pickle",
}


def fetch(hub: Hub, folder: Path, repo: str = REPO, **environment: str) -> tuple[int, str]:
    """Exit code and last line of stderr of `framer fetch --weights`."""
    env = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        **environment,
    }
    command = [sys.executable, "-m", "framer", "fetch", "--weights", repo]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True)
    return done.returncode, (done.stderr.strip().splitlines() or [""])[-1]


def test_a_base_is_brought_and_hashed(tmp_path: Path) -> None:
    with Hub(REPO, FILES).serve() as hub:
        assert fetch(hub, tmp_path) == (0, "")
    out = tmp_path / "weights" / "team--pipeline"
    card = read_card(out, "base")
    verify_payload(out, card)
    wanted = {name: data for name, data in FILES.items() if not name.endswith(".bin")}
    assert card["payload"] == {name: hashlib.sha256(data).hexdigest() for name, data in wanted.items()}
    assert card["commit"] == COMMIT
    assert not list(out.rglob("*.bin")), "pickles stay where they are"


def test_a_second_fetch_writes_the_same_card(tmp_path: Path) -> None:
    with Hub(REPO, FILES).serve() as hub:
        assert fetch(hub, tmp_path)[0] == 0
        card = (tmp_path / "weights/team--pipeline/card.json").read_bytes()
        assert fetch(hub, tmp_path)[0] == 0
    assert (tmp_path / "weights/team--pipeline/card.json").read_bytes() == card


@pytest.mark.parametrize(
    ("refuse", "repo", "files", "words"),
    [
        ((403, "GatedRepo"), REPO, FILES, "gated; accept its terms on the hub"),
        (None, "team/other", FILES, "no such model on the hub"),
        (None, REPO, {"README.txt": b"empty"}, "no safetensors weights"),
        ((500, ""), REPO, FILES, "the hub answered 500"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, refuse, repo: str, files: dict[str, bytes], words: str) -> None:
    with Hub(REPO, files, refuse=refuse).serve() as hub:
        code, line = fetch(hub, tmp_path, repo)
    assert code == 2
    assert line.startswith(f"framer: error: {repo}@main: ")
    assert words in line
    assert not list(tmp_path.rglob("card.json"))


def test_without_a_network_it_says_so(tmp_path: Path) -> None:
    with Hub(REPO, FILES).serve() as hub:
        code, line = fetch(hub, tmp_path, HF_HUB_OFFLINE="1")
    assert code == 2
    assert "run again with a network" in line
