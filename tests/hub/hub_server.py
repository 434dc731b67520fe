"""A hub on loopback: enough of the Hugging Face protocol for the real client to download files from it."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.fixtures.clone import ROOT

IMPATIENT = os.pathsep.join((str(Path(__file__).parent / "impatient"), str(ROOT)))
"""PYTHONPATH of a process of this tree that does not wait before it tries again."""
COMMIT = "c0ffee" + "0" * 34


def blob_id(data: bytes) -> str:
    """Git's id of a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Hub:
    """What the hub serves and how it misbehaves.

    Attributes:
        repo: a repository, such as "team/sets": of data and of a model.
        files: its files at `COMMIT`.
        refuse: answer every request with this status and X-Error-Code.
        cut: break the first body off after so many bytes.
        corrupt: flip a bit in so many bodies, keeping their length.
        fail: answer so many requests with 500.
        git: name files by git's blob id, as the hub names small ones, not by their SHA-256.
        page: answer every request with this HTML, as a login or a proxy does.
        api: answer questions about the repository with this text.
        requests: "METHOD file range" of each request for a file, in order.
    """

    repo: str
    files: dict[str, bytes]
    url: str = ""
    refuse: tuple[int, str] | None = None
    cut: int | None = None
    corrupt: int = 0
    fail: int = 0
    git: bool = False
    page: bytes | None = None
    api: bytes | None = None
    requests: list[str] = field(default_factory=list)

    @contextmanager
    def serve(self) -> Iterator["Hub"]:
        """Listen on a free port of 127.0.0.1 until the block ends."""
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        hub = self.hub
        if hub.page is not None:
            return self.send(hub.page, "text/html", body)
        if self.path.startswith("/api/"):
            return self.list_files()
        asked = re.fullmatch(rf"(?:/datasets)?/{re.escape(hub.repo)}/resolve/([^/]+)/([^?]+)", self.path)
        if not asked:
            code = "RepoNotFound" if self.path.startswith("/datasets/") else "EntryNotFound"
            return self.error(404, code)
        revision, name = asked.groups()
        span = self.headers.get("Range", "")
        hub.requests.append(f"{self.command} {name} {span}".strip())
        if hub.fail:
            hub.fail -= 1
            return self.error(500, "")
        if hub.refuse:
            return self.error(*hub.refuse)
        if revision not in ("main", COMMIT):
            return self.error(404, "RevisionNotFound")
        if name not in hub.files:
            return self.error(404, "EntryNotFound")
        whole = hub.files[name]
        start = int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
        data = whole[start:]
        self.send_response(206 if span else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{blob_id(whole) if hub.git else hashlib.sha256(whole).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Accept-Ranges", "bytes")
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        self.end_headers()
        if not body:
            return None
        if hub.corrupt:
            hub.corrupt -= 1
            data = data[:-1] + bytes([data[-1] ^ 1])
        if hub.cut is not None:
            data, hub.cut = data[: hub.cut], None
            self.close_connection = True
        self.wfile.write(data)
        return None

    def list_files(self) -> None:
        """What a repository holds: its description, or its tree."""
        hub = self.hub
        if hub.refuse:
            return self.error(*hub.refuse)
        asked = re.fullmatch(
            rf"/api/(?:models|datasets)/{re.escape(hub.repo)}/(revision|tree)/([^/?]+)(?:\?.*)?", self.path
        )
        if not asked:
            return self.error(404, "RepoNotFound")
        if hub.api is not None:
            return self.send(hub.api, "application/json", True)
        what, revision = asked.groups()
        if revision not in ("main", COMMIT):
            return self.error(404, "RevisionNotFound")
        entries = [{"type": "file", "path": n, "size": len(d), "oid": blob_id(d)} for n, d in hub.files.items()]
        siblings = [
            {"rfilename": n, "blobId": blob_id(d)}
            if hub.git
            else {"rfilename": n, "lfs": {"sha256": hashlib.sha256(d).hexdigest(), "size": len(d), "pointerSize": 130}}
            for n, d in hub.files.items()
        ]
        about = {"id": hub.repo, "sha": COMMIT, "siblings": siblings}
        return self.send(json.dumps(about if what == "revision" else entries).encode(), "application/json", True)

    def send(self, data: bytes, kind: str, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def error(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
