"""Bring a data set to the disk as its manifest says, checked to the byte where hashes are known."""

from importlib import metadata
from pathlib import Path

from framer.data.images import read_rgb, write_png
from framer.data.imageset import complete, seal, staging
from framer.data.manifest import DegradedSource, EmbeddedSource, HubSource, Manifest, ManualSource
from framer.errors import UserError
from framer.provenance import CARD, sha256_file


def fetch(manifest: Manifest, datasets: Path = Path("datasets"), progress: bool = True) -> None:
    """Make `datasets/<id>/`: image folders, `index.csv`, `card.json`. What is complete is left as it is.

    Args:
        manifest: of the set.
        datasets: where sets live.
        progress: show bars on stderr.

    Raises:
        UserError: the set cannot be had, or is not what its manifest says; what was there before is unchanged.
    """
    folder = datasets / manifest.id
    if complete(folder, manifest):
        return
    match manifest.source:
        case EmbeddedSource() as source:
            with staging(folder, manifest) as scratch:
                _copy_embedded(source, scratch)
                seal(scratch, manifest, progress)
        case HubSource() as source:
            # The hub client takes long to import, and nothing else here needs it.
            from framer.data.hub import download, extract

            archive = download(source)
            with staging(folder, manifest) as scratch:
                extract(archive, source.members, scratch)
                seal(scratch, manifest, progress)
        case ManualSource():
            missing = [part for part in manifest.folders if not (folder / part).is_dir()]
            if missing:
                raise UserError(how_to_get(manifest, datasets))
            seal(folder, manifest, progress)
        case DegradedSource(of=of):
            raise UserError(f"{folder}: made from {of}; run: framer degrade {manifest.id}")


def present(manifest: Manifest, datasets: Path = Path("datasets")) -> bool:
    """Whether a set is here in some form: fetched, or its folder dropped but not verified yet."""
    folder = datasets / manifest.id
    return (folder / CARD).is_file() or any((folder / part).is_dir() for part in manifest.folders)


def how_to_get(manifest: Manifest, datasets: Path = Path("datasets")) -> str:
    """One line that says how a set comes here."""
    folder = datasets / manifest.id
    match manifest.source:
        case ManualSource(where=where, note=note):
            drop = " and ".join(f"{folder / part}/" for part in manifest.folders)
            return (
                f"{manifest.id}: put the images into {drop}, then run: framer fetch {manifest.id} ({note}; {where[0]})"
            )
        case DegradedSource():
            return f"{manifest.id}: run: framer degrade {manifest.id}"
        case _:
            return f"{manifest.id}: run: framer fetch {manifest.id}"


def _copy_embedded(source: EmbeddedSource, folder: Path) -> None:
    """Decode the photographs of an installed package into `folder/<split>/<stem>.png`, 8-bit RGB."""
    shipped = {Path(str(path)).name: path for path in metadata.files(source.package) or [] if "data" in path.parts}
    for split, files in source.splits.items():
        for name, expected in files.items():
            if name not in shipped:
                raise UserError(f"{name}: not in the installed {source.package}; install the version of the lock")
            path = Path(str(shipped[name].locate()))
            if sha256_file(path) != expected:
                raise UserError(f"{path}: not the photograph of the manifest (sha256); install {source.package} again")
            write_png(folder / split / f"{path.stem}.png", read_rgb(path))
