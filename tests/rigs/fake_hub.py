"""A Hugging Face hub on loopback, good enough for huggingface_hub, that can be made to fail.

Speaks `/api/models/<repo>/revision/<rev>` and `/<repo>/resolve/<commit>/<file>`; large files are
redirected to `/cdn/...` as the real hub does, with their checksum in `X-Linked-Etag`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

LARGE_SUFFIXES = (".safetensors", ".npz", ".bin")
SEND_BYTES = 16_384


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    byte_range: str | None


@dataclass
class Faults:
    """What goes wrong, by file name; each list is used up from its front."""

    break_after_bytes: dict[str, list[int]] = field(default_factory=dict)
    """Close the connection after sending this many bytes of the body."""
    statuses: dict[str, list[int]] = field(default_factory=dict)
    corrupted: set[str] = field(default_factory=set)
    """Served with one byte changed."""
    longer: set[str] = field(default_factory=set)
    """Served with more bytes than promised, and no Content-Length."""
    ignores_range: bool = False
    gated: set[str] = field(default_factory=set)
    refuses_tokens: bool = False
    """Every token has expired: 401 to whoever sends one, for public files too."""
    without_checksums: bool = False
    login_page: bool = False
    stall_after_bytes: dict[str, int] = field(default_factory=dict)
    """Stop sending after this many bytes, until `FakeHub.go_on` is set."""


class FakeHub:
    """Serves `repos` (repository id -> file name -> content) until it is closed."""

    def __init__(self, repos: Mapping[str, Mapping[str, bytes]]) -> None:
        self.repos = {repo: dict(files) for repo, files in repos.items()}
        self.faults = Faults()
        self.asked: list[Asked] = []
        self.stalled = threading.Event()
        self.go_on = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def commit(self, repo_id: str) -> str:
        """The repository's commit: another one whenever a file changes."""
        tree = [(name, git_sha1(content)) for name, content in self.repos[repo_id].items()]
        return hashlib.sha1(repr(sorted(tree)).encode()).hexdigest()  # noqa: S324 - git's

    def ranges_asked(self, name: str) -> list[str | None]:
        """The Range header of each GET of a file's bytes, in order."""
        return [
            asked.byte_range
            for asked in self.asked
            if asked.method == "GET"
            and asked.path.endswith(f"/{name}")
            and (asked.path.startswith("/cdn/") or not name.endswith(LARGE_SUFFIXES))
        ]

    def describe(self, repo_id: str) -> dict[str, Any]:
        """The answer of /api/models."""
        siblings: list[dict[str, Any]] = []
        for name, content in self.repos[repo_id].items():
            sibling: dict[str, Any] = {"rfilename": name}
            if not self.faults.without_checksums:
                sibling |= {"size": len(content), "blobId": git_sha1(content)}
                if name.endswith(LARGE_SUFFIXES):
                    sha256 = hashlib.sha256(content).hexdigest()
                    sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
            siblings.append(sibling)
        return {
            "id": repo_id,
            "modelId": repo_id,
            "sha": self.commit(repo_id),
            "private": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": siblings,
        }


def git_sha1(content: bytes) -> str:
    """What `git hash-object` prints."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - git's


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: FakeHub

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is part of the test."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Tests read `FakeHub.asked` instead."""

    def _answer(self) -> None:
        hub = self.server.hub
        path = unquote(urlsplit(self.path).path)
        hub.asked.append(Asked(self.command, path, self.headers.get("Range")))
        if hub.faults.refuses_tokens and self.headers.get("Authorization"):
            error = {"X-Error-Message": "Invalid credentials in Authorization header"}
            self._send(401, b"", error)
        elif hub.faults.login_page:
            self._send(200, b"<html>please log in</html>", {"Content-Type": "text/html"})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/[^/]+", path):
            self._describe(found[1])
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(*found.groups())
        elif found := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
            self._send_file(found[1], found[2])
        else:
            self._send(404, b"", {})

    def _describe(self, repo_id: str) -> None:
        hub = self.server.hub
        if repo_id in hub.faults.gated:
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif repo_id not in hub.repos:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        else:
            self._send(200, json.dumps(hub.describe(repo_id)).encode(), {})

    def _resolve(self, repo_id: str, commit: str, name: str) -> None:
        hub = self.server.hub
        content = hub.repos.get(repo_id, {}).get(name)
        if content is None or commit != hub.commit(repo_id):
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        elif name.endswith(LARGE_SUFFIXES):
            headers = {
                "X-Repo-Commit": commit,
                "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Linked-Size": str(len(content)),
                "Location": f"/cdn/{repo_id}/{name}",
            }
            self._send(302, b"", headers)
        else:
            self._send_file(
                repo_id,
                name,
                headers={"X-Repo-Commit": commit, "ETag": f'"{git_sha1(content)}"'},
            )

    def _send_file(self, repo_id: str, name: str, headers: Mapping[str, str] | None = None) -> None:
        faults = self.server.hub.faults
        if statuses := faults.statuses.get(name):
            self._send(statuses.pop(0), b"", {})
            return
        content = self.server.hub.repos[repo_id][name]
        if name in faults.corrupted:
            content = content[:-1] + bytes([content[-1] ^ 1])
        sent = dict(headers or {})
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked is None or faults.ignores_range:
            self._send(200, content, sent, name=name)
            return
        first = int(asked[1])
        sent["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self._send(206, content[first:], sent, name=name)

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, str], *, name: str = ""
    ) -> None:
        faults = self.server.hub.faults
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if name in faults.longer:
            body += b"x" * 10_000
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cuts = faults.break_after_bytes.get(name)
        cut = cuts.pop(0) if cuts else None
        self._send_body(body[:cut], stall_after=faults.stall_after_bytes.get(name))
        if cut is not None:
            self.close_connection = True

    def _send_body(self, body: bytes, *, stall_after: int | None) -> None:
        for start in range(0, len(body), SEND_BYTES):
            if stall_after is not None and start >= stall_after:
                self.wfile.flush()
                self.server.hub.stalled.set()
                self.server.hub.go_on.wait()
            self.wfile.write(body[start : start + SEND_BYTES])
