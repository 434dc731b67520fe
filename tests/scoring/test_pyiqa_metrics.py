"""pyiqa with weights that are made here, and with ways to the network closed."""

import csv
import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from framer.errors import UserError
from framer.scoring import protocols, pyiqa_metrics
from framer.scoring import scorer as scorer_module
from framer.scoring.folders import Task, score_folders
from framer.scoring.pairing import pair_up
from framer.scoring.protocols import Metric, Protocol
from framer.scoring.scorer import Scorer
from framer.weights import store
from tests.fixtures.clone import ROOT
from tests.scoring.generated import NARROW, generate, narrow_vit

METRICS = {metric.name: metric for metric in Protocol.named("osediff").metrics}
METRICS["maniqa"] = replace(METRICS["maniqa"], options=MappingProxyType(NARROW | {"test_sample": 4}))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def made(weights: Path, monkeypatch: pytest.MonkeyPatch):
    """Make the weights of metrics, and manifests that state their hashes."""
    for path in (ROOT / "weights").glob("*.yaml"):
        shutil.copy(path, weights)
    monkeypatch.chdir(weights.parent)

    def make(*names: str) -> list[Metric]:
        for name in names:
            hashes = generate(METRICS[name], weights)
            path = weights / f"{METRICS[name].weights[0]}.yaml"
            manifest = yaml.safe_load(path.read_text())
            for file in manifest["files"]:
                file["sha256"] = hashes[file["path"]]
            path.write_text(yaml.safe_dump(manifest))
        return [METRICS[name] for name in names]

    with narrow_vit():
        yield make


def test_images_become_tensors():
    image = np.array([[[0, 51, 255], [255, 0, 102]]], np.uint8)
    tensor = pyiqa_metrics.as_tensor([image, image]).cpu()
    assert tensor.shape == (2, 3, 1, 2)
    assert torch.allclose(tensor[0, :, 0, 0], torch.tensor([0, 0.2, 1]))


@pytest.mark.parametrize("name", ["niqe", "lpips", "musiq", "maniqa", "clipiqa", "liqe"])
def test_a_batch_scores_like_its_images(made, name: str):
    [metric] = made(name)
    network = pyiqa_metrics.Network(metric)
    torch.manual_seed(1)
    sr, hr = torch.rand(2, 3, 3, 230, 226)
    batched = network.values(sr, hr)
    single = [value for i in range(3) for value in network.values(sr[i : i + 1], hr[i : i + 1])]
    assert len(set(single)) == 3
    assert batched == pytest.approx(single, rel=1e-5, abs=1e-6)
    assert single == [value for i in range(3) for value in network.values(sr[i : i + 1], hr[i : i + 1])]


@pytest.mark.parametrize("name", ["lpips", "musiq"])
def test_networks_give_what_pyiqa_gives(made, weights: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    import pyiqa

    [metric] = made(name)
    torch.manual_seed(1)
    sr, hr = torch.rand(2, 1, 3, 64, 72)
    ours = pyiqa_metrics.Network(metric).values(sr, hr)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(weights / "hub"))
    monkeypatch.setattr("pyiqa.utils.download_util.DEFAULT_CACHE_DIR", str(weights / "hub" / "pyiqa"))
    theirs = pyiqa.create_metric(metric.pyiqa, device=torch.device("cpu"))
    assert ours == [float(theirs(sr, hr) if metric.needs_hr else theirs(sr))]


