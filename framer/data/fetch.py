"""Fetch a data set as its manifest describes it, verified to the byte where hashes are known."""

import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from framer.data.archive import extract, is_archive
from framer.data.image_folder import check, complete, seal, staging
from framer.data.images import INDEX, read_rgb, write_png
from framer.data.manifest import (
    ArchiveSource,
    DegradedSource,
    EmbeddedSource,
    FilesSource,
    Manifest,
    ManualSource,
    PackagesSource,
    Photograph,
)
from framer.errors import UserError
from framer.hub.remote_file import NoSpace, Remote, Unavailable
from framer.provenance.cards import CARD, read_card
from framer.provenance.hashing import sha256_file
from framer.provenance.lock import exclusive


def fetch(manifest: Manifest, datasets: Path = Path("datasets"), progress: bool = True) -> None:
    """Make `datasets/<id>/`: image folders, `index.csv`, `card.json`.

    A complete set is left as it is. Files of others in its folders are refused; another process that fetches the same
    set is waited for. Manually downloaded folders or archives are used first, then the manifest's sources in order.

    Args:
        manifest: of the set.
        datasets: where sets live.
        progress: show bars on stderr.

    Raises:
        UserError: no source has the set as its manifest describes it; what was there before is unchanged.
    """
    folder = datasets / manifest.id
    if complete(folder, manifest):
        return
    with exclusive(folder / ".lock", folder, wait=True):
        # Another process may have fetched it meanwhile.
        if not complete(folder, manifest) and not _take_dropped(manifest, folder, progress):
            _from_sources(manifest, folder, progress)


def _from_sources(manifest: Manifest, folder: Path, progress: bool) -> None:
    reasons = []
    for source in manifest.sources:
        try:
            match source:
                case EmbeddedSource():
                    with staging(folder, manifest) as scratch:
                        _copy_embedded(source, scratch)
                        seal(scratch, manifest, source, progress)
                case PackagesSource():
                    found = _installed(manifest, source, folder)
                    with staging(folder, manifest) as scratch:
                        _copy_reduced(manifest, source, found, scratch, progress)
                        seal(scratch, manifest, source, progress)
                case ArchiveSource():
                    _fetch_archives(manifest, source, folder, progress)
                case FilesSource():
                    _fetch_files(manifest, source, folder, progress)
                case ManualSource():
                    raise Unavailable(_how_to_download(manifest, source, folder))
                case DegradedSource(of=of):
                    raise UserError(f"made from {of}; run: framer degrade {manifest.id}", path=folder)
            return
        except Unavailable as reason:
            reasons.append(str(reason))
        except UserError as reason:
            # The download differs from the manifest: another source may be right.
            if isinstance(reason, NoSpace) or not isinstance(source, ArchiveSource | FilesSource):
                raise
            reasons.append(str(reason))
    raise UserError("; ".join(reasons), code="unavailable")


def _take_dropped(manifest: Manifest, folder: Path, progress: bool) -> bool:
    """Use a manual download, if there is one: an archive is unpacked, folders are sealed in place."""
    source = manifest.manual_source
    if source is None or not folder.is_dir():
        return False
    if archives := sorted(path for path in folder.iterdir() if is_archive(path)):
        _check_dropped(manifest, archives)
        with staging(folder, manifest) as scratch:
            for archive in archives:
                extract(archive, {part: source.inside(part) for part in source.folders}, scratch, manifest.count)
            seal(scratch, manifest, source, progress, archives={path.name: sha256_file(path) for path in archives})
        return True
    if not all((folder / part).is_dir() for part in manifest.folders):
        return False
    try:
        seal(folder, manifest, source, progress, hashed=True)
    except UserError as error:
        # An index is ours: what lies here was fetched once and has lost something since. It can be fetched again.
        if (folder / INDEX).is_file() and not manifest.manual:
            return False
        message = f"{error.message}; correct it or delete {folder}, then run: framer fetch {manifest.id}"
        raise UserError(message, path=error.path, key=error.key, code=error.code) from None
    return True


def _check_dropped(manifest: Manifest, archives: list[Path]) -> None:
    """An archive that the manifest knows must have its size and hash."""
    known = {file.name: file for source in manifest.sources if source.kind == "archive" for file in source.files}
    for path in archives:
        if path.name in known and (fault := known[path.name].fault(path)):
            raise UserError(f"{fault}; delete it and put the right one there", path=path, code="mismatch")
    dropped = {path.name for path in archives}
    if dropped & known.keys() and (missing := known.keys() - dropped):
        message = f"{', '.join(sorted(missing))} missing; put them beside {', '.join(sorted(dropped))}"
        raise UserError(message, path=archives[0].parent, code="missing")


def _fetch_archives(manifest: Manifest, source: ArchiveSource, folder: Path, progress: bool) -> None:
    # The hub client takes long to import, and nothing else here needs it.
    from framer.hub.download import download

    recorded = _recorded(folder)
    with staging(folder, manifest) as scratch:
        hashes: dict[str, str] = {}
        for file in source.files:
            archive = download(file, _downloads(folder))
            hashes[file.name] = sha256_file(archive)
            if recorded.get(file.name, hashes[file.name]) != hashes[file.name]:
                shutil.rmtree(_downloads(folder), ignore_errors=True)
                message = f"not the file that {folder / CARD} records; delete that card to accept the new one"
                raise UserError(message, path=file.at[0], code="mismatch")
            extract(archive, source.members, scratch, manifest.count)
        # An archive of known hash is what it should be; of another one the images must be.
        seal(scratch, manifest, source, progress, hashed=not all(file.hashed for file in source.files), archives=hashes)
    shutil.rmtree(_downloads(folder), ignore_errors=True)


