"""What the hub, a server or a proxy answered, as one line with what to do."""

import errno
import http.client
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants, get_token
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
from framer.hub.remote_file import HubFile, NoSpace, Passing, Unavailable, shown

OUT_OF_REACH = "not in the cache and the hub is out of reach"
TRANSPORT: type[Exception] = HfHubHTTPError.__bases__[0]  # type: ignore[assignment]
"""The base of the errors of the hub client's HTTP library, which was another library in each major version."""
_ADVICE = {
    401: "HF_TOKEN is not valid for it; set a token of https://huggingface.co/settings/tokens, or unset it",
    403: "access is refused; accept its terms on its page and allow HF_TOKEN to read it",
    404: "there is no such file; check its address",
    407: "the proxy requires a login; set HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT",
    408: "it took too long; run again",
    416: "it has fewer bytes than were received; run again",
    429: "too many requests; wait some minutes and run again",
}


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
    page = f"https://huggingface.co/{'datasets/' if file.repo_type == 'dataset' else ''}{file.repo}"
    try:
        yield
    except UserError:
        raise
    except GatedRepoError:
        message = f"gated; accept its terms on the hub ({page}), then set HF_TOKEN and run again"
        raise Unavailable(message, path=where, code="unavailable") from None
    except RepositoryNotFoundError:
        token = "set an HF_TOKEN that may read it" if get_token() is None else "HF_TOKEN gives no access to it"
        message = f"no such {file.repo_type} on the hub, or it is private and {token}"
        raise Unavailable(message, path=where, code="unavailable") from None
    except RevisionNotFoundError:
        message = f"the hub has no revision {file.revision}; name one that {page} lists"
        raise Unavailable(message, path=where, code="unavailable") from None
    except OfflineModeIsEnabled:
        raise offline(where) from None
    except LocalEntryNotFoundError:
        raise Passing(f"{OUT_OF_REACH}; run again with a network", path=where, code="unavailable") from None
    except EntryNotFoundError:
        message = f"no such file at revision {file.revision}; look at {page}"
        raise Unavailable(message, path=where, code="unavailable") from None
    except HfHubHTTPError as error:
        raise refused(error.response.status_code, where) from None
    except OSError as error:
        raise disk_error(where, error) from None
    except TRANSPORT as error:
        message = f"{OUT_OF_REACH} ({reason(error)}); check the network, the proxy and HF_ENDPOINT, then run again"
        raise Passing(message, path=where, code="unavailable") from None
    except ImportError as error:
        raise Unavailable(f"{reason(error)}; install it", path=where, code="unavailable") from None
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        # The client takes an answer of another server, or settings of a proxy, for granted.
        raise not_a_hub(where, reason(error)) from None
    finally:
        log.setLevel(level)


def check_environment(where: str) -> None:
    """Refuse settings with which no request can succeed.

    Raises:
        Unavailable: offline mode is on, or a variable of the environment is not usable.
    """
    if constants.HF_HUB_OFFLINE:
        raise offline(where)
    if urlsplit(constants.ENDPOINT).scheme not in ("http", "https"):
        message = f"{shown(constants.ENDPOINT)!r} has no scheme; write https://HOST"
        raise Unavailable(message, path=where, key="HF_ENDPOINT", code="invalid")
    if not (get_token() or "").isascii():
        raise Unavailable("holds other than ASCII characters; copy it again", path=where, key="HF_TOKEN")
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        path = os.environ.get(name)
        if path and not Path(path).exists():
            message = f"{path} does not exist; correct or unset the variable"
            raise Unavailable(message, path=where, key=name, code="missing")


def offline(where: str) -> Unavailable:
    """The error of a file that is not in the cache in offline mode."""
    message = f"{OUT_OF_REACH}; run again with a network, without HF_HUB_OFFLINE"
    return Unavailable(message, path=where, code="unavailable")


def not_a_hub(where: str, found: str) -> Unavailable:
    """The error of an answer that is no hub's, such as the page of a proxy or of a login."""
    address = shown(constants.ENDPOINT)
    message = f"{address} does not answer as a hub does ({found}); check HF_ENDPOINT and the proxy"
    return Unavailable(message, path=where, code="unavailable")


def refused(status: int, where: str) -> Unavailable:
    """The error of an HTTP status; `Passing` if it is temporary: a failed server, a timeout, too many requests."""
    kind = Passing if status >= 500 or status in (408, 429) else Unavailable
    name = http.client.responses.get(status, "an unknown status")
    advice = _ADVICE.get(status, "the server failed; run again later" if status >= 500 else "check its address")
    return kind(f"the server answered {status} ({name}): {advice}", path=where, code="unavailable")


def disk_error(where: str, error: OSError) -> UserError:
    """The user error for an `OSError` while a file is written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace("the disk is full; free space or set HF_HOME, then run again", path=where)
    return Unavailable(f"{reason(error)}; run again", path=where, code="unavailable")


def reason(error: BaseException) -> str:
    """The start of an error's message on one line, without the passwords of addresses in it."""
    return shown(one_line(error, 160))
