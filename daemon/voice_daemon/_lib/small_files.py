"""Reads a model's small files, which come from strangers, without trusting that they are small.

Knows nothing of what is in them.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES: Final = 64 * 2**20
"""The largest tokenizer.json has 4 MB."""


def read_small(path: Path) -> bytes:
    """Read a file whole; ValueError for one that is too long to be what it should."""
    with path.open("rb") as file:
        # A read claims as much memory as it asks for, whatever there is.
        content = file.read(min(os.fstat(file.fileno()).st_size, MAX_BYTES) + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES >> 20} MiB")
    return content


def read_json(path: Path) -> Any:  # noqa: ANN401 - callers check what they take from it
    """Read a JSON document; ValueError for what is none."""
    try:
        return json.loads(read_small(path).decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
