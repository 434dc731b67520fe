"""Download model weights as their manifest describes them, every file hashed."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelInfo, snapshot_download

from framer.errors import UserError, named
from framer.hub.download import TIMEOUT, download, patiently
from framer.hub.hub_errors import check_environment, disk_error, hub_errors, not_a_hub
from framer.hub.remote_file import HubFile, Unavailable
from framer.provenance.cards import CARD, read_card, verify_payload, write_card
from framer.provenance.files import write_json
from framer.provenance.hashing import git_blob_id, sha256_file
from framer.provenance.lock import exclusive
from framer.provenance.output import claimed_file
from framer.weights.embedded import convert, verify
from framer.weights.lock_file import accept, locked
from framer.weights.manifest import WeightFile, WeightsManifest

# Files that `from_pretrained` reads for safetensors; pickles, half precision and copies of text encoders for other
# programs are not fetched. A pipeline of diffusers has its weights in subfolders, and at the root single-file
# checkpoints for other programs; a model of transformers has them at the root, and no index of parts.
INDEX, CONFIG, SHARDS = "model_index.json", "config.json", "model.safetensors.index.json"
PIPELINE = ["*.json", "*.txt", "*.model", "*/*.safetensors"]
MODEL = ["*.json", "*.txt", "*.model", "*.jinja", "*.safetensors"]
OTHERS = ["*.fp16.safetensors", "*.fp16-*.safetensors", "text_encoders/*"]


def fetch_weights(
    manifest: WeightsManifest, folder: Path, out: Path | None = None, *, accept_hash: bool = False
) -> None:
    """Fetch the files, or the pipeline, and write a card that records every file's SHA-256.

    Single files come from the first of: the folder of weights, the addresses of the manifest, an installed package. The
    card names the package.

    The card makes the first fetch binding: a later fetch that gets other bytes fails.

    Args:
        manifest: manifest of the model.
        folder: the folder of weights.
        out: folder of a pipeline; `folder/<id>` by default.
        accept_hash: accept the hash that a file of a network has, where its publisher states none, and keep it in a
            lock beside the file; see `framer.weights.lock_file`.

    Raises:
        UserError: it cannot be downloaded, differs from its manifest, card or lock, or its hash is neither published
            nor accepted; existing files are unchanged.
    """
    home = (out if manifest.pipeline else None) or folder / manifest.id
    with exclusive(home / ".lock", home, wait=True):
        if manifest.pipeline:
            _fetch_pipeline(manifest, home)
        else:
            _fetch_files(manifest, folder, accept_hash)


def fetch_available(manifests: Iterable[WeightsManifest], folder: Path, failures: Path) -> None:
    """Fetch some weights, and go on without those that neither network nor package provides.

    Args:
        manifests: manifests of the models.
        folder: the folder of weights.
        failures: JSON file for the names that were not fetched, each with the reason; written in any case.

    Raises:
        UserError: weights that are here differ from their manifest or card, the disk is full, or the file is not of
            this command.
    """
    with claimed_file(failures, _lists_failures):
        found = {}
        for manifest in manifests:
            try:
                fetch_weights(manifest, folder)
            except Unavailable as reason:
                print(f"framer: not fetched: {reason}", file=sys.stderr)
                found[manifest.id] = str(reason)
        write_json(failures, {"failures": found})


def _lists_failures(path: Path) -> bool:
    try:
        return json.loads(path.read_text(encoding="utf-8")).keys() == {"failures"}
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _fetch_files(manifest: WeightsManifest, folder: Path, accept_hash: bool) -> None:
    home = folder / manifest.id
    recorded = manifest.recorded(folder)
    source = manifest.embedded
    if (unaccepted := manifest.unaccepted(folder)) and not accept_hash:
        if any(not file.at and not (folder / file.path).is_file() for file in manifest.files):
            raise UserError(manifest.how_to_get(folder), code="missing")
        raise _not_published(unaccepted[0], manifest, folder)
    if source and manifest.in_use(folder) == [source.path]:
        verify(source, folder)
    else:
        try:
            _fetch_published(manifest, folder)
        except Unavailable:
            if not (source and source.located()):
                raise
            convert(source, folder)
            taken = f"its tensors are those of the installed package {source.package} {source.version}"
            print(f"framer: {manifest.id}: {taken}", file=sys.stderr)
    for file in unaccepted:
        print(f"framer: {file.path}: accepted, SHA-256 {accept(folder / file.path)}", file=sys.stderr)
    in_use = manifest.in_use(folder)
    names = [os.path.relpath(folder / path, home) for path in in_use]
    if recorded:
        verify_payload(home, recorded)
        if recorded["payload"].keys() == set(names):
            return
    home.mkdir(parents=True, exist_ok=True)  # its card names files beside it
    origin: dict[str, Any] = {}
    if source and in_use == [source.path]:
        origin["embedded"] = source.model_dump(exclude={"tensors"})
    if manifest.unpublished():
        origin["hash"] = "not published"
    write_card(home, "weights", names, weights=manifest.id, **origin)


def _not_published(file: WeightFile, manifest: WeightsManifest, folder: Path) -> UserError:
    path = folder / file.path
    found = f"; that of the file here is {sha256_file(path)}" if path.is_file() else ""
    message = f"no SHA-256 of it is published{found}; to trust it, run: framer fetch --weights {manifest.id}"
    return UserError(f"{message} --accept-hash", path=path, code="refused")


def _fetch_published(manifest: WeightsManifest, folder: Path) -> None:
    for file in manifest.files:
        path = folder / file.path
        if manifest.loader and not file.hashed:
            file = file.model_copy(update={"sha256": locked(path) or file.sha256})
        if path.is_file():
            if fault := file.fault(path):
                message = f"{fault}; delete it and run: framer fetch --weights {manifest.id}"
                raise UserError(message, path=path, code="mismatch")
            continue
        if not file.at:
            raise UserError(manifest.how_to_get(folder), code="missing")
        try:
            got = download(file, folder / ".download" / manifest.id)
        except Unavailable as reason:
            manual = f"; or download it manually: {manifest.where[0]}" if manifest.where else ""
            raise Unavailable(f"{manifest.id}: {reason}{manual}", code="unavailable") from None
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{manifest.id}.part")  # another manifest may list it, too
        try:
            shutil.copyfile(got, part)
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise disk_error(str(path), error) from None
    shutil.rmtree(folder / ".download" / manifest.id, ignore_errors=True)


def _fetch_pipeline(manifest: WeightsManifest, out: Path) -> None:
    if (out / CARD).is_file():
        return verify_payload(out, read_card(out, "base"))
    dropped = (out / INDEX).is_file() or (out / CONFIG).is_file()
    if dropped and not (out / ".cache").exists():  # which the hub's client leaves, also when it is interrupted
        return _take_dropped(manifest, out)
    reasons = []
    for address in manifest.pipeline:
        try:
            return _fetch_repository(HubFile.parse(address), out)
        except Unavailable as reason:
            reasons.append(str(reason))
    manual = f"; or download it manually into {out}: {manifest.where[0]}" if manifest.where else ""
    raise UserError("; ".join(reasons) + manual, code="unavailable")


def _take_dropped(manifest: WeightsManifest, out: Path) -> None:
    """Check a pipeline or model that the user put there against its own index, and write its card."""
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    index = next((name for name in (INDEX, SHARDS) if name in files), None)
    try:
        parts = json.loads((out / index).read_text(encoding="utf-8")) if index else {}
        if index == INDEX:
            named = {name for name, kind in parts.items() if isinstance(kind, list) and kind[0]}
        else:
            named = set(parts["weight_map"].values()) if index else {"model.safetensors"}
    except (OSError, ValueError, AttributeError, LookupError, TypeError, RecursionError):
        raise UserError("damaged; copy the model there again", path=out / str(index), code="unreadable") from None
    if missing := [name for name in sorted(named) if not (out / name).exists()]:
        why = f", which its {index} lists" if index else ""
        raise UserError(f"{', '.join(missing)} is missing{why}; copy it there", path=out, code="missing")
    write_card(out, "base", _wanted(files), repo=manifest.id, revision=None, commit=None)


def _patterns(names: list[str]) -> list[str]:
    return PIPELINE if INDEX in names else MODEL


def _wanted(names: list[str]) -> list[str]:
    """The files of a pipeline or model that are read."""
    patterns = _patterns(names)
    wanted = [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]
    return [name for name in wanted if not any(fnmatch(name, other) for other in OTHERS) and name != CARD]


def _fetch_repository(file: HubFile, out: Path) -> None:
    where = f"{file.repo}@{file.revision}"

    def ask() -> ModelInfo:
        check_environment(where)
        with hub_errors(where, file):
            # A branch can move during the download: all files come from its present commit.
            info = HfApi().model_info(file.repo, revision=file.revision, files_metadata=True, timeout=TIMEOUT)
            if not (info.siblings and re.fullmatch("[0-9a-f]{40}", info.sha or "")):
                raise not_a_hub(where, "a description without commit or files")
            patterns = _patterns([one.rfilename for one in info.siblings or []])
            snapshot_download(
                file.repo, revision=info.sha, local_dir=out, allow_patterns=patterns, ignore_patterns=OTHERS
            )
            return info

    info = patiently(ask)
    # Only files of this repository: one that was tried before may have left others here.
    payload = _wanted(sorted(one.rfilename for one in info.siblings or []))
    if not any(name.endswith(".safetensors") for name in payload):
        message = "has no safetensors weights; name a pipeline of diffusers or a model of transformers"
        raise UserError(message, path=where)
    stated = {one.rfilename: one.lfs.sha256 if one.lfs else one.blob_id for one in info.siblings or []}
    if wrong := [name for name in payload if not _has_hash(out / name, stated[name])]:
        for name in wrong:
            (out / name).unlink()
        message = f"{named(wrong)}: another hash than the hub states; deleted, run again later"
        raise Unavailable(message, path=where, code="mismatch")
    write_card(out, "base", payload, repo=file.repo, revision=file.revision, commit=info.sha)


def _has_hash(path: Path, stated: str | None) -> bool:
    """Whether a file has the hash that the hub states: the SHA-256 of a large file, git's id of any other."""
    if stated is None:
        return True
    return stated == (git_blob_id(path) if len(stated) == 40 else sha256_file(path))
