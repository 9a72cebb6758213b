"""The home of the daemon that commands ask."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def home(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOICE_DAEMON_HOME", str(short_folder))
    return short_folder
