"""Captions and encoded pairs as rules: planned where a study asks for them, and nowhere else."""

from pathlib import Path

import pytest
import yaml

from framer.dag import triggers
from framer.dag.scope import Scope
from tests.fixtures.snakemake import jobs, snakemake


def studied(root: Path, **changes) -> Path:
    """The smoke study with other keys of its DiT4SR, as config/mine.yaml."""
    config = yaml.safe_load((root / "config" / "smoke.yaml").read_text())
    config["backbones"]["dit4sr"] |= changes
    path = root / "config" / "mine.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def plan(root: Path, *options: str) -> str:
    done = snakemake(root, "-n", "-p", "--cores", "1", "--config", "study=mine", *options)
    assert done.returncode == 0, done.stdout
    return done.stdout


DATA = {"sets": ["photos"], "degradation": "lowlight"}


def test_a_model_captions_every_set_once(clone: Path) -> None:
    studied(clone, captions={"model": "llava-hf/llava-1.5-7b-hf"})
    text = plan(clone)
    assert jobs(text)["caption"] == 2 and jobs(text)["base"] == 1
    captions = "captions/llava-hf--llava-1.5-7b-hf"
    assert (
        f"--images datasets/photos/train --model weights/llava-hf--llava-1.5-7b-hf --out {captions}/photos.csv" in text
    )
    assert f"--images datasets/photos-crop128/LR --model weights/llava-hf--llava-1.5-7b-hf --out {captions}" in text
    restores = [line for line in text.splitlines() if "framer restore --checkpoint results/mine/runs/dit4sr" in line]
    assert restores and all(f"--captions {captions}/photos-crop128.csv --missing error" in line for line in restores)
    others = [line for line in text.splitlines() if "framer restore --checkpoint results/mine/runs/pisa_sr" in line]
    assert others and not any("--captions" in line for line in others)


def test_pairs_are_encoded_once_for_all_runs(clone: Path) -> None:
    studied(clone, data=DATA | {"pairs": 64, "encode": True})
    text = plan(clone)
    assert jobs(text)["encode"] == 1
    assert "framer encode --study config/mine.yaml --backbone dit4sr --base weights/tiny/dit4sr" in text
    trains = {line.split("--run ")[1].split()[0]: line for line in text.splitlines() if "framer train --" in line}
    encoded = {run for run, line in trains.items() if "--encoded results/mine/encoded/dit4sr" in line}
    assert encoded == {"dit4sr-baseline-s0", "dit4sr-framer-s0"}
    assert "dit4sr-untrained-s0" in trains


def test_a_users_captions_are_watched(clone: Path) -> None:
    """Another caption is another parameter of the jobs that read it."""
    folder = clone / "mine"
    folder.mkdir()
    studied(clone, captions={"folder": "mine", "missing": "empty"})
    (folder / "photos.csv").write_text("image,caption\ncoffee,a cup\n")
    (folder / "photos-crop128.csv").write_text("image,caption\n")
    assert "caption" not in jobs(plan(clone))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clone)
        states = []
        for text in ("a cup", "a mug"):
            (folder / "photos.csv").write_text(f"image,caption\ncoffee,{text}\n")
            study = Scope.open({"study": "mine"}).study
            tested = triggers.captions(study, "dit4sr", ["photos-crop128"])
            states.append([triggers.training_captions(study, "dit4sr"), tested])
            assert triggers.training_captions(study, "pisa_sr") is None
    assert states[0][0] != states[1][0] and states[0][1] == states[1][1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"captions": {"model": "a/b", "folder": "c"}}, "name a folder or a model, one of them"),
        ({"captions": {}}, "name a folder or a model, one of them"),
        ({"data": DATA | {"encode": True}}, "encode: needs pairs"),
        ({"data": DATA | {"pairs": 0}}, "backbones.dit4sr.data.pairs"),
    ],
)
def test_a_mistake_is_one_line(clone: Path, changes: dict, words: str) -> None:
    studied(clone, **changes)
    done = snakemake(clone, "-n", "--cores", "1", "--config", "study=mine")
    assert done.returncode == 1 and words in done.stdout
