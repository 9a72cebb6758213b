"""Where a test's control socket lies."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def socket_path() -> Iterator[Path]:
    # pytest's own tmp_path is too long for a Unix socket on macOS.
    with tempfile.TemporaryDirectory(prefix="vd-", dir="/tmp") as folder:
        yield Path(folder) / "state" / "voice-daemon.sock"
