import hashlib
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import skimage
import yaml
from PIL import Image

from framer.data.degradation.dataset import degrade_set, grid
from framer.data.fetch import fetch, how_to_get, present
from framer.data.image_folder import complete, staging
from framer.data.images import list_images, paired, read_index, read_rgb
from framer.data.manifest import Manifest
from framer.errors import UserError
from framer.provenance.lock import exclusive
from tests.fixtures.clone import ROOT


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_manifest(datasets: Path, name: str, **changes) -> Manifest:
    """A by-hand set of pairs."""
    source = {"kind": "manual", "folders": ["LR", "HR"], "where": ["a shelf"], "note": "ask nicely"}
    keys = {"id": name, "title": name, "license": "none", "paired": True, "scale": 4, "count": 2, "sources": [source]}
    (datasets / f"{name}.yaml").write_text(yaml.safe_dump(keys | changes))
    return Manifest.load(name, datasets)


def fails(manifest: Manifest, datasets: Path, pattern: str) -> None:
    with pytest.raises(UserError, match=pattern) as error:
        fetch(manifest, datasets, progress=False)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def fetched(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fetched")
    (folder / "photos.yaml").write_bytes((ROOT / "datasets" / "photos.yaml").read_bytes())
    fetch(Manifest.load("photos", folder), folder, progress=False)
    return folder


@pytest.fixture
def photos(datasets, fetched) -> Path:
    """The folder of manifests, and the embedded photographs fetched into it."""
    shutil.copytree(fetched / "photos", datasets / "photos")
    return datasets


def test_embedded_photographs_are_the_ones_that_ship(photos):
    manifest = Manifest.load("photos", photos)
    shipped = Path(skimage.__file__).parent / "data"
    for split, files in manifest.sources[0].splits.items():
        assert set(list_images(photos / "photos" / split)) == {Path(name).stem for name in files}
        for name in files:
            original = np.asarray(Image.open(shipped / name).convert("RGB"))
            assert np.array_equal(read_rgb(photos / "photos" / split / f"{Path(name).stem}.png"), original)
    index = read_index(photos / "photos")
    assert len(index) == 13
    for entry in index:
        assert hashlib.sha256((photos / "photos" / entry.name).read_bytes()).hexdigest() == entry.sha256
    assert (photos / "photos" / "card.json").is_file()


def test_fetching_again_touches_nothing(photos):
    times = {path: path.stat().st_mtime_ns for path in photos.rglob("*")}
    fetch(Manifest.load("photos", photos), photos, progress=False)
    assert {path: path.stat().st_mtime_ns for path in photos.rglob("*")} == times


def test_fetching_repairs_what_is_gone_and_gives_the_same_bytes(photos):
    before = tree(photos)
    (photos / "photos" / "test" / "coffee.png").unlink()
    extra = photos / "photos" / "train" / "extra.png"
    extra.write_bytes(before["photos/test/coffee.png"])
    with pytest.raises(UserError) as caught:
        fetch(Manifest.load("photos", photos), photos, progress=False)
    assert (caught.value.path, caught.value.code) == (str(extra.parent), "refused")
    extra.unlink()
    fetch(Manifest.load("photos", photos), photos, progress=False)
    assert tree(photos) == before


def test_a_second_fetch_waits_and_uses_the_files_of_the_first(datasets, fetched, capsys):
    folder = datasets / "photos"
    with exclusive(folder / ".lock", folder):
        second = threading.Thread(target=fetch, args=(Manifest.load("photos", datasets), datasets, False))
        second.start()
        while "waiting" not in capsys.readouterr().err:
            assert second.is_alive()
        shutil.copytree(fetched / "photos", folder, dirs_exist_ok=True)
        times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    second.join()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")} == times
    assert not (folder / ".lock").exists()


def test_a_second_degrade_is_refused(photos):
    folder = photos / "photos-crop128"
    with exclusive(folder / ".lock", folder), pytest.raises(UserError) as caught:
        degrade_set(Manifest.load("photos-crop128", photos), photos, progress=False)
    assert (caught.value.path, caught.value.code) == (str(folder), "busy")


def test_a_changed_photograph_is_refused_and_nothing_changes(photos):
    before = tree(photos / "photos")
    path = photos / "photos.yaml"
    path.write_text(path.read_text().replace("596aa1e7", "00000000"))
    fails(Manifest.load("photos", photos), photos, r"chelsea\.png: not the photograph of the manifest")
    assert tree(photos / "photos") == before


def test_manual_sets_name_their_folders(datasets):
    manifest = Manifest.load("reallr200-full", datasets)
    assert not present(manifest, datasets)
    fails(
        manifest,
        datasets,
        r"put the images into .*datasets/reallr200-full/LR/, or .* then run: framer fetch reallr200-full",
    )
    (datasets / "reallr200-full" / "LR").mkdir(parents=True)
    assert not present(manifest, datasets)
    assert "incomplete (" in how_to_get(manifest, datasets)
    assert "holds no image" in how_to_get(manifest, datasets)


def test_a_dropped_set_is_verified_and_indexed_in_place(datasets, noise_image):
    manifest = write_manifest(datasets, "mine")
    for number, name in enumerate(("a", "b")):
        noise_image(datasets / "mine" / "LR" / f"{name}.jpg", 10, 12, number)
        noise_image(datasets / "mine" / "HR" / f"{name}.png", 40, 48, number)
    before = tree(datasets / "mine")
    fetch(manifest, datasets, progress=False)
    after = tree(datasets / "mine")
    assert {name: data for name, data in after.items() if name in before} == before
    assert after.keys() - before.keys() == {"index.csv", "card.json"}
    assert {entry.name: (entry.width, entry.height) for entry in read_index(datasets / "mine")} == {
        "HR/a.png": (40, 48),
        "HR/b.png": (40, 48),
        "LR/a.jpg": (10, 12),
        "LR/b.jpg": (10, 12),
    }


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d, make: (d / "HR" / "b.png").unlink(), "mine: only in one of LR and HR: b; pairs have one file stem"),
        (lambda d, make: shutil.rmtree(d / "HR"), "put the images into"),
        (
            lambda d, make: make(d / "HR" / "b.png", 40, 44),
            "mine/HR: b is 40x44, LR is 10x12; HR must be exactly 4",
        ),
        (lambda d, make: (d / "LR" / "a.png").write_bytes(b"x"), "LR/a.png: not a "),
        (lambda d, make: make(d / "LR" / "a.jpg", 10, 12), "a.jpg and a.png have one stem"),
        (
            lambda d, make: [make(d / p / "c.png", 4, 4) for p in ("LR", "HR")],
            "holds 3 images, where the manifest has 2",
        ),
    ],
)
def test_a_wrong_dropped_set_gets_no_card(datasets, noise_image, spoil, message):
    manifest = write_manifest(datasets, "mine")
    for name in ("a", "b"):
        noise_image(datasets / "mine" / "LR" / f"{name}.png", 10, 12)
        noise_image(datasets / "mine" / "HR" / f"{name}.png", 40, 48)
    spoil(datasets / "mine", noise_image)
    fails(manifest, datasets, message)
    assert not (datasets / "mine" / "card.json").exists()