@pytest.mark.slow
def test_the_whole_path_offline(
    made, pairs: tuple[Path, Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Scores of all networks from files on this machine, the same bytes from one process and from several."""
    names = ["psnr", "lpips", "maniqa", "musiq", "fid"]
    made(*names[1:])
    monkeypatch.setitem(protocols.PROTOCOLS, "osediff", Protocol("osediff", "", tuple(METRICS.values())))
    for threads in (1, 3):
        outs = {"osediff": tmp_path / str(threads) / "s.csv"}
        [summary] = score_folders([Task(*pairs, outs)], names, threads, progress=False)
        assert not summary.unavailable
    for suffix in ("csv", "json"):
        one, other = ((tmp_path / name / f"s.{suffix}").read_bytes() for name in "13")
        assert one == other
    with (tmp_path / "1" / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["image"], r["metric"]) for r in rows] == [
        *((f"image_{i}.png", name) for i in range(3) for name in names[:-1]),
        ("*", "fid"),
    ]
    images = [np.asarray(Image.open(folder / "image_1.png")) for folder in pairs]
    sr, hr = (pyiqa_metrics.as_tensor([image]) for image in images)
    for row in rows[5:8]:
        assert float(row["value"]) == pyiqa_metrics.Network(METRICS[row["metric"]]).values(sr, hr)[0], row["metric"]
    sidecar = json.loads((tmp_path / "1" / "s.json").read_text())
    assert set(sidecar["weights"]) == {*store.files(weight for name in names for weight in METRICS[name].weights)}
    assert summary.means["fid"] > 0


def test_batches_of_one_size_as_on_a_gpu(made, pairs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch):
    """Batched and overlapped on the CPU: each image gets the scores that it gets alone."""
    metrics = [*Protocol.named("osediff").select(["psnr"]), *made("lpips")]
    for folder in pairs:
        for i in range(4):
            Image.open(folder / "image_0.png").rotate(90 * i).save(folder / f"turned_{i}.png")
    psnr, lpips = (metric.id for metric in metrics)
    scorer = Scorer(metrics)
    found = pair_up(*pairs)
    alone = {one.image: one for _, results in scorer.run(scorer.units(0, found, metrics), 1) for one in results}
    scorer.on_gpu = True
    monkeypatch.setattr(scorer_module, "BATCH_PIXELS", 3 * 40 * 52)
    units = scorer.units(0, found, metrics)
    assert sorted(len(unit.pairs) for unit in units) == [1, 1, 2, 3]
    together = {one.image: one for _, results in scorer.run(units, 2) for one in results}
    assert together.keys() == alone.keys()
    for image, one in alone.items():
        assert together[image].sha256 == one.sha256
        assert together[image].values[psnr] == one.values[psnr]
        assert together[image].values[lpips] == pytest.approx(one.values[lpips], rel=1e-5)


def test_other_weights_than_the_published_are_refused(weights: Path, pairs: tuple[Path, Path], tmp_path: Path):
    generate(METRICS["musiq"], weights)
    with pytest.raises(UserError, match=r"musiq_koniq_ckpt-e95806b9\.pth: its SHA-256 starts with .* e95806b9; delete"):
        score_folders([Task(*pairs, {"osediff": tmp_path / "s.csv"})], ["musiq"], progress=False)
    assert not list(tmp_path.glob("s.*"))


@pytest.mark.parametrize("name", ["lpips", "dists", "clipiqa", "liqe", "fid", "niqe"])
def test_nothing_is_downloaded(weights: Path, name: str):
    """LPIPS would fetch its backbone, whatever it is told."""
    with pytest.raises(UserError, match=r": scoring does not download; run framer fetch, or copy the file into "):
        pyiqa_metrics.Network(METRICS[name])
    assert not [path for path in weights.rglob("*") if path.is_file()]


def test_a_pickle_with_code_is_refused(weights: Path):
    trace = weights / "ran"

    class Payload:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(trace),))

    (weights / store.files(METRICS["musiq"].weights)[0]).write_bytes(pickle.dumps(Payload(), protocol=2))
    with pytest.raises(UserError, match=r"musiq_koniq_ckpt-e95806b9\.pth: not weights of musiq@koniq") as error:
        pyiqa_metrics.Network(METRICS["musiq"])
    assert not trace.exists()
    assert "\n" not in str(error.value)


def test_surroundings_are_left_as_they_were(weights: Path):
    import timm
    from pyiqa.archs import clip_model, liqe_arch
    from pyiqa.utils import download_util

    def surroundings() -> tuple:
        names = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "HF_HUB_OFFLINE")
        patched = (torch.hub.download_url_to_file, download_util.DEFAULT_CACHE_DIR, timm.create_model)
        clip = (clip_model._download, liqe_arch.DEFAULT_CACHE_DIR)
        return (torch.hub.get_dir(), *patched, *clip, *(os.environ.get(name) for name in names))

    before = surroundings()
    with pytest.raises(UserError):
        pyiqa_metrics.Network(METRICS["niqe"])
    assert surroundings() == before
