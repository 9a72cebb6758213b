"""What a Mac remembers between two programs: permissions, registered apps, the keychain, names.

One JSON document in a folder, so that programs and tests share it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class State:
    """The memory of one Mac. `folder` is there already."""

    folder: Path
    name: str = field(default="mac.json")

    def get(self, key: str, default: Any) -> Any:
        """Read one entry."""
        return self._read().get(key, default)

    def put(self, key: str, value: object) -> None:
        """Replace one entry."""
        self._file.write_text(json.dumps({**self._read(), key: value}, indent=1))

    @property
    def _file(self) -> Path:
        return self.folder / self.name

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._file.read_text()) if self._file.exists() else {}
        return found
