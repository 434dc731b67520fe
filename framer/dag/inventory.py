"""Which of all sets and weights are on this machine."""

from pathlib import Path

from framer.data.fetch import present
from framer.data.image_folder import complete
from framer.data.manifest import Manifest
from framer.errors import UserError
from framer.hub.remote_file import in_units
from framer.weights.manifest import WeightsManifest
from framer.weights.store import folder


def inventory(datasets: Path, sets: list[str], weights: list[str]) -> tuple[list[str], bool]:
    """One line each: name, state, bytes to download, license.

    A set is `here` (complete), `dropped` (downloaded manually, not verified by `framer fetch` yet) or `missing`. Names
    and counts are compared, no hashes.

    Args:
        datasets: where sets live.
        sets, weights: names; with neither, all that have a manifest.

    Returns:
        The lines, and whether anything is not here.

    Raises:
        UserError: a manifest is missing or cannot be read, or there are none.
    """
    if not sets and not weights:
        sets, weights = sorted(path.stem for path in datasets.glob("*.yaml")), WeightsManifest.known()
    rows = []
    for name in sets:
        manifest = Manifest.load(name, datasets)
        if complete(datasets / name, manifest):
            state = "here"
        else:
            state = "dropped" if manifest.manual_source and present(manifest, datasets) else "missing"
        rows.append((name, state, _size(manifest.size), _terms(manifest), _command(manifest)))
    for name in weights:
        model = WeightsManifest.load(name)
        state = "missing" if model.missing(folder()) else "here"
        way = (
            "download it manually, then: framer fetch --weights"
            if any(not file.at for file in model.files)
            else "framer fetch --weights"
        )
        rows.append((model.id, state, _size(model.size), _terms(model), f"{way} {name}"))
    if not rows:
        message = "no manifests of sets or weights; run this at the root of the repository"
        raise UserError(message, path=datasets, code="missing")
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        + (f"  [{row[4]}]" if row[1] != "here" else "")
        for row in rows
    ]
    return lines, any(row[1] != "here" for row in rows)


def _size(size: int | None) -> str:
    return "size unknown" if size is None else in_units(size)


def _terms(manifest: Manifest | WeightsManifest) -> str:
    return manifest.license + (" (gated: needs HF_TOKEN)" if manifest.gated else "")


def _command(manifest: Manifest) -> str:
    if manifest.derived_from:
        return f"framer degrade {manifest.id}"
    return f"{'download it manually, then: ' if manifest.manual else ''}framer fetch {manifest.id}"
