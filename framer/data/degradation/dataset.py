"""Make a paired set of another set's photographs: HR crops, and LR by the second-order degradation."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from framer.data.degradation.pipeline import apply, draw, target
from framer.data.degradation.presets import Degradation
from framer.data.image_folder import KIND, complete, seal, staging, verify
from framer.data.images import list_images, read_rgb, write_png
from framer.data.manifest import DegradedSource, Manifest
from framer.data.pairs import TEXTURE, texture, to_rgb, to_tensor
from framer.errors import UserError
from framer.provenance.cards import CARD, lock, read_card
from framer.provenance.code import fingerprint
from framer.provenance.hashing import derive_seed, sha256_file
from framer.provenance.lock import exclusive


def degrade_set(manifest: Manifest, datasets: Path = Path("datasets"), progress: bool = True) -> None:
    """Make `datasets/<id>/{LR,HR}/<photograph>_<number>.png`, `index.csv` and `card.json`, unless they are there.

    The crops of a photograph lie on a grid, so they do not overlap; which cells of it are taken, and how they are
    degraded, depends on the manifest's seed and the photograph's name alone.

    Raises:
        UserError: the manifest is of another kind, the source set is incomplete, or a photograph is too small.
    """
    source = manifest.sources[0]
    if not isinstance(source, DegradedSource):
        message = f"is not 'degraded' but {source.kind!r}; run: framer fetch {manifest.id}"
        raise UserError(message, path=f"{datasets / manifest.id}.yaml", key="sources.0.kind")
    origin = datasets / source.of
    if not (origin / CARD).is_file():
        message = f"missing, of whose photographs {manifest.id} is made; run: framer fetch {source.of}"
        raise UserError(message, path=origin / CARD, code="missing")
    made_from = read_card(origin, KIND) and sha256_file(origin / CARD)
    folder = datasets / manifest.id
    if complete(folder, manifest) and read_card(folder, KIND).get("made_from") == made_from:
        return
    verify(origin)
    photographs = list_images(origin / source.split)
    with exclusive(folder / ".lock", folder), staging(folder, manifest) as scratch:
        for stem, path in tqdm(photographs.items(), f"degrade {manifest.id}", unit="image", disable=not progress):
            _degrade_photograph(source, stem, path, scratch)
        seal(scratch, manifest, source, made_from=made_from, code=fingerprint("degrade"), lock=lock())


def _degrade_photograph(source: DegradedSource, stem: str, path: Path, out: Path) -> None:
    preset = Degradation.named(source.preset)
    rng = np.random.default_rng(derive_seed(source.seed, source.of, source.split, stem))
    photograph = read_rgb(path)
    height, width = photograph.shape[:2]
    corners = grid(height, width, source.crop)
    kind = "crops"
    if source.crops == "textured":
        kind = "textured crops"
        corners = [
            (top, left)
            for top, left in corners
            if texture(photograph[top : top + source.crop, left : left + source.crop]) > TEXTURE
        ]
    if len(corners) < source.per_image:
        message = f"has room for {len(corners)} {kind} of {source.crop}, not {source.per_image}; lower it"
        raise UserError(message, path=path, key="per_image")
    for number, corner in enumerate(sorted(rng.permutation(len(corners))[: source.per_image])):
        top, left = corners[corner]
        hr = target(to_tensor(photograph[top : top + source.crop, left : left + source.crop]), preset)
        lr = apply(hr, draw(preset, rng, source.crop, source.crop))
        for part, image in (("LR", lr), ("HR", hr)):
            write_png(out / part / f"{stem}_{number}.png", to_rgb(image))


def grid(height: int, width: int, side: int) -> list[tuple[int, int]]:
    """Top left corners of the squares of a centred grid, row by row."""
    rows, columns = height // side, width // side
    top, left = (height - rows * side) // 2, (width - columns * side) // 2
    return [(top + row * side, left + column * side) for row in range(rows) for column in range(columns)]
