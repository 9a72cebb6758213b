"""Where a test's control socket lies."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def socket_path(short_folder: Path) -> Path:
    return short_folder / "state" / "voice-daemon.sock"
