"""Headless Chromium over its debugging pipe: enough to open a page, press keys, drag, and hear of errors."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One page, opened from disk without a network."""

    def __init__(self, page: Path, profile: Path, size: tuple[int, int] = (1200, 900)):
        command_read, self._write = os.pipe()
        self._read, answer_write = os.pipe()
        flags = "--headless --no-sandbox --disable-gpu --remote-debugging-pipe --host-resolver-rules='MAP * ~NOTFOUND'"
        run = f"exec {CHROMIUM} {flags} --user-data-dir='{profile}' --window-size={size[0]},{size[1]}"
        self._process = subprocess.Popen(
            ["bash", "-c", f"{run} 3<&{command_read} 4>&{answer_write}"],
            pass_fds=(command_read, answer_write),
            stderr=subprocess.DEVNULL,
        )
        os.close(command_read)
        os.close(answer_write)
        self._buffer, self._number = b"", 0
        self.events: list[dict[str, Any]] = []
        self._session: str | None = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Page.navigate", url=page.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Run a command of the protocol and wait for its answer; events on the way are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._message()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def value(self, script: str) -> Any:
        """What an expression gives on the page."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key: str) -> None:
        """One key on the element that has the focus."""
        text = {"text": key} if len(key) == 1 else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Hold the left button from one point of the window to another."""
        for kind, (x, y), held in (("mousePressed", start, 1), ("mouseMoved", end, 1), ("mouseReleased", end, 0)):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=held, clickCount=1)

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of the first such element, scrolled into the window."""
        script = """(e => { e.scrollIntoView({block: "center"});
            const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })"""
        left, top, width, height = self.value(f"{script}(document.querySelector({json.dumps(selector)}))")
        return left, top, width, height

    def screenshot(self, path: Path) -> None:
        """What the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings on the console, exceptions, and requests for anything but the page itself."""
        found = [json.dumps(e["params"]) for e in self.events if e["method"] == "Runtime.exceptionThrown"]
        found += [e["params"]["entry"]["text"] for e in self.events if e["method"] == "Log.entryAdded"]
        found += [json.dumps(e["params"]["args"]) for e in self.events if e["method"] == "Runtime.consoleAPICalled"]
        asked = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return found + [url[:80] for url in asked[1:] if not url.startswith("data:")]

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._read, 1 << 20)
            assert chunk, "the browser is gone"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)