def test_real_pairs_go_through_a_manual_import(datasets):
    data = os.environ.get("FRAMER_TEST_DATA")
    if not data:
        pytest.skip("FRAMER_TEST_DATA is not set")
    for name, count in (("realsr_dev", 20), ("drealsr_dev", 19)):
        manifest = write_manifest(datasets, name, count=count)
        for part in ("LR", "HR"):
            shutil.copytree(Path(data) / name / part.lower(), datasets / name / part)
        fetch(manifest, datasets, progress=False)
        sizes = {(entry.name[:2], entry.width, entry.height) for entry in read_index(datasets / name)}
        assert sizes == {("LR", 128, 128), ("HR", 512, 512)}


def test_degraded_pairs(photos):
    manifest = Manifest.load("photos-crop128", photos)
    degrade_set(manifest, photos, progress=False)
    folder = photos / "photos-crop128"
    found = paired(folder / "LR", folder / "HR")
    assert len(found) == manifest.count == 16
    boxes = {}
    for stem, lr, hr in found:
        assert read_rgb(lr).shape == (32, 32, 3)
        name = stem.rsplit("_", 1)[0]
        photograph = read_rgb(photos / "photos" / "test" / f"{name}.png")
        boxes.setdefault(name, []).append(locate(read_rgb(hr), photograph))
    assert set(boxes) == {"astronaut", "chelsea", "coffee", "rocket"}
    for corners in boxes.values():
        for i, (top, left) in enumerate(corners):
            assert all(abs(top - y) >= 128 or abs(left - x) >= 128 for y, x in corners[i + 1 :])
    card = json.loads((folder / "card.json").read_text())
    assert card["made_from"] == hashlib.sha256((photos / "photos" / "card.json").read_bytes()).hexdigest()
    assert (card["set"], card["source"]["preset"]) == ("photos-crop128", manifest.sources[0].preset)


def locate(crop: np.ndarray, photograph: np.ndarray) -> tuple[int, int]:
    """Where a crop lies in a photograph, bit for bit."""
    height, width = photograph.shape[0] - crop.shape[0], photograph.shape[1] - crop.shape[1]
    corner = (photograph[: height + 1, : width + 1] == crop[0, 0]).all(2)
    hits = [
        (y, x)
        for y, x in np.argwhere(corner)
        if np.array_equal(photograph[y : y + crop.shape[0], x : x + crop.shape[1]], crop)
    ]
    assert hits
    return hits[0]


