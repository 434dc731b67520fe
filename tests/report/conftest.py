from pathlib import Path

import numpy as np
import pytest

from framer.data.images import write_png
from framer.provenance.cards import write_card
from framer.provenance.files import write_json
from framer.study.study import Study
from tests.fixtures.finished_study import MANIFEST, PHOTOS, PSNR, STUDY, write_scores


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(tmp_path)
    for name in ("pairs-a", "pairs-b"):
        Path("datasets").mkdir(exist_ok=True)
        Path("datasets", f"{name}.yaml").write_text(MANIFEST.format(id=name, count=2))
    Path("datasets", "photos.yaml").write_text(PHOTOS)
    Path("config").mkdir()
    Path("config", "two.yaml").write_text(STUDY)
    study = Study.load(Path("config", "two.yaml"))
    for set_id, offset in (("pairs-a", 0.0), ("pairs-b", -3.0)):
        for row, mean in PSNR.items():
            values = {
                f"im_{i}.png": {"psnr": mean + offset + change, "ssim": 0.5} for i, change in enumerate((-2.0, 2.0) * 4)
            }
            path = study.out / "scores" / row / set_id / "osediff.csv"
            write_scores(path, values, {"lpips": "LPIPS needs weights_x"})
    return study


@pytest.fixture
def with_images(study: Study) -> Study:
    """Images of pairs-a with their cards, and a training log."""
    rng = np.random.default_rng(0)
    for stem in ("im_0", "im_1"):
        for folder, shape in (("LR", (40, 36, 3)), ("HR", (160, 144, 3))):
            image = rng.integers(0, 256, shape, dtype=np.uint8)
            write_png(Path("datasets", "pairs-a", folder, f"{stem}.png"), image)
        for row in study.rows:
            image = rng.integers(0, 256, (160, 144, 3), dtype=np.uint8)
            write_png(study.out / "images" / row / "pairs-a" / f"{stem}.png", image)
    for row in study.rows:
        folder = study.out / "images" / row / "pairs-a"
        write_card(folder, "images", ["im_0.png", "im_1.png"], note="<script>")
    for run in study.runs:
        folder = study.out / "runs" / run
        folder.mkdir(parents=True)
        rows = "".join(f"pixel,{step},{1 / step},0\n" for step in range(1, 51))
        (folder / "log.csv").write_text("stage,step,loss,lr\n" + rows)
        (folder / "heldout.csv").write_text("stage,step,loss\npixel,0,0.5\npixel,50,0.125\n")
        write_card(folder, "run", ["log.csv"])
        start = {"devices": {"Some GPU <8>": 8}, "gpus": 8, "seconds": 2700.0}
        write_json(folder / "run.json", {"seconds": 5400.0, "gpu_hours": 12.0, "starts": [start, start]})
    return study
