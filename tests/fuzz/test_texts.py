"""Study files, manifests, tables and arguments that are damaged or hostile."""

import hashlib
import json
import random
import string
from pathlib import Path

from framer.cli import COMMANDS
from framer.study.study import Study
from tests.fixtures.finished_study import MANIFEST, PHOTOS, PSNR, STUDY, write_scores
from tests.fuzz.harness import cases, held, mutated, value_changed


def write_study(folder: Path, text: bytes) -> None:
    (folder / "datasets").mkdir()
    for name in ("pairs-a", "pairs-b"):
        (folder / "datasets" / f"{name}.yaml").write_text(MANIFEST.format(id=name, count=2))
    (folder / "datasets" / "photos.yaml").write_text(PHOTOS)
    (folder / "config").mkdir()
    (folder / "config" / "t.yaml").write_bytes(text)


def changed(text: str, rng: random.Random) -> bytes:
    return mutated(text.encode(), rng) if rng.random() < 0.5 else value_changed(text, rng).encode("latin-1")


def test_studies(tmp_path: Path) -> None:
    def one(rng: random.Random, folder: Path) -> int:
        write_study(folder, changed(STUDY, rng))
        return held(folder, ("plan", "--study", "config/t.yaml"), "config/t.yaml")

    cases("studies", one, tmp_path)


def test_manifests(tmp_path: Path) -> None:
    text = MANIFEST.format(id="mine", count=2)
    archive = """
sources:
- {kind: archive, files: [{at: ["hf://a/b/c.zip"], size: 3, sha256: 00000000}], members: {LR: lr/, HR: hr/}}
images: {LR: 1..2, HR: {a: null, b: null}}
"""

    def one(rng: random.Random, folder: Path) -> int:
        (folder / "datasets").mkdir()
        whole = text if rng.random() < 0.5 else text.partition("sources")[0] + archive
        (folder / "datasets" / "mine.yaml").write_bytes(changed(whole, rng))
        return held(folder, ("fetch", "--check", "mine"), "mine")

    cases("manifests", one, tmp_path)


def test_score_files(tmp_path: Path) -> None:
    def one(rng: random.Random, folder: Path) -> int:
        write_study(folder, STUDY.encode())
        study = Study.load(Path("config/t.yaml"))
        for set_id in ("pairs-a", "pairs-b"):
            for row, mean in PSNR.items():
                values = {f"im_{i}.png": {"psnr": mean + i, "ssim": 0.5} for i in range(4)}
                path = study.out / "scores" / row / set_id / "osediff.csv"
                write_scores(path, values, {"lpips": "LPIPS needs weights_x"})
        path = study.out / "scores" / "bicubic" / "pairs-a" / "osediff.csv"
        sidecar = path.with_suffix(".json")
        if rng.random() < 0.6:
            path.write_bytes(mutated(path.read_bytes(), rng))
            about = json.loads(sidecar.read_text())
            about["scores"] = hashlib.sha256(path.read_bytes()).hexdigest()
            sidecar.write_text(json.dumps(about))
        else:
            sidecar.write_bytes(changed(sidecar.read_text(), rng))
        return held(folder, ("why", "bicubic/pairs-a/osediff/psnr", "--study", "config/t.yaml"), None)

    cases("score files", one, tmp_path)


def test_published_scores(tmp_path: Path) -> None:
    text = "image,metric,value\na.png,psnr,25.5\nb.png,psnr,26.5\na.png,ssim,0.5\nb.png,ssim,0.25\n"
    rest = ("--method", "m", "--set", "s", "--protocol", "osediff", "--label", "L", "--source", "S", "--out", "out")

    def one(rng: random.Random, folder: Path) -> int:
        (folder / "log.csv").write_bytes(mutated(text.encode(), rng))
        return held(folder, ("import-scores", "log.csv", *rest), "log.csv", writes="out")

    cases("published scores", one, tmp_path)


SLOW = ("caption", "doctor")
"""Commands that load a large library or compute before they look at their arguments."""
VALUES = [
    "",
    "-1",
    "0",
    "9" * 60,
    "nope",
    "ä",
    "a\nb",
    "/",
    "a/b/c/d",
    "\udce4",
    "x" * 300,
    "$",
    "..",
    "NaN",
    "k=2024-13-45",
]


def test_arguments(tmp_path: Path) -> None:
    """Words in any place of a command line: what they lack or mean is one line, and nothing is written."""

    def one(rng: random.Random, folder: Path) -> int:
        # Of nearly any word `init` makes a study, as it should; tests/test_cli.py has what it refuses.
        name = rng.choice([name for name in COMMANDS if name not in {*SLOW, "init"}])
        words = [name]
        for flags, options in COMMANDS[name][2]:
            if rng.random() < (0.9 if options.get("required") or not flags[0].startswith("-") else 0.15):
                words += [flags[0]] * flags[0].startswith("-")
                if options.get("action") != "store_true":
                    words += [rng.choice(VALUES)]
        if rng.random() < 0.2:
            words.append(rng.choice(["--" + rng.choice(string.ascii_lowercase), *VALUES]))
        return held(folder, tuple(words), None)

    cases("arguments", one, tmp_path)
