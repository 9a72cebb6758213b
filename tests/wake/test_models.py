"""Loading a wake word's graph leaves no trace outside the daemon's own files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOAD = """
from voice_daemon.wake.models import MELSPECTROGRAM, load_graph
import importlib.util, pathlib
folder = pathlib.Path(importlib.util.find_spec("openwakeword").origin).parent
load_graph(next(folder.rglob(f"{MELSPECTROGRAM}.onnx")))
"""


def test_the_runtime_keeps_no_diary_for_its_maker(tmp_path: Path) -> None:
    """It makes an identifier of the machine and a queue of events below the home folder."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_"))}
    subprocess.run([sys.executable, "-c", LOAD], env={**environ, "HOME": str(tmp_path)}, check=True)
    assert list(tmp_path.rglob("*")) == []