def test_degrading_again_leaves_what_is_complete_and_repairs_what_is_not(photos):
    manifest = Manifest.load("photos-crop128", photos)
    degrade_set(manifest, photos, progress=False)
    before = tree(photos / "photos-crop128")
    times = {path: path.stat().st_mtime_ns for path in photos.rglob("*")}
    degrade_set(manifest, photos, progress=False)
    assert {path: path.stat().st_mtime_ns for path in photos.rglob("*")} == times
    shutil.rmtree(photos / "photos-crop128" / "LR")
    degrade_set(manifest, photos, progress=False)
    assert tree(photos / "photos-crop128") == before


def test_degrading_one_photograph_does_not_depend_on_the_others(photos):
    degrade_set(Manifest.load("photos-crop128", photos), photos, progress=False)
    before = tree(photos / "photos-crop128")
    path = photos / "photos.yaml"
    lines = [line for line in path.read_text().splitlines() if "astronaut" not in line]
    path.write_text("\n".join(lines).replace("count: 13", "count: 12"))
    fetch(Manifest.load("photos", photos), photos, progress=False)
    path = photos / "photos-crop128.yaml"
    path.write_text(path.read_text().replace("count: 16", "count: 12"))
    degrade_set(Manifest.load("photos-crop128", photos), photos, progress=False)
    after = tree(photos / "photos-crop128")
    assert len(list_images(photos / "photos-crop128" / "HR")) == 12
    assert all(after[name] == before[name] for name in after if name.endswith(".png"))


def test_photographs_and_seeds_have_degradations_of_their_own(datasets, noise_image):
    by_hand = {"kind": "manual", "folders": ["HR"], "where": ["a shelf"], "note": "none"}
    twins = write_manifest(datasets, "twins", paired=False, sources=[by_hand])
    for name in ("a", "b"):
        noise_image(datasets / "twins" / "HR" / f"{name}.png", 64, 64)
    fetch(twins, datasets, progress=False)
    made = {}
    for seed in (0, 1):
        source = {"kind": "degraded", "of": "twins", "split": "HR", "preset": "pisa_sr", "crop": 64, "seed": seed}
        pairs = write_manifest(datasets, f"pairs{seed}", sources=[source | {"per_image": 1}])
        degrade_set(pairs, datasets, progress=False)
        images = list_images(datasets / pairs.id / "LR")
        made |= {(seed, stem): path.read_bytes() for stem, path in images.items()}
    assert made.keys() == {(0, "a_0"), (0, "b_0"), (1, "a_0"), (1, "b_0")}
    assert len(set(made.values())) == 4


def test_a_set_that_was_not_sealed_is_not_taken_for_complete(photos):
    manifest = Manifest.load("photos", photos)
    assert complete(photos / "photos", manifest)
    with pytest.raises(FileNotFoundError), staging(photos / "photos", manifest):
        pass  # killed before the card
    assert not complete(photos / "photos", manifest)
    assert not (photos / "photos" / "card.json").exists()


def test_degrading_refuses(datasets):
    manifest = Manifest.load("photos-crop128", datasets)
    with pytest.raises(UserError, match=r"photos/card\.json: missing"):
        degrade_set(manifest, datasets, progress=False)
    fails(manifest, datasets, "made from photos; run: framer degrade photos-crop128")
    with pytest.raises(UserError) as error:
        degrade_set(Manifest.load("realsr-crop128", datasets), datasets, progress=False)
    assert (error.value.path, error.value.key) == (str(datasets / "realsr-crop128.yaml"), "sources.0.kind")


def test_too_many_crops_are_refused_and_nothing_is_left(photos):
    path = photos / "photos-crop128.yaml"
    path.write_text(path.read_text().replace("per_image: 4", "per_image: 7"))
    with pytest.raises(UserError) as error:
        degrade_set(Manifest.load("photos-crop128", photos), photos, progress=False)
    assert error.value.path.endswith("chelsea.png") and error.value.key == "per_image"
    assert tree(photos / "photos-crop128") == {}


def test_grid_is_centred():
    assert grid(300, 260, 128) == [(22, 2), (22, 130), (150, 2), (150, 130)]
    assert grid(100, 300, 128) == []


def test_how_to_get_names_the_command(datasets):
    assert "framer fetch realsr-crop128" in how_to_get(Manifest.load("realsr-crop128", datasets), datasets)
    assert "framer degrade photos-crop128" in how_to_get(Manifest.load("photos-crop128", datasets), datasets)
