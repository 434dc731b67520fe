"""Files from the Hugging Face hub and from the web, verified against their manifest.

The hub's client compares sizes only, and only within one call it resumes: here the SHA-256 is checked, too. Its cache,
offline mode, token and mirrors are configured as always: HF_HOME, HF_HUB_OFFLINE, HF_TOKEN, HF_ENDPOINT.

A broken connection does not end a fetch: `patiently` tries again.
"""

import errno
import http.client
import logging
import shutil
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from framer.errors import UserError, one_line
from framer.hub.remote_file import HubFile, NoSpace, Passing, Remote, Unavailable, in_units

OUT_OF_REACH = "not in the cache and the hub is out of reach; run again with a network"
TIMEOUT = 30
"""Seconds to wait for an answer."""
PAUSES = (5.0, 20.0)
"""Seconds before a second and a third try."""
TRANSPORT: type[Exception] = HfHubHTTPError.__bases__[0]  # type: ignore[assignment]
"""The base of the errors of the hub client's HTTP library, which was another library in each major version."""
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
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
    raise Unavailable("; ".join(reasons))


def _from_hub(file: HubFile, remote: Remote) -> Path:
    where = f"{file.repo}: {file.path}"
    for _ in range(2):
        path = _cached(file, remote.size)
        # The client names what it caches by the hub's ETag, which is the sha256 of a large file.
        etag = path.resolve().name
        stated = remote.model_copy(update={"sha256": etag}) if len(etag) == 64 and not remote.hashed else remote
        fault = remote.fault(path) or (stated is not remote and stated.fault(path)) or None
        if not fault:
            return path
        path.resolve().unlink()
        path.unlink(missing_ok=True)
    raise Unavailable(f"{fault}; it was deleted, try later", path=where, code="mismatch")


def _cached(file: HubFile, size: int | None) -> Path:
    """The file in the client's cache, which is searched first: a cached file needs no network."""
    where = f"{file.repo}: {file.path}"

    def ask(local: bool) -> Path:
        if not local:
            require_hub(where)
            require_space(Path(constants.HF_HUB_CACHE), size)
        with hub_errors(where, file):
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


def require_hub(where: str) -> None:
    """Fail at once without a network: the client would retry silently for half a minute.

    Raises:
        Unavailable: offline mode is on.
        Passing: nothing answers at the hub's address.
    """
    if constants.HF_HUB_OFFLINE:
        raise Unavailable(f"{OUT_OF_REACH}, without HF_HUB_OFFLINE", path=where, code="unavailable")
    url = urlsplit(constants.ENDPOINT)
    if url.scheme in urllib.request.getproxies():
        return
    try:
        socket.create_connection((url.hostname, url.port or {"http": 80}.get(url.scheme, 443)), TIMEOUT).close()
    except OSError:
        raise Passing(OUT_OF_REACH, path=where, code="unavailable") from None


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


@contextmanager
def hub_errors(where: str, file: HubFile) -> Iterator[None]:
    """Turn errors of the hub's client into one line with the remedy, and silence its retries.

    Raises:
        Unavailable: another source may have the file.
        NoSpace: the disk is full.
    """
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    except GatedRepoError:
        page = f"https://huggingface.co/{'datasets/' if file.repo_type == 'dataset' else ''}{file.repo}"
        message = f"gated; accept its terms on the hub ({page}), then set HF_TOKEN and run again"
        raise Unavailable(message, path=where, code="unavailable") from None
    except RepositoryNotFoundError:
        message = f"no such {file.repo_type} on the hub, or it is private; set HF_TOKEN"
        raise Unavailable(message, path=where, code="unavailable") from None
    except RevisionNotFoundError:
        message = f"the hub has no revision {file.revision}"
        raise Unavailable(message, path=where, code="unavailable") from None
    except OfflineModeIsEnabled:
        raise Unavailable(OUT_OF_REACH, path=where, code="unavailable") from None
    except LocalEntryNotFoundError:
        raise Passing(OUT_OF_REACH, path=where, code="unavailable") from None
    except EntryNotFoundError:
        message = f"no such file at revision {file.revision}"
        raise Unavailable(message, path=where, code="unavailable") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "nothing"
        kind = Unavailable if isinstance(status, int) and not _passes(status) else Passing
        raise kind(f"the hub answered {status}; run again later", path=where, code="unavailable") from None
    except OSError as error:
        raise disk_error(where, error) from None
    except TRANSPORT as error:
        raise Passing(f"{one_line(error)}; run again", path=where, code="unavailable") from None
    finally:
        log.setLevel(level)


def _passes(status: int) -> bool:
    """Whether an HTTP status is temporary: a failure of the server, a timeout, or too many requests."""
    return status >= 500 or status in (408, 429)


def disk_error(where: str, error: OSError) -> UserError:
    """The user error for an `OSError` while a file is written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace("the disk is full; free space or set HF_HOME, then run again", path=where)
    return Unavailable(f"{one_line(error)}; run again", path=where, code="unavailable")


def _from_web(address: str, remote: Remote, scratch: Path) -> Path:
    scratch.mkdir(parents=True, exist_ok=True)
    require_space(scratch, remote.size)
    path, part = scratch / remote.name, scratch / f"{remote.name}.part"
    if path.is_file() and not remote.fault(path):
        return path
    for _ in range(2):
        patiently(lambda: _resumed(address, part))
        fault = remote.fault(part)
        if not fault:
            part.replace(path)
            return path
        part.unlink()
    raise Unavailable(f"{fault}; it was deleted, try later", path=address, code="mismatch")


def _resumed(address: str, part: Path) -> None:
    """`_resume` with its errors as user errors."""
    try:
        _resume(address, part)
    except urllib.error.HTTPError as error:
        kind = Passing if _passes(error.code) else Unavailable
        raise kind(f"the server answered {error.code}", path=address, code="unavailable") from None
    except _BROKEN as error:
        raise Passing(f"{one_line(error)}; run again", path=address, code="unavailable") from None
    except OSError as error:
        raise disk_error(address, error) from None


def _resume(address: str, part: Path) -> None:
    """Append to `part` the missing rest of the file at an address.

    Raises:
        OSError: the connection broke, or the disk is full; the received part is kept.
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing
            return
        raise
    with answer, part.open("ab" if answer.status == 206 else "wb") as file:
        expected = int(answer.headers["Content-Length"] or -1)
        start = file.tell()
        shutil.copyfileobj(answer, file)
        if expected >= 0 and file.tell() - start != expected:
            raise ConnectionError("the connection broke")
