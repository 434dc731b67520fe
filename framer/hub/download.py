"""Files from the Hugging Face hub and from the web, with the bytes that their manifest says.

The hub's client compares sizes only, and only within one call it resumes: here the sha256 is checked, too. Its cache,
offline mode, token and mirrors stay its own: HF_HOME, HF_HUB_OFFLINE, HF_TOKEN, HF_ENDPOINT.

Whoever starts a fetch, a person or a rule, need not start it again because a connection broke: `patiently` does.
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
"""What the hub's client raises of its HTTP library, which has had three names so far."""
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
_Got = TypeVar("_Got")


def patiently(attempt: Callable[[], _Got]) -> _Got:
    """Try again what fails of the network or of the other side, `len(PAUSES)` times, each with a line on stderr.

    Raises:
        Unavailable: it failed for good, or as often.
    """
    for number, pause in enumerate(PAUSES, 1):
        try:
            return attempt()
        except Passing as reason:
            print(f"framer: {reason}; trying again in {pause:.0f} s ({number} of {len(PAUSES)})", file=sys.stderr)
            time.sleep(pause)
    return attempt()


def download(remote: Remote, scratch: Path) -> Path:
    """The file on this disk, with the size and hash that are known of it.

    Addresses are asked in their order. What comes with other bytes is thrown away and fetched once more.

    Args:
        remote: what and from where.
        scratch: folder for what comes from the web; the hub's files lie in its client's cache. A partial file in it is
            resumed.

    Raises:
        Unavailable: no address gives it; one line with each one's reason.
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
    raise Unavailable(f"{where}: {fault}; it was thrown away, try later")


def _cached(file: HubFile, size: int | None) -> Path:
    """The file in the client's cache, which is asked first: a file that is there needs no network."""
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
    """Fail at once where there is no network: the client would try again for half a minute, and say nothing.

    Raises:
        Unavailable: offline mode is on.
        Passing: nothing answers at the hub's address.
    """
    if constants.HF_HUB_OFFLINE:
        raise Unavailable(f"{where}: {OUT_OF_REACH}, without HF_HUB_OFFLINE")
    url = urlsplit(constants.ENDPOINT)
    if url.scheme in urllib.request.getproxies():
        return
    try:
        socket.create_connection((url.hostname, url.port or {"http": 80}.get(url.scheme, 443)), TIMEOUT).close()
    except OSError:
        raise Passing(f"{where}: {OUT_OF_REACH}") from None


def require_space(folder: Path, size: int | None) -> None:
    """Fail before a download that the disk cannot hold.

    Raises:
        UserError: it cannot.
    """
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if size and size > free:
        raise NoSpace(f"{folder}: {in_units(size)} are needed and {in_units(free)} free; free space or set HF_HOME")


@contextmanager
def hub_errors(where: str, file: HubFile) -> Iterator[None]:
    """Turn what the hub's client raises into one line that says what to do, and keep its retries quiet.

    Raises:
        Unavailable: another source may have it.
        UserError: the disk takes no more.
    """
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    except GatedRepoError:
        raise Unavailable(
            f"{where}: gated; accept its terms on the hub (https://huggingface.co/"
            f"{'datasets/' if file.repo_type == 'dataset' else ''}{file.repo}), then set HF_TOKEN and run again"
        ) from None
    except RepositoryNotFoundError:
        raise Unavailable(f"{where}: no such {file.repo_type} on the hub, or it is private; set HF_TOKEN") from None
    except RevisionNotFoundError:
        raise Unavailable(f"{where}: the hub has no revision {file.revision}") from None
    except OfflineModeIsEnabled:
        raise Unavailable(f"{where}: {OUT_OF_REACH}") from None
    except LocalEntryNotFoundError:
        raise Passing(f"{where}: {OUT_OF_REACH}") from None
    except EntryNotFoundError:
        raise Unavailable(f"{where}: no such file at revision {file.revision}") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "nothing"
        kind = Unavailable if isinstance(status, int) and not _passes(status) else Passing
        raise kind(f"{where}: the hub answered {status}; run again later") from None
    except OSError as error:
        raise disk_error(where, error) from None
    except TRANSPORT as error:
        raise Passing(f"{where}: {one_line(error)}; run again") from None
    finally:
        log.setLevel(level)


def _passes(status: int) -> bool:
    """Whether an HTTP status may be another one soon: a server's own failure, a timeout, or too many requests."""
    return status >= 500 or status in (408, 429)


def disk_error(where: str, error: OSError) -> UserError:
    """What an `OSError` on the way to the disk means."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"{where}: the disk is full; free space or set HF_HOME, then run again")
    return Unavailable(f"{where}: {one_line(error)}; run again")


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
    raise Unavailable(f"{address}: {fault}; it was thrown away, try later")


def _resumed(address: str, part: Path) -> None:
    """`_resume`, with what it raises as one line."""
    try:
        _resume(address, part)
    except urllib.error.HTTPError as error:
        kind = Passing if _passes(error.code) else Unavailable
        raise kind(f"{address}: the server answered {error.code}") from None
    except _BROKEN as error:
        raise Passing(f"{address}: {one_line(error)}; run again") from None
    except OSError as error:
        raise disk_error(address, error) from None


def _resume(address: str, part: Path) -> None:
    """Append to `part` what is missing of the file at an address.

    Raises:
        OSError: the connection broke off, or the disk is full; what came stays.
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
            raise ConnectionError("the connection broke off")