def _downloads(folder: Path) -> Path:
    """Where downloads from the web wait, outside of the set, for this call or the next."""
    return folder.parent / ".download" / folder.name


def _recorded(folder: Path) -> dict[str, str]:
    """The hashes of archives that an earlier fetch recorded."""
    return dict(read_card(folder, "images").get("archives", {})) if (folder / CARD).is_file() else {}


def _fetch_files(manifest: Manifest, source: FilesSource, folder: Path, progress: bool) -> None:
    from framer.hub.download import download

    cache = _downloads(folder)
    files = [(part, name, sha) for part in source.at for name, sha in manifest.images[part].items()]
    with staging(folder, manifest) as scratch:
        for part, name, sha256 in tqdm(files, f"fetch {manifest.id}", unit="image", disable=not progress):
            remote = Remote(at=[source.at[part] + name], size=None, sha256=sha256)
            shutil.copyfile(download(remote, cache / part), scratch / part / name)
        seal(scratch, manifest, source, progress, hashed=True)
    shutil.rmtree(_downloads(folder), ignore_errors=True)


UNPACKED = "packages"
"""Where a user who does not install packages unpacks them, in the folder of a set."""
SYSTEM = Path("/")


def _installed(manifest: Manifest, source: PackagesSource, folder: Path) -> dict[str, Path]:
    """The files of packages, by their names in the manifest: unpacked beside the set, or installed.

    Raises:
        Unavailable: one is missing or has another size.
    """
    found: dict[str, Path] = {}
    for photographs in source.splits.values():
        for one in photographs:
            paths = (root / source.folder / one.file for root in (folder / UNPACKED, SYSTEM))
            path = next((path for path in paths if path.is_file() and path.stat().st_size == one.size), None)
            if path is None:
                raise Unavailable(_by_packages(manifest, source, folder, one))
            found[one.file] = path
    return found


def _by_packages(manifest: Manifest, source: PackagesSource, folder: Path, missing: Photograph) -> str:
    names = " ".join(source.packages)
    unpack = f"for p in *.deb; do dpkg-deb -x $p {folder / UNPACKED}; done"
    return (
        f"{manifest.id}: no {missing.file} of {missing.size} bytes; run as root: apt-get install {names}; or without "
        f"root, in an empty folder: apt-get download {names} && {unpack}; then run: framer fetch {manifest.id}"
    )


def _copy_reduced(
    manifest: Manifest, source: PackagesSource, found: dict[str, Path], folder: Path, progress: bool
) -> None:
    """Decode photographs of packages into `folder/<split>/<stem>.png`, reduced where they are large (Lanczos)."""
    photographs = [(split, one) for split, several in source.splits.items() for one in several]
    for split, one in tqdm(photographs, f"fetch {manifest.id}", unit="image", disable=not progress):
        path = found[one.file]
        if sha256_file(path) != one.sha256:
            raise UserError(f"{path}: not the photograph of the manifest (sha256); take the packages of Debian 12")
        image = Image.fromarray(read_rgb(path))
        image.thumbnail((source.longest, source.longest), Image.Resampling.LANCZOS, reducing_gap=None)
        write_png(folder / split / f"{one.stem}.png", np.asarray(image))


def present(manifest: Manifest, datasets: Path = Path("datasets")) -> bool:
    """Whether a set is here: fetched, or supplied: installed, or downloaded manually (an archive, or whole folders)."""
    folder = datasets / manifest.id
    if (folder / CARD).is_file():
        return True
    source = manifest.sources[0]
    if isinstance(source, PackagesSource):
        try:
            return bool(_installed(manifest, source, folder))
        except Unavailable:
            return False
    return _dropped_fault(manifest, folder) is None


def _dropped_fault(manifest: Manifest, folder: Path) -> str | None:
    """What is wrong with a manual download, by names alone."""
    if folder.is_dir() and any(is_archive(path) for path in folder.iterdir()):
        return None
    try:
        check(folder, manifest)
    except UserError as error:
        return str(error)
    return None


def how_to_get(manifest: Manifest, datasets: Path = Path("datasets")) -> str:
    """One line of instructions for a missing set."""
    if manifest.manual and manifest.manual_source:
        return _how_to_download(manifest, manifest.manual_source, datasets / manifest.id)
    source = manifest.sources[0]
    if isinstance(source, PackagesSource):
        return _by_packages(manifest, source, datasets / manifest.id, next(iter(source.splits.values()))[0])
    return f"{manifest.id}: run: framer {'degrade' if manifest.derived_from else 'fetch'} {manifest.id}"


def _how_to_download(manifest: Manifest, source: ManualSource, folder: Path) -> str:
    drop = " and ".join(f"{folder / part}/" for part in manifest.folders)
    begun = any((folder / part).is_dir() for part in manifest.folders)
    state = f"incomplete ({_dropped_fault(manifest, folder)}); " if begun else ""
    return (
        f"{manifest.id}: {state}put the images into {drop}, or their archive into {folder}/, then run: "
        f"framer fetch {manifest.id} ({source.note}; {source.where[0]})"
    )


def _copy_embedded(source: EmbeddedSource, folder: Path) -> None:
    """Decode the photographs of an installed package into `folder/<split>/<stem>.png`, 8-bit RGB."""
    shipped = {Path(str(path)).name: path for path in metadata.files(source.package) or [] if "data" in path.parts}
    for split, files in source.splits.items():
        for name, expected in files.items():
            if name not in shipped:
                message = f"not in the installed {source.package}; install the version of the lock"
                raise UserError(message, path=name, code="missing")
            path = Path(str(shipped[name].locate()))
            if sha256_file(path) != expected:
                message = f"not the photograph of the manifest (sha256); install {source.package} again"
                raise UserError(message, path=path, code="mismatch")
            write_png(folder / split / f"{path.stem}.png", read_rgb(path))
