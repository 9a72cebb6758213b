"""The shipped blueprints in a running Home Assistant, imported by their address."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rigs.homeassistant.hub import Hub

COMMANDS = "voice_daemon_commands.yaml"
VOCABULARY = "voice_daemon_vocabulary.yaml"
_FOLDER = Path(__file__).parents[3] / "docs" / "blueprints"


@contextmanager
def imported(hub: Hub, blueprint: str) -> Iterator[str]:
    """Import a blueprint as the import button does, for the length of a block; give its path."""
    handler = partial(SimpleHTTPRequestHandler, directory=_FOLDER)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{blueprint}"
        found = hub.ask("blueprint/import", url=address)
        server.shutdown()
    assert found["validation_errors"] is None
    path = f"{found['suggested_filename']}.yaml"
    hub.ask(
        "blueprint/save",
        domain="automation",
        path=path,
        yaml=found["raw_data"],
        source_url=address,
        allow_override=True,
    )
    yield path
    hub.ask("blueprint/delete", domain="automation", path=path)
