"""A server for one study, on this machine alone or, with a token, for others."""

import errno
import ipaddress
import secrets
import socket

import uvicorn

from framer.errors import UserError
from framer.serve.app import LOCAL, application
from framer.serve.watch import Watch


def serve(watch: Watch, host: str | None, port: int) -> None:
    """Serve the page of a study until a signal ends it; the address is printed on stdout.

    Args:
        watch: the study.
        host: name or address to listen on; None for the loopback address, where no token is required.
        port: 0 to 65535; 0 for a free one.

    Raises:
        UserError: the address cannot be listened on.
    """
    listener = _listen(host or "127.0.0.1", port)
    token = secrets.token_urlsafe(24) if host else None
    address = ipaddress.ip_address(listener.getsockname()[0])
    names = LOCAL | {str(address), str(host)} if address.is_loopback else None
    config = uvicorn.Config(
        application(watch, names, token),
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=64,
        timeout_graceful_shutdown=1,
    )
    name = socket.gethostname() if address.is_unspecified else str(host or address)
    name = f"[{name}]" if ":" in name else name
    query = f"?token={token}" if token else ""
    print(f"{watch.study.name}: http://{name}:{listener.getsockname()[1]}/{query}   (Ctrl-C ends it)", flush=True)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:  # the way to end it
        print()


def _listen(host: str, port: int) -> socket.socket:
    where = f"--port {port}"
    if not 0 <= port <= 65535:  # getaddrinfo takes others for the rest of a division
        raise UserError("a port is a number from 0 to 65535", key=where)
    try:
        [(family, kind, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except (socket.gaierror, UnicodeError):
        raise UserError("no such host; give a name or address of this machine", key=f"--host {host}") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError("is in use; give another --port, or 0 for a free one", key=where, code="busy") from None
        if error.errno == errno.EACCES:
            raise UserError("needs root; give a --port from 1024 on", key=where, code="refused") from None
        raise UserError(
            f"cannot be listened on: {error.strerror}; give a name or address of this machine", key=f"--host {host}"
        ) from None
    return listener
