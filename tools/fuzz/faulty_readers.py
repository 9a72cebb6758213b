"""Readers that are at fault, to test the runner by: each fails in its own way on any input."""

from __future__ import annotations

import time
from pathlib import Path

from tools.fuzz.readers import Reader


def fails(content: bytes, _folder: Path) -> None:
    """Raises what is no error of ours."""
    content[len(content)]


def hangs(_content: bytes, _folder: Path) -> None:
    """Never ends."""
    while True:
        time.sleep(1)


def grows(content: bytes, _folder: Path) -> None:
    """Believes a size."""
    bytearray(2**34 + len(content))


READERS: dict[str, Reader] = {reader.__name__: reader for reader in (fails, hangs, grows)}


def good(name: str) -> tuple[bytes, ...]:
    """Give some input; none is good to them."""
    return (name.encode(),)
