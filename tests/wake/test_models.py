"""Loading a wake word's graph leaves no trace outside the daemon's own files."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import onnxruntime
import pytest

from voice_daemon.wake.detector import WakeSelfTest
from voice_daemon.wake.models import find_wake_model, load_graph

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


def test_the_kernels_that_are_not_repeatable_on_apple_silicon_are_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options: list[onnxruntime.SessionOptions] = []
    real = onnxruntime.InferenceSession

    def session(
        path: str, *, sess_options: onnxruntime.SessionOptions, providers: list[str]
    ) -> object:
        options.append(sess_options)
        return real(path, sess_options=sess_options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    load_graph(find_wake_model("hey_jarvis", backend="onnx"))
    assert [one.get_session_config_entry("mlas.disable_kleidiai") for one in options] == ["1"]


def test_a_mac_has_a_second_runtime_to_fall_back_to() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    found = [line for line in project["dependencies"] if line.startswith("ai-edge-litert")]
    assert len(found) == 1
    assert found[0].endswith("sys_platform == 'darwin'")


@pytest.mark.parametrize(
    ("backend", "remedy"), [("onnx", "pip install ai-edge-litert"), ("tflite", '"onnx"')]
)
def test_the_remedy_of_a_failed_self_test_is_the_other_runtime(backend: str, remedy: str) -> None:
    assert remedy in WakeSelfTest(passed=False, score=0.0, backend=backend).remedy
