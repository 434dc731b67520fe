"""The server as a process, over HTTP: what it shows, whom it refuses, and that it writes nothing."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from framer.cli import main
from tests.fixtures.clone import ROOT
from tests.serve.conftest import contents

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Server:
    """`framer serve` in a process of its own, at a free port."""

    def __init__(self, folder: Path, *arguments: str):
        command = [sys.executable, "-m", "framer", "serve", "--study", "two", "--port", "0", *arguments]
        env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "HF_HUB_OFFLINE": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=folder, env=env, stdout=pipe, stderr=pipe, text=True)
        self.url = ""

    def wait(self) -> "Server":
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[1]
        return self

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, str]:
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(self.url).port or 0, timeout=30)
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer, text

    def status(self, path: str, method: str = "GET", **headers: str) -> int:
        return self.ask(path, method, **headers)[0].status


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[tuple[Server, Server]]:
    """One for this machine alone, and one that requires a token."""
    before = contents(folder)
    both = (Server(folder), Server(folder, "--host", "127.0.0.1"))
    yield both[0].wait(), both[1].wait()
    for server in both:
        server.process.send_signal(signal.SIGINT)
        _, complaints = server.process.communicate(timeout=20)
        assert (server.process.returncode, complaints) == (0, "")
    assert contents(folder) == before, "nothing is written"


@pytest.fixture
def server(servers: tuple[Server, Server]) -> Server:
    return servers[0]


def test_the_state_is_told(server: Server) -> None:
    answer, text = server.ask("/state.json")
    state: dict[str, Any] = json.loads(text)
    assert answer.status == 200 and state["report"] is True
    assert {name: state["counts"][name] for name in ("running", "failed", "unknown")} == {
        "running": 1,
        "failed": 2,
        "unknown": 1,
    }
    by_name = {job["name"]: job for job in state["jobs"]}
    assert by_name["pisa_sr-baseline-s1"]["lines"] == ["pixel: 40%| 2/5 [loss 0.5]"]
    assert by_name["pisa_sr-framer-s0"]["lines"][:2] == ["one", "[31mtwo"]


def test_curves_and_the_table_are_those_of_the_report(server: Server) -> None:
    assert "<svg" in server.ask("/curves.html")[1]
    table = server.ask("/table.html")[1]
    assert "30.50" in table and "Base &amp; &lt;b&gt;line" in table and "0 of 2 rows are scored" in table
    assert "<title>The report</title>" in server.ask("/report.html")[1]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_but_reading(server: Server, method: str) -> None:
    assert server.status("/state.json", method) == 405
    assert server.status("/", "HEAD") == 200


@pytest.mark.parametrize(
    "path",
    [
        "/secret.txt",
        "/../secret.txt",
        "/..%2fsecret.txt",
        "/report.html/../secret.txt",
        "/logs/two/train/pisa_sr-framer-s0.log",
        "//etc/passwd",
        "/config/two.yaml",
        "/report.html%00",
    ],
)
def test_no_file_is_served_by_its_path(server: Server, path: str) -> None:
    assert server.status(path) == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "[", "a@b"]
)
def test_other_names_are_refused(server: Server, host: str) -> None:
    """A page of another site, whose name was made to lead here, cannot read what is here."""
    assert server.status("/state.json", Host=host) == 403


@pytest.mark.parametrize("host", ["localhost:9999", "127.0.0.1:9999", "[::1]:9999", "LOCALHOST"])
def test_a_tunnel_may_end_at_another_port(server: Server, host: str) -> None:
    assert server.status("/state.json", Host=host) == 200


def test_a_token_is_required_where_others_may_ask(servers: tuple[Server, Server]) -> None:
    with_token = servers[1]
    query = urlsplit(with_token.url).query
    assert re.fullmatch(r"token=[\w-]{32,}", query)
    for path in ("/", "/state.json", "/table.html", "/report.html", "/none"):
        assert with_token.status(path) == with_token.status(f"{path}?token=") == 403
        assert with_token.status(f"{path}?{query[:-1]}") == with_token.status(f"{path}?token=%ff%00") == 403
    assert with_token.status(f"/state.json?{query}") == 200
    assert with_token.status(f"/state.json?{query}", Host="evil.example") == 403
    assert "?" not in servers[0].url


def test_every_answer_is_for_its_page_alone(server: Server) -> None:
    for path in ("/", "/state.json", "/curves.html", "/report.html", "/none"):
        answer, _ = server.ask(path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--study", "tow"], ["config/tow.yaml", "there are: two"]),
        (["--study", "two", "--port", "70000"], ["--port 70000"]),
        (["--study", "two", "--host", "no.such.host.invalid"], ["--host no.such.host.invalid"]),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(folder)
    assert main(["serve", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(word in error for word in words)


def test_a_port_in_use_names_the_option(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(folder)
    port = urlsplit(server.url).port
    assert main(["serve", "--study", "two", "--port", str(port)]) == 2
    assert f"--port {port}: is in use; give another --port" in capsys.readouterr().err


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: apt-get install chromium")
def test_the_page_in_a_browser(servers: tuple[Server, Server], folder: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--disable-gpu"])
        for scheme, server in zip(("light", "dark"), servers, strict=True):
            page = browser.new_page(color_scheme=scheme)
            complaints: list[str] = []
            page.on("console", lambda message, to=complaints: to.append(message.text))
            page.on("pageerror", lambda error, to=complaints: to.append(str(error)))
            page.on("request", lambda request, to=complaints, own=server.url: _other(request.url, own, to))
            page.goto(server.url)
            page.locator("#table table").wait_for()
            page.locator("#curves svg").wait_for()
            summary = page.locator("#summary").inner_text()
            assert re.fullmatch(r"\d+ of \d+ jobs done, 1 running, 2 failed, \d+ waiting, 1 unknown", summary)
            assert page.locator("#failed pre").first.inner_text().endswith("'taken'</script>"), "text stays text"
            assert page.title() != "taken" and page.locator("#failed script, #table script").count() == 0
            assert page.locator("#running").inner_text().count("pixel: 40%") == 1
            assert (
                page.get_by_role("link", name="The report")
                .evaluate("a => a.href")
                .startswith(server.url.replace("/?", "/report.html?") if "?" in server.url else server.url)
            )
            for width in (400, 1600):
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"sticks out at {width}"
                found = Axe().run(page)
                assert found.violations_count == 0, found.generate_report()
            assert complaints == []
            page.close()
        browser.close()


def _other(url: str, own: str, complaints: list[str]) -> None:
    if urlsplit(url).netloc != urlsplit(own).netloc:
        complaints.append(url)
