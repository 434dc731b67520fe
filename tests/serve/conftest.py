import base64
import json
import os
import time
from pathlib import Path

import pytest

from framer.provenance.cards import write_card
from framer.study.study import Study
from tests.fixtures.finished_study import MANIFEST, PHOTOS, STUDY, write_scores

HOSTILE = "</pre><script>document.title = 'taken'</script>"
LOG = """
  Command: snakemake --cores all --config study=two

Job stats:
job    count
Error in rule train:
    message: None
    jobid: 3
    output: {output}
    log: logs/two/train/pisa_sr-framer-s0.log (check log file(s) for error details)
    shell:
        framer train
        (command exited with non-zero exit code)
Error in rule weights:
    message: None
    jobid: 4
    output: weights/lpips/card.json
    log: logs/weights/lpips.log (check log file(s) for error details)
"""


def outputs(run: str) -> list[str]:
    names = ("card.json", "model.safetensors", "config.json", "log.csv")
    return [f"results/two/runs/{run}/{name}" for name in names]


def marker(output: str) -> Path:
    return Path(".snakemake/incomplete", base64.urlsafe_b64encode(output.encode()).decode())


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that Snakemake runs: of its trainings one is done, one runs, one failed, one was interrupted."""
    root, before = tmp_path_factory.mktemp("running"), Path.cwd()
    os.chdir(root)
    try:
        _fill()
    finally:
        os.chdir(before)
    return root


def _fill() -> None:
    for path, text in {
        "config/two.yaml": STUDY.replace("Two sets | 50%", "Two <b>sets</b>"),
        "datasets/photos.yaml": PHOTOS,
        "datasets/pairs-a.yaml": MANIFEST.format(id="pairs-a", count=2),
        "datasets/pairs-b.yaml": MANIFEST.format(id="pairs-b", count=2),
        "logs/two/train/pisa_sr-baseline-s1.log": "pixel:  1%|\rpixel: 40%| 2/5 [loss 0.5]",
        "logs/two/train/pisa_sr-framer-s0.log": "one\n\x1b[31mtwo\nframer: error: " + HOSTILE,
        "logs/two/train/pisa_sr-framer-s1.log": "pixel: 10%|",
        "logs/weights/lpips.log": "framer: error: no network",
        "secret.txt": "secret",
        ".snakemake/log/2026-01-01T000000.snakemake.log": LOG.format(output=", ".join(outputs("pisa_sr-framer-s0"))),
        ".snakemake/log/2026-01-02T000000.snakemake.log": "  Command: snakemake --unlock\nUnlocked.\n",
        ".snakemake/log/2026-01-03T000000.snakemake.log": "  Command: snakemake --config study=other\nJob stats:\n",
        ".snakemake/locks/0.output.lock": "\n".join(outputs("pisa_sr-baseline-s1")),
        **{str(marker(output)): "{}" for run in ("baseline-s1", "framer-s1") for output in outputs(f"pisa_sr-{run}")},
    }.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    for name in ("photos", "pairs-a", "pairs-b"):
        for part in ("LR", "HR"):
            Path("datasets", name, part).mkdir(parents=True)
        Path("datasets", name, "index").write_text("")
        write_card(Path("datasets", name), "images", ["index"])
    run = Path("results/two/runs/pisa_sr-baseline-s0")
    run.mkdir(parents=True)
    rows = "".join(f"pixel,{step},{1 / step},0\n" for step in range(1, 51))
    for name, text in (("model.safetensors", "w"), ("config.json", "{}"), ("log.csv", "stage,step,loss,lr\n" + rows)):
        (run / name).write_text(text)
    write_card(run, "run", ["log.csv", "model.safetensors"])
    images = {f"im_{i}.png": {"psnr": 27.0 + i, "ssim": 0.5} for i in range(8)}
    write_scores(Path("results/two/scores/bicubic/pairs-a/osediff.csv"), images, {"lpips": "none"})
    Path("results/two/report.html").write_text("<!doctype html><title>The report</title>")
    now = time.time()
    os.utime("logs/two/train/pisa_sr-framer-s1.log", (now - 9000, now - 9000))


@pytest.fixture
def study(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(folder)
    return Study.load(Path("config/two.yaml"))


def contents(root: Path) -> str:
    """All files below a folder with their bytes and times."""
    found = {
        str(path): (path.stat().st_mtime_ns, path.is_file() and path.read_bytes().hex()) for path in root.rglob("*")
    }
    return json.dumps(found, sort_keys=True)
