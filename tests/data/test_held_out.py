"""No test photograph of any study, and no near duplicate of one, is trained on."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framer.data.fetch import how_to_get
from framer.data.image_folder import complete
from framer.data.images import list_images, read_index, read_rgb
from framer.data.manifest import Manifest
from framer.study.study import Study
from tests.fixtures.clone import ROOT

DATASETS = ROOT / "datasets"
STUDIES = sorted((ROOT / "config").glob("*.yaml"))
SIDE = 24
NEAR = 0.9
"""Correlation of two thumbnails above which photographs count as one."""


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) to (SIDE, SIDE), gray, mean 0 and norm 1."""
    gray = np.asarray(Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), float)
    centred = gray - gray.mean()
    return centred / np.linalg.norm(centred)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """The largest correlation over the eight ways to turn and mirror a square."""
    turned = [np.rot90(side, k) for side in (other, other.T) for k in range(4)]
    return max(float((one * way).sum()) for way in turned)


def photographs_of(study: Study) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """(set, folder) of the photographs behind the test sets, and of those trained on."""
    sources = {name: study.manifests[name].sources[0] for name in study.config.sets}
    tested = {(source.of, source.split) for source in sources.values() if source.kind == "degraded"}
    sets = {name for backbone in study.config.backbones.values() for name in backbone.training_sets}
    return tested, {(name, str(study.manifests[name].training_folder)) for name in sets}


def all_pairs() -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """As above, over all studies: what one trains on may be the base of another."""
    each = [photographs_of(Study.load(path, DATASETS)) for path in STUDIES]
    return set.union(*(tested for tested, _ in each)), set.union(*(trained for _, trained in each))


def test_no_folder_is_tested_on_and_trained_on():
    tested, trained = all_pairs()
    assert {("photos", "test"), ("free-photos", "test")} <= tested
    assert {("photos", "train"), ("free-photos", "train")} <= trained
    assert not tested & trained


def test_no_test_photograph_was_seen_in_training():
    tested, trained = all_pairs()
    needed = ["photos", "free-photos"]
    for name in needed:
        manifest = Manifest.load(name, DATASETS)
        if not complete(DATASETS / name, manifest):
            pytest.skip(how_to_get(manifest, DATASETS))
    # Names of photographs are unique in a set, so that equal files are one photograph under two names.
    hashes = [entry.sha256 for name in needed for entry in read_index(DATASETS / name)]
    assert len(set(hashes)) == len(hashes) == 43

    def here(folders: set[tuple[str, str]]) -> dict[Path, np.ndarray]:
        parts = [DATASETS / name / part for name, part in sorted(folders) if name in needed]
        return {path: thumbnail(read_rgb(path)) for part in parts for path in list_images(part).values()}

    held_out, seen = here(tested), here(trained)
    assert len(held_out) == 12
    near = [(a, b) for (a, one), (b, other) in product(held_out.items(), seen.items()) if likeness(one, other) > NEAR]
    assert near == []
    # The search finds a photograph that was cut, mirrored and turned.
    for path, own in held_out.items():
        pixels = read_rgb(path)
        margin = pixels.shape[0] // 50
        assert likeness(own, thumbnail(np.rot90(pixels[margin:, ::-1]))) > NEAR, path
