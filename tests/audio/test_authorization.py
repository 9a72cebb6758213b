"""macOS' answer about the microphone, by real ctypes calls into a stand-in of its libraries."""

from __future__ import annotations

import ctypes
import ctypes.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from voice_daemon.audio.authorization import (
    Authorization,
    Libraries,
    MicrophonePermission,
    microphone_permission,
)

SOURCE = Path(__file__).parents[1] / "rigs" / "macos" / "avfoundation.c"

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc)")


@pytest.fixture
def library(tmp_path: Path) -> ctypes.CDLL:
    built = tmp_path / "avfoundation.so"
    compiler = shutil.which("cc")
    assert compiler is not None
    command: list[str | Path] = [
        compiler,
        "-shared",
        "-fPIC",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-o",
        built,
        SOURCE,
    ]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(built))


def permission(library: ctypes.CDLL) -> MicrophonePermission:
    name = library._name
    return MicrophonePermission(Libraries(name, name, name))


def number(library: ctypes.CDLL, name: str) -> ctypes.c_long:
    return ctypes.c_long.in_dll(library, name)


@needs_compiler
@pytest.mark.parametrize("status", list(Authorization))
def test_the_four_answers_are_told_apart(library: ctypes.CDLL, status: Authorization) -> None:
    number(library, "stand_in_status").value = status.value
    assert permission(library).status() is status


@needs_compiler
@pytest.mark.parametrize("status", [Authorization.AUTHORIZED, Authorization.DENIED])
def test_a_request_is_answered_through_the_block(
    library: ctypes.CDLL, status: Authorization
) -> None:
    allowed = status is Authorization.AUTHORIZED
    ctypes.c_bool.in_dll(library, "stand_in_answer").value = allowed
    asked = permission(library)
    assert asked.status() is Authorization.NOT_DETERMINED
    asked.request()
    assert asked.status() is status
    assert ctypes.c_int.in_dll(library, "stand_in_requests").value == 1


@needs_compiler
def test_a_library_without_the_symbols_is_an_error_of_the_system(library: ctypes.CDLL) -> None:
    del library
    with pytest.raises(OSError, match="does not say whether the microphone"):
        MicrophonePermission(Libraries(*[ctypes.util.find_library("c") or "libc.so.6"] * 3))


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has an answer")
def test_other_systems_have_no_such_permission() -> None:
    assert microphone_permission() is None
