"""What is recorded of trained models: the loss's own numbers, on draws that no other call changes."""

import csv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from framer.analysis import arrays, cost
from framer.analysis import cost as cost_module
from framer.analysis.arrays import COLUMNS, QUANTITIES
from framer.analysis.cost import Block, measure
from framer.analysis.record import Inputs, analyse
from framer.backbones.registry import settings_class
from framer.data.images import write_png
from framer.errors import UserError
from framer.inference.restore import restore
from framer.method import FramerLoss, Recipe
from framer.provenance.cards import read_card
from framer.runs.run_dir import load_run
from framer.runs.snapshots import load_moment
from framer.study.jobs import AnalyseJob, CostJob, TrainJob
from framer.training.options import Session
from tests.fixtures.photographs import write_photographs
from tests.fixtures.trainings import BACKBONES, base_job, files, optimisation, run_job, train_here

QUIET = Session(progress=False)


def job_of(backbone: str, **more) -> AnalyseJob:
    settings = {"steps": 1, "injection_scale": 1.0} if backbone == "dit4sr" else {}
    values = {
        "backbone": backbone,
        "set": "pairs",
        "images": 3,
        "runs": {"base": f"{backbone}-base-s0", "ours": f"{backbone}-ours-s0"},
        "compared": {"paper": f"{backbone}-ours-s0"},
        "snapshots": (1,),
        "precision": "float32",
        "settings": settings,
        "captions": None,
        "seed": 5,
        "sampling": 6,
        "threads": 1,
    }
    return AnalyseJob(**values | more)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Pairs of odd sizes, bases, and a baseline and a run with FRAMER on each."""
    root = tmp_path_factory.mktemp("root")
    write_photographs(root)
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(((72, 80), (68, 76), (80, 64))):
        image = np.kron(
            rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8)
        )
        write_png(root / f"data/pairs/HR/p{number}.png", image)
        write_png(root / f"data/pairs/LR/p{number}.png", image[::4, ::4])
    for backbone in BACKBONES:
        train_here(root, base_job(backbone), root / f"bases/{backbone}", QUIET)
        for arm, recipe, snapshots in (("base", None, ()), ("ours", "paper", (1,))):
            train_here(root, training(backbone, recipe, snapshots), root / f"runs/{backbone}-{arm}-s0", QUIET)
    return root


def training(backbone: str, recipe: str | None, snapshots: tuple[int, ...] = ()) -> TrainJob:
    job = run_job(backbone, recipe=recipe)
    return replace(
        job, stages={settings_class(backbone).stages[0]: optimisation(3, lr=1e-2)}, heldout=None, snapshots=snapshots
    )


@pytest.fixture(scope="module")
def recorded(root) -> Path:
    for backbone in BACKBONES:
        analyse(job_of(backbone), root / "data", root / "runs", root / "analysis" / backbone, progress=False)
    return root / "analysis"


@pytest.mark.parametrize("backbone", BACKBONES)
def test_all_that_is_declared_is_there_and_in_the_card(root, recorded, backbone):
    found = files(recorded / backbone)
    assert set(found) == {
        "densities.npz", "layers.npz", "images.npz", "weights.npz", "early/paper/1/p0.png", "early/paper/1/p1.png",
        "early/HR/p0.png", "early/HR/p1.png", "card.json",
    }  # fmt: skip
    card = read_card(recorded / backbone, "analysis")
    assert card["payload"] == {name: sha256 for name, sha256 in found.items() if name != "card.json"}
    assert set(card["runs"]) == {f"{backbone}-base-s0", f"{backbone}-ours-s0"}
    for name in arrays.KNOWN:
        about = arrays.read(recorded / backbone / f"{name}.npz").about
        assert about["feature"] == "magnitude"
        assert about["masks"] == "radial, cutoff 0.2"


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_second_time_gives_the_same_bytes(root, recorded, backbone):
    before = files(recorded / backbone)
    (recorded / backbone / "early/paper/9").mkdir()
    analyse(job_of(backbone), root / "data", root / "runs", recorded / backbone, progress=False)
    assert files(recorded / backbone) == before


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("step", [1, None])
def test_weights_are_those_that_the_training_loss_computes(root, recorded, backbone, step):
    """The loss itself, as training calls it, on the same image and draws."""
    tables = []

    class Spy(FramerLoss):
        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            tables.append(output.layers)
            return output

    model = load_moment(root / f"runs/{backbone}-ours-s0", step)
    inputs = Inputs(job_of(backbone), root / "data/pairs", model.multiple)
    for k in range(3):
        model.training_loss(inputs.batch(k), Spy(Recipe.named("paper")))
    weights = arrays.read(recorded / backbone / "weights.npz")
    assert weights.labels["moment"] == ("step 1", "end")
    for number, band in enumerate(("low", "high")):
        for name in ("faw", "fam"):
            expected = torch.cat([getattr(getattr(table, band), name) for table in tables], dim=1)
            found = weights.arrays[name][0 if step else 1, number]
            assert np.allclose(found, expected.numpy(), atol=1e-5), (name, band)


def test_the_last_block_of_a_dit_is_its_teacher(recorded):
    found = arrays.read(recorded / "dit4sr/layers.npz")
    assert found.labels["arm"] == ("base", "ours")
    similarity = found.arrays["similarity"]
    assert similarity.shape == (2, 2, 3, 3)
    assert np.allclose(similarity[:, :, -1], 1, atol=1e-5)
    assert (similarity[:, :, :-1] < 0.99999).all()
    assert not np.allclose(similarity[0], similarity[1]), "training with the loss moves the layers"
    assert "none" in found.about["heads"]


def test_a_u_net_is_read_alike_with_and_without_heads_of_its_own(recorded):
    found = arrays.read(recorded / "pisa_sr/layers.npz")
    assert found.about["heads"] == "least squares over the other half of the images"
    similarity = found.arrays["similarity"]
    assert np.isfinite(similarity).all()
    # The last block is one normalisation and convolution before the residual: hardly anything is lost on the way.
    assert (similarity[:, :, -1].mean(-1) > 0.95).all()


def test_densities_and_likeness_are_of_the_baseline(root, recorded):
    for name in ("densities", "images"):
        assert arrays.read(recorded / f"dit4sr/{name}.npz").about["run"] == "dit4sr-base-s0"
    model, _ = load_run(root / "runs/dit4sr-base-s0")
    model.add_heads("x0")
    inputs = Inputs(job_of("dit4sr"), root / "data/pairs", model.multiple)
    with torch.no_grad():
        a, b, _ = (model.layer_maps(inputs.batch(k), "x0")[1].double() for k in range(3))
    rows, columns = torch.fft.fftfreq(a.shape[-2]), torch.fft.fftfreq(a.shape[-1])
    low = torch.hypot(rows[:, None], columns) * 2 < 0.2 - 1e-6
    found = arrays.read(recorded / "dit4sr/images.npz").arrays["similarity"]
    for number, mask in enumerate((low, ~low)):
        one, other = (torch.fft.fft2(x).abs()[0][:, mask].flatten() for x in (a, b))
        assert found[number, 0, 1] == pytest.approx((one @ other / one.norm() / other.norm()).item(), abs=1e-5)
        assert np.allclose(np.diag(found[number]), 1)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_early_images_are_those_of_a_shorter_run(root, recorded, backbone):
    job = training(backbone, "paper")
    job = replace(job, stages={name: stage.model_copy(update={"steps": 1}) for name, stage in job.stages.items()})
    job = replace(job, stages={name: stage.model_copy(update={"decay": False}) for name, stage in job.stages.items()})
    train_here(root, job, root / f"runs/{backbone}-short", QUIET)
    out, settings = root / f"images/{backbone}", job_of(backbone).settings
    restore(root / f"runs/{backbone}-short", root / "data/pairs/LR", out, settings=settings, seed=6, progress=False)
    for stem in ("p0", "p1"):
        early = (recorded / backbone / f"early/paper/1/{stem}.png").read_bytes()
        assert early == (out / f"{stem}.png").read_bytes()


def test_every_image_has_its_own_draws_each_time_anew(root):
    inputs = Inputs(job_of("dit4sr"), root / "data/pairs", 8)
    first, again, other = (inputs.batch(k).draws.normal(5) for k in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)
    elsewhere = Inputs(job_of("dit4sr", seed=6), root / "data/pairs", 8).batch(0).draws.normal(5)
    assert not first.equal(elsewhere)


def test_no_image_is_read_by_heads_that_have_seen_it(root):
    seen: list[tuple[str, list[str]]] = []

    class Model:
        def fit_heads(self, batches):
            self.fitted = [batch.stems[0] for batch in batches]

        def layer_maps(self, batch, space):
            seen.append((batch.stems[0], self.fitted))
            return [], batch.hr

    shapes = Inputs(job_of("pisa_sr"), root / "data/pairs", 8).read(Model(), lambda _, hr: tuple(hr.shape), fitted=True)
    assert shapes == [(1, 3, 64, 64)] * 3
    assert sorted(seen) == [("p0", ["p1"]), ("p1", ["p0", "p2"]), ("p2", ["p1"])]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": 4}, "analysis.images: .*pairs has 3 pairs, not 4"),
        ({"runs": {"base": "nothing-s0"}}, "nothing-s0/card.json: missing"),
        ({"compared": {"paper": "dit4sr-base-s0"}}, "dit4sr-base-s0: snapshots: has no step-1.safetensors"),
    ],
)
def test_what_cannot_be_recorded_is_one_line(root, tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        analyse(job_of("dit4sr", **change), root / "data", root / "runs", tmp_path, progress=False)
    assert not (tmp_path / "card.json").exists()


@pytest.mark.slow
def test_cost_is_measured_in_a_process_of_its_own(root, tmp_path):
    run = "pisa_sr-ours-s0"
    job = CostJob({"ours": run}, {run: {}}, blocks=1, steps=2, warmup=1, batch=2, crop=32, threads=1)
    measure(job, {run: training("pisa_sr", "paper")}, root / "runs", tmp_path / "cost.csv", progress=False)
    with (tmp_path / "cost.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["arm"], row["quantity"]) for row in rows] == [("ours", name) for name in QUANTITIES]
    assert all(0 < float(row["value"]) < 1000 for row in rows)
    assert {row["device"] for row in rows} == {rows[0]["device"]}
    assert f"torch {torch.__version__}" in rows[0]["device"]


def test_an_arm_that_does_not_fit_is_left_out_and_said(root, tmp_path, monkeypatch, capsys):
    """The error is the one of a GPU, which no CPU raises; the process is this one, so that it can be."""
    runs = {"base": "pisa_sr-base-s0", "ours": "pisa_sr-ours-s0"}
    job = CostJob(runs, {run: {} for run in runs.values()}, blocks=2, steps=1, warmup=1, batch=2, crop=32, threads=1)
    asked, training_of = [], cost._training

    def full(cost, job, run, accelerator):
        asked.append(run.name)
        if job.recipe:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return training_of(cost, job, run, accelerator)

    monkeypatch.setattr(cost_module, "_training", full)
    monkeypatch.setattr(cost_module, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
    jobs = {runs["base"]: training("pisa_sr", None), runs["ours"]: training("pisa_sr", "paper")}
    measure(job, jobs, root / "runs", tmp_path / "cost.csv", progress=False)
    with (tmp_path / "cost.csv").open(newline="") as file:
        assert [row["arm"] for row in csv.DictReader(file)] == ["base"] * len(QUANTITIES)
    assert asked == [runs["base"], runs["ours"], runs["base"]]
    assert "pisa_sr-ours-s0: a batch of 2 does not fit into the GPU's memory; left out" in capsys.readouterr().err


def test_blocks_of_the_arms_alternate():
    assert cost.order(["a", "b"], 4) == ["a", "b", "b", "a", "a", "b", "b", "a"]


def test_cost_weighs_stages_by_their_steps():
    job = run_job("pisa_sr")
    job = replace(job, stages={"pixel": optimisation(1), "semantic": optimisation(3)})
    blocks = [
        Block({"pixel": [2.0, 2.0, 50.0], "semantic": [4.0, 6.0]}, 2**30, [1.0], 2**29, "one"),
        Block({"pixel": [2.0], "semantic": [5.0]}, 2**31, [3.0], 2**28, "one"),
    ]
    assert cost._summary(blocks, job) == ((2 * 1 + 5 * 3) / 4, 2.0, 2.0, 0.5)
