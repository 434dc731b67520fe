"""Archives on the Hugging Face hub: downloaded at a pinned commit, hashed, and unpacked in part.

The hub client compares sizes only, so that a body of the right length with wrong bytes passes it: here the sha256 is
checked. Cache, offline mode, token and mirrors are the client's own: HF_HOME, HF_HUB_OFFLINE, HF_TOKEN, HF_ENDPOINT.
"""

import errno
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from framer.data.images import SUFFIXES
from framer.data.manifest import HubSource, Part
from framer.errors import UserError
from framer.provenance import sha256_file


def download(source: HubSource) -> Path:
    """The archive in the hub client's cache, with the bytes of the manifest.

    A cached file with other bytes is thrown away and fetched once more.

    Raises:
        UserError: it cannot be had, or the hub serves other bytes.
    """
    for _ in range(2):
        path = _cached(source)
        found = sha256_file(path) if path.stat().st_size == source.size else "a file of another size"
        if found == source.sha256:
            return path
        path.resolve().unlink()
        path.unlink(missing_ok=True)
    raise UserError(
        f"{source.repo}: {source.file} came as {found}, not with sha256 {source.sha256}; it was thrown away, try later"
    )


def _cached(source: HubSource) -> Path:
    where = f"{source.repo}: {source.file}"
    try:
        return Path(
            hf_hub_download(
                source.repo, source.file, repo_type=source.repo_type, revision=source.revision, etag_timeout=30
            )
        )
    except GatedRepoError:
        raise UserError(f"{where}: gated; accept its terms on the hub, then set HF_TOKEN and run again") from None
    except RepositoryNotFoundError:
        raise UserError(f"{where}: no such {source.repo_type} on the hub, or it is private; set HF_TOKEN") from None
    except RevisionNotFoundError:
        raise UserError(f"{where}: the hub has no commit {source.revision}") from None
    except LocalEntryNotFoundError:
        raise UserError(f"{where}: not in the cache and the hub is out of reach; run again with a network") from None
    except EntryNotFoundError:
        raise UserError(f"{where}: no such file at commit {source.revision}") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "nothing"
        raise UserError(f"{where}: the hub answered {status}; run again later") from None
    except OSError as error:
        why = "the disk is full; free space or set HF_HOME" if error.errno == errno.ENOSPC else _one_line(error)
        raise UserError(f"{where}: {why}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def extract(archive: Path, members: Mapping[Part, str], folder: Path) -> None:
    """Unpack the images under some prefixes of a zip archive, each into a flat subfolder.

    Args:
        archive: a zip file; every member's CRC is checked.
        members: subfolder of `folder`: prefix in the archive, ending in a slash.
        folder: holds the subfolders.

    Raises:
        UserError: it is no zip archive or a damaged one, a member would land elsewhere or on another one, or the disk
            takes no more.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            for part, prefix in members.items():
                for member in file.infolist():
                    if member.filename.startswith(prefix) and not member.is_dir():
                        _extract_member(file, member, member.filename.removeprefix(prefix), folder / part)
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{archive}: a damaged archive ({_one_line(error)}); delete it and fetch again") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot unpack {archive.name} ({_one_line(error)})") from None


def _extract_member(file: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, folder: Path) -> None:
    if name.startswith(".") and "/" not in name and "\\" not in name:
        return  # .DS_Store and its like
    if PurePosixPath(name).name != name or "\\" in name or Path(name).suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{file.filename}: {member.filename!r} is not an image right in its folder; nothing was unpacked"
        )
    if (folder / name).exists():
        raise UserError(f"{file.filename}: {member.filename!r} is there twice; nothing was unpacked")
    with file.open(member) as packed, (folder / name).open("wb") as out:
        shutil.copyfileobj(packed, out)
