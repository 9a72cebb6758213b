"""What is remembered from run to run, and what a damaged file costs: nothing but its content."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from voice_daemon.config.persisted import (
    EMPTY,
    MAX_BYTES,
    Announcement,
    Change,
    SettingsStore,
    UnreadableError,
    read_state,
)
from voice_daemon.errors import VoiceDaemonError

THRESHOLD = Change(0.6, 0.5)
ANNOUNCED = Announcement("homeassistant/device/den/config", "voice/den", {"mute": "switch"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "state.json"


def saved(file: Path) -> SettingsStore:
    store = SettingsStore(file)
    store.change("wake_threshold", THRESHOLD)
    store.announce((ANNOUNCED,))
    store.save()
    return store


def test_what_was_saved_is_there_in_the_next_run(file: Path) -> None:
    saved(file)
    memory = SettingsStore(file).state
    assert memory.changes == {"wake_threshold": THRESHOLD}
    assert memory.announced == (ANNOUNCED,)


def test_only_its_owner_may_read_it(file: Path) -> None:
    saved(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.chmod(0o644)
    store = SettingsStore(file)
    store.change("mute", Change(value=True, configured=False))
    store.save()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["state.json"]


def test_nothing_is_written_that_is_not_new(file: Path) -> None:
    saved(file)
    before = file.stat()
    store = SettingsStore(file)
    store.change("wake_threshold", THRESHOLD)
    assert not store.is_dirty
    store.save()
    assert file.stat().st_ino == before.st_ino


def test_a_change_that_is_taken_back_is_forgotten(file: Path) -> None:
    store = saved(file)
    store.change("wake_threshold", None)
    store.save()
    assert SettingsStore(file).state.changes == {}


def test_without_a_file_it_remembers_until_the_end() -> None:
    store = SettingsStore()
    store.change("mute", Change(value=True, configured=False))
    store.save()
    assert store.state.changes.keys() == {"mute"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"schema":2,"settings":{},"announced":[]}',
        b'{"schema":1,"settings":[],"announced":[]}',
        b'{"schema":1,"settings":{"mute":1},"announced":[]}',
        b'{"schema":1,"settings":{"mute":{"value":[],"configured":1}},"announced":[]}',
        b'{"schema":1,"settings":{},"announced":[{"topic":1,"root":"a","components":{}}]}',
        b"[" * 100_000,
        b" " * (MAX_BYTES + 1),
    ],
)
def test_a_damaged_file_is_set_aside_with_a_warning(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    with capture_logs() as logs:
        store = SettingsStore(file)
    assert store.state == EMPTY
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("settings.unreadable", "warning")
    ]
    assert file.with_name("state.json.unreadable").read_bytes() == content
    saved(file)
    assert read_state(file).announced == (ANNOUNCED,)


def link(file: Path) -> None:
    file.rename(file.with_name("elsewhere.json"))
    file.symlink_to(file.with_name("elsewhere.json"))


def open_to_others(file: Path) -> None:
    file.chmod(0o622)


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def of_somebody_else(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    os.chown(file, 12_345, 12_345)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (link, "symbolic link"),
        (open_to_others, "others may write it (mode 0622)"),
        (pipe, "it is not a file"),
        (of_somebody_else, "it belongs to user 12345"),
    ],
)
def test_a_file_that_others_may_have_written_is_not_believed(
    file: Path, damage: Callable[[Path], None], why: str
) -> None:
    saved(file)
    damage(file)
    with pytest.raises(UnreadableError) as caught:
        read_state(file)
    assert why in caught.value.message
    assert SettingsStore(file).state == EMPTY
    saved(file)
    assert not file.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_state(file).announced == (ANNOUNCED,)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(settings=json_values, announced=json_values)
def test_whatever_the_file_says_reading_gives_a_memory_or_says_why_not(
    tmp_path_factory: pytest.TempPathFactory,
    settings: Any,
    announced: Any,
) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "state.json"
    file.write_text(json.dumps({"schema": 1, "settings": settings, "announced": announced}))
    with suppress(UnreadableError):
        read_state(file)


def test_a_folder_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    store = SettingsStore(tmp_path / "home" / "state.json")
    (tmp_path / "home").write_text("a file where the folder should be")
    store.change("wake_threshold", THRESHOLD)
    with pytest.raises(VoiceDaemonError, match=r"state\.json cannot be written") as caught:
        store.save()
    assert caught.value.remedy
    (tmp_path / "home").unlink()
    store.save()
    assert read_state(tmp_path / "home" / "state.json").changes.keys() == {"wake_threshold"}


def test_a_reader_never_finds_half_a_file(file: Path) -> None:
    saved(file)
    store = SettingsStore(file)
    over = threading.Event()

    def write() -> None:
        for number in range(200):
            store.change("silence_ms", Change(number, 700))
            store.save()
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not over.is_set():
        assert read_state(file).announced == (ANNOUNCED,)
    writer.join()
    assert read_state(file).changes["silence_ms"] == Change(199, 700)
