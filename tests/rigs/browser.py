"""A headless Chromium, by its DevTools protocol: opens pages, and takes pictures of them."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from rigs.brokers import free_port

PATIENCE_S = 60.0
DEEP_TEXT = """
(function () {
  const said = [];
  (function walk(node) {
    if (node.nodeType === 3) said.push(node.textContent);
    if (node.shadowRoot) walk(node.shadowRoot);
    for (const child of node.childNodes || []) walk(child);
  })(document.body);
  return said.join(" ").replace(/\\s+/g, " ");
})()
"""
"""All text of a page, that of its shadow trees included."""


class Browser:
    """One page of a browser."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._number = 0

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """Give the result of a command of the protocol."""
        self._number += 1
        self._line.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._line.recv(PATIENCE_S))
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    def run(self, script: str) -> Any:
        """Give the value of a script in the page."""
        done = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        return done["result"].get("value")

    def open(self, address: str, *, until: str) -> None:
        """Open a page, and wait until it says something."""
        self.ask("Page.navigate", url=address)
        give_up_s = time.monotonic() + PATIENCE_S
        while until not in (said := str(self.run(DEEP_TEXT))):
            if time.monotonic() > give_up_s:
                pytest.fail(f"{address} never says {until!r}: {said[:2000]}")
            time.sleep(0.3)
        time.sleep(1.5)  # what moves on a page comes to rest

    def picture(self, path: Path, *, height: int | None = None, left: int = 0) -> None:
        """Write what is seen as a PNG: its upper part, right of `left`, where that is enough."""
        wide, high = self.run("[innerWidth, innerHeight]")
        clip = {"x": left, "y": 0, "width": wide - left, "height": height or high, "scale": 1}
        shot = self.ask("Page.captureScreenshot", format="png", clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(*, width: int, height: int) -> Iterator[Browser]:
    """Run a browser for the length of a block; skips where there is none."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("pictures need a browser (Debian: chromium)")
    port = free_port()
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
    # Its helpers still write there for a moment after it is gone.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                program,
                *options,
                f"--remote-debugging-port={port}",
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with connect(_page(port), max_size=None, proxy=None) as line:
                page = Browser(line)
                page.ask("Page.enable")
                yield page
        finally:
            process.kill()
            process.wait()


def _page(port: int) -> str:
    """Give the address of the browser's page, as soon as it has one."""
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5) as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
                if pages:
                    return str(pages[0]["webSocketDebuggerUrl"])
        except OSError:
            if time.monotonic() > give_up_s:
                raise
        time.sleep(0.2)
