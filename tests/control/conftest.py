"""Where a test's control socket lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def socket_path(short_folder: Path) -> Path:
    return short_folder / "state" / "voice-daemon.sock"
