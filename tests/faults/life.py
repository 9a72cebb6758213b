"""One life of a daemon in fast motion, in a process that may be killed at any moment.

Real: the application with its journal and settings, the client, the broker. Its room and its
models are fakes: forty times as fast as people speak.
"""

from __future__ import annotations

import time
from pathlib import Path

from support.apps import EndlessRoom, make_app
from support.fakes import Scene
from voice_daemon.app import Input
from voice_daemon.events import AudioBlock

BLOCK_S = 0.08
FASTER = 40
N_COMMANDS = 12


class HurriedRoom(EndlessRoom):
    """A room in which everything is said and heard faster."""

    def read(self, timeout_s: float) -> AudioBlock | None:
        time.sleep(BLOCK_S / FASTER)
        return super().read(timeout_s)


def live(port: int, folder: Path) -> None:
    """Live until killed."""
    scene = Scene().silence(1000)
    for _ in range(N_COMMANDS):
        scene = scene.wake().silence(300).say("turn on the kitchen lights").silence(1500)
    room = HurriedRoom(scene.samples, pause_s=BLOCK_S / FASTER)
    app = make_app(
        port,
        Input(lambda: room),
        scene=scene,
        changes_file=folder / "state.json",
        journal_folder=folder,
    )
    app.run()
