"""The web application: a few fixed addresses, which are read and never written to."""

import base64
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import jinja2
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from framer import report
from framer.serve.watch import Watch

FOLDER = Path(__file__).parent
STYLES = (Path(report.__file__).parent / "report.css", FOLDER / "serve.css")
COMMON = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
OUTSIDE = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Of a Content-Security-Policy: no other page frames these, and they send nothing elsewhere."""
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names of this machine in the address bar, also at the end of a tunnel."""


def application(watch: Watch, names: frozenset[str] | None = LOCAL, token: str | None = None) -> ASGIApp:
    """The application that shows a study.

    Args:
        watch: the study.
        names: host names under which it may be asked: a page of another site whose name was made to lead here cannot
            read it. None for any name.
        token: that every request must have as `?token=...`; None for none.
    """
    script = (FOLDER / "serve.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined
    )
    html = environment.get_template("serve.html.j2").render(
        study=watch.study,
        style=Markup("".join(path.read_text(encoding="utf-8") for path in STYLES)),
        script=Markup(script),
    )
    own = f"default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; {OUTSIDE}"

    def page(request: Request) -> Response:
        return HTMLResponse(html, headers={"Content-Security-Policy": own})

    def state(request: Request) -> Response:
        return JSONResponse(watch.state())

    def part(name: str) -> Callable[[Request], Response]:
        return lambda request: HTMLResponse(watch.parts[name].current())

    def finished(request: Request) -> Response:
        try:
            content = watch.study.paths.report.read_bytes()
        except OSError:
            return PlainTextResponse("The report is not made yet.", 404)
        # A report restricts its own scripts to those that it was made with.
        policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; {OUTSIDE}"
        return HTMLResponse(content, headers={"Content-Security-Policy": policy})

    routes = [
        Route("/", page),
        Route("/state.json", state),
        *(Route(f"/{name}.html", part(name)) for name in watch.parts),
        Route("/report.html", finished),
    ]
    return _Guard(Starlette(routes=routes), names, token)


class _Guard:
    """Refuses what is not from the owner's own page, before anything else looks at the request."""

    def __init__(self, app: ASGIApp, names: frozenset[str] | None, token: str | None):
        self.app, self.names, self.token = app, names, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refused = self._refused(Request(scope))
        await (refused or self.app)(scope, receive, _with_headers(send))

    def _refused(self, request: Request) -> Response | None:
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("Only GET and HEAD are answered.", 405, {"Allow": "GET, HEAD"})
        if self.names is not None and _host(request) not in self.names:
            return PlainTextResponse("This host name is not known here; use localhost.", 403)
        given = request.query_params.get("token", "").encode()
        if self.token is not None and not secrets.compare_digest(given, self.token.encode()):
            return PlainTextResponse("The token of the address that was printed is required.", 403)
        return None


def _host(request: Request) -> str | None:
    """The name in the Host header, without its port."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        return None


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    """Add to every answer what keeps it from other sites; one without a policy of its own is no page."""

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message["headers"]}
            more = COMMON | (
                {} if b"content-security-policy" in names else {"Content-Security-Policy": "default-src 'none'"}
            )
            message["headers"] += [(name.lower().encode(), value.encode()) for name, value in more.items()]
        await send(message)

    return answer
