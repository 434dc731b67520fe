"""The store of weights: which files a model consists of, whether they are here, and what their hashes are.

Everything that is expected of the files is in the manifests (`framer.weights.manifest`). The files lie in one folder,
`$FRAMER_WEIGHTS` or `weights` in the working directory, laid out like TORCH_HOME, so that files from the caches of
pyiqa and torchvision can be copied as they are:

    OWNER--NAME/            a published pipeline
    hub/pyiqa/FILE          pyiqa's checkpoints
    hub/checkpoints/FILE    torchvision's backbones
    hub/clip/FILE           CLIP
    hub/packages/FILE       tensors of installed packages
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from framer.errors import UserError
from framer.provenance.files import write_json
from framer.provenance.hashing import sha256_file
from framer.weights.manifest import WeightsManifest

CACHE = "hub/sha256.json"


def folder() -> Path:
    """The folder of weights."""
    return Path(os.environ.get("FRAMER_WEIGHTS") or "weights")


def pipeline(name: str) -> Path:
    """The folder of a published pipeline, OWNER/NAME."""
    return folder() / name.replace("/", "--")


def files(names: Iterable[str]) -> list[str]:
    """The files in use of some manifests, relative to the folder of weights, sorted."""
    return sorted({path for name in names for path in WeightsManifest.load(name).in_use(folder())})


def embedded(name: str) -> Path | None:
    """The tensors of a package, where they are in use in place of a manifest's published files."""
    source = WeightsManifest.load(name).embedded
    return folder() / source.path if source and files([name]) == [source.path] else None


def missing(names: Iterable[str]) -> dict[str, list[str]]:
    """Those of some manifests of which a file is missing, each with its missing files."""
    found = {name: WeightsManifest.load(name).missing(folder()) for name in names}
    return {name: paths for name, paths in found.items() if paths}


def verified(names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of all files of some manifests, none of which may be missing.

    Raises:
        UserError: a file has another hash than its manifest states, or tensors of a package have.
    """
    manifests = [WeightsManifest.load(name) for name in names]
    found = hashes(files(manifest.id for manifest in manifests))
    for manifest in manifests:
        if manifest.embedded and embedded(manifest.id):
            from framer.weights.embedded import verify

            verify(manifest.embedded, folder())
            continue
        for file in manifest.files:
            if not found[file.path].startswith(file.sha256 or ""):
                raise UserError(
                    f"its SHA-256 starts with {found[file.path][:8]}, that of the published file with "
                    f"{str(file.sha256)[:8]}; delete it and run: framer fetch --weights {manifest.id}",
                    path=folder() / file.path,
                    code="mismatch",
                )
    return found


def hashes(paths: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of some files, relative to the folder of weights, whatever their manifests state.

    A gigabyte takes seconds to hash, and the workflow asks in every process that it starts: hashes are kept beside the
    weights for as long as a file's size and time of change stay.
    """
    path = folder() / CACHE
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        kept = {}
    kept = kept if isinstance(kept, dict) else {}
    found, new = {}, False
    for name in paths:
        status = (folder() / name).stat()
        key = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        entry = kept.get(name)
        if not (isinstance(entry, dict) and entry.get("status") == key):
            entry = {"status": key, "sha256": sha256_file(folder() / name)}
            kept[name], new = entry, True
        found[name] = entry["sha256"]
    if new and os.access(path.parent, os.W_OK):
        write_json(path, dict(sorted(kept.items())))
    return found
