"""Files from the Hugging Face hub and from the web, verified against their manifest.

The hub's client compares sizes only, and only within one call it resumes: here the SHA-256 is checked, too. Its cache,
offline mode, token and mirrors are configured as always: HF_HOME, HF_HUB_OFFLINE, HF_TOKEN, HF_ENDPOINT.

A broken connection does not end a fetch: `patiently` tries again.
"""

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.utils import get_session

from framer.hub.hub_errors import TRANSPORT, check_environment, disk_error, hub_errors, not_a_hub, reason, refused
from framer.hub.remote_file import HubFile, NoSpace, Passing, Remote, Unavailable, in_units, shown
from framer.provenance.hashing import git_blob_id

TIMEOUT = 30
"""Seconds to wait for an answer."""
PAUSES = (5.0, 20.0)
"""Seconds before a second and a third try."""
PAGE = (b"<!doctype html", b"<html")
"""How a web page begins, which logins and proxies send in place of a file."""
_Got = TypeVar("_Got")


def patiently(attempt: Callable[[], _Got]) -> _Got:
    """Retry an attempt that the network or the server made fail, `len(PAUSES)` times, each with a line on stderr.

    Raises:
        Unavailable: it failed permanently, or at every attempt.
    """
    for number, pause in enumerate(PAUSES, 1):
        try:
            return attempt()
        except Passing as reason:
            print(f"framer: {reason}; trying again in {pause:.0f} s ({number} of {len(PAUSES)})", file=sys.stderr)
            time.sleep(pause)
    return attempt()


def download(remote: Remote, scratch: Path) -> Path:
    """Download a file, or find it in the cache, and verify its size and hash as far as they are known.

    Addresses are tried in their order. A file with other bytes is deleted and fetched once more.

    Args:
        remote: addresses, size and hash of the file.
        scratch: folder for files from the web; those of the hub lie in its client's cache. A partial file in it is
            resumed.

    Returns:
        The path of the file.

    Raises:
        Unavailable: no address provides it; one line with the reason of each.
    """
    reasons = []
    for address in remote.at:
        try:
            if address.startswith("hf://"):
                return _from_hub(HubFile.parse(address), remote)
            return _from_web(address, remote, scratch)
        except Unavailable as reason:
            reasons.append(str(reason))
    raise Unavailable("; ".join(reasons), code="unavailable")


def _from_hub(file: HubFile, remote: Remote) -> Path:
    where = f"{file.repo}: {file.path}"
    for _ in range(2):
        path = _cached(file, remote.size)
        fault = remote.fault(path) or _blob_fault(path.resolve()) or _page_fault(path)
        if not fault:
            return path
        path.resolve().unlink()
        path.unlink(missing_ok=True)
    raise Unavailable(f"{fault}; it was deleted, run again later", path=where, code="mismatch")


def _blob_fault(blob: Path) -> str | None:
    """How a cached file differs from its name, the hub's ETag: the SHA-256 of a large file, git's id of any other."""
    if len(blob.name) == 64:
        return Remote(at=["hf://a/b/c"], size=None, sha256=blob.name).fault(blob)
    if len(blob.name) == 40 and (found := git_blob_id(blob)) != blob.name:
        return f"its git id is {found}, not {blob.name}"
    return None


def _page_fault(path: Path) -> str | None:
    with path.open("rb") as file:
        return "is a web page, not the file" if file.read(512).lstrip().lower().startswith(PAGE) else None


def _cached(file: HubFile, size: int | None) -> Path:
    """The file in the client's cache, which is searched first: a cached file needs no network."""
    where = f"{file.repo}: {file.path}"

    def ask(local: bool) -> Path:
        if not local:
            check_environment(where)
            require_space(Path(constants.HF_HUB_CACHE), size)
        with hub_errors(where, file):
            if not local:
                # Unlike a download, this is one request, and its error is the hub's own.
                url = hf_hub_url(file.repo, file.path, repo_type=file.repo_type, revision=file.revision)
                about = get_hf_file_metadata(url, timeout=TIMEOUT)
                if about.commit_hash is None or about.etag is None:
                    raise not_a_hub(where, "an answer without commit or ETag")
            return Path(
                hf_hub_download(
                    file.repo,
                    file.path,
                    repo_type=file.repo_type,
                    revision=file.revision,
                    etag_timeout=TIMEOUT,
                    local_files_only=local,
                )
            )

    try:
        return ask(local=True)
    except Unavailable:
        return patiently(lambda: ask(local=False))


def require_space(folder: Path, size: int | None) -> None:
    """Fail before a download that is larger than the free space.

    Raises:
        NoSpace: it is.
    """
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if size and size > free:
        message = f"{in_units(size)} are needed and {in_units(free)} free; free space or set HF_HOME"
        raise NoSpace(message, path=folder)


def _from_web(address: str, remote: Remote, scratch: Path) -> Path:
    scratch.mkdir(parents=True, exist_ok=True)
    require_space(scratch, remote.size)
    path, part = scratch / remote.name, scratch / f"{remote.name}.part"
    if path.is_file() and not (remote.fault(path) or _page_fault(path)):
        return path
    for _ in range(2):
        patiently(lambda: _resumed(address, part, remote.size))
        fault = remote.fault(part) or _page_fault(part)
        if not fault:
            part.replace(path)
            return path
        part.unlink()
    raise Unavailable(f"{fault}; it was deleted, run again later", path=shown(address), code="mismatch")


def _resumed(address: str, part: Path, size: int | None) -> None:
    """`_resume` with its errors as user errors."""
    where = shown(address)
    try:
        _resume(address, part, size)
    except TRANSPORT as error:
        message = f"{reason(error)}; check the network and the proxy, then run again"
        raise Passing(message, path=where, code="unavailable") from None
    except (ImportError, ValueError) as error:  # settings of a proxy
        raise Unavailable(f"{reason(error)}; check the proxy", path=where, code="unavailable") from None
    except OSError as error:
        raise disk_error(where, error) from None


def _resume(address: str, part: Path, size: int | None) -> None:
    """Append to `part` the missing rest of the file at an address.

    The hub's session is used, which knows the proxies of the environment, SOCKS included.

    Args:
        address: http or https.
        part: the file so far.
        size: bytes of the whole file; None where it is not known.

    Raises:
        Unavailable: the server refused, or sent a web page or more than `size`.
        OSError: the disk is full; the received part is kept, as when the connection broke.
    """
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    where = shown(address)
    with get_session().stream("GET", address, headers=headers, timeout=TIMEOUT, follow_redirects=True) as answer:
        if answer.status_code == 416 and have:  # nothing is missing
            return
        if answer.status_code not in (200, 206):
            raise refused(answer.status_code, where)
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            message = "the server sent a web page, not the file; open its address in a browser, or check the proxy"
            raise Unavailable(message, path=where, code="unavailable")
        with part.open("ab" if answer.status_code == 206 else "wb") as file:
            for block in answer.iter_raw():
                file.write(block)
                if size is not None and file.tell() > size:
                    file.truncate(0)
                    raise Unavailable(f"sends more than {size} bytes; it was stopped", path=where, code="mismatch")
