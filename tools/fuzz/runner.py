"""Fuzz runner: feeds a reader mutated input in a process with bounded memory, case by case.

Starts `tools.fuzz.target`, and keeps the case at which it failed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CORPUS: Final = Path(__file__).parent / "corpus"
"""What was found once, by reader; and what somebody should not have to find again."""
TAIL_CHARS: Final = 3000


def cases(name: str) -> tuple[Path, ...]:
    """List the kept cases of a reader."""
    return tuple(sorted(path for path in (CORPUS / name).glob("*") if path.is_file()))


@dataclass(frozen=True, slots=True)
class Finding:
    """A case that a reader cannot bear, and what it said."""

    said: str
    case: Path | None
    """None where it fell before the first one."""


@dataclass(frozen=True, slots=True)
class FuzzRunner:
    """A fuzz run of some readers. `examples` bounds each, or `seconds` where it is given."""

    names: tuple[str, ...]
    found: Path
    """Where to put what was found, in a folder of its reader's name."""
    examples: int = 100
    seconds: float | None = None
    engine: str = "hypothesis"
    patience_s: float = 20
    """For one case."""

    def run(self, *, timeout_s: float, readers: str = "tools.fuzz.seeds") -> Finding | None:
        """Run the target; give the first finding."""
        with tempfile.TemporaryDirectory() as folder:
            current = Path(folder)
            done = subprocess.run(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "tools.fuzz.target",
                    *self._arguments(readers, current),
                ],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
            if done.returncode == 0:
                return None
            said = done.stdout.decode(errors="replace")
            case = next((self._keep(left) for left in current.iterdir()), None)
        return Finding(f"exit code {done.returncode}\n{said[-TAIL_CHARS:]}", case)

    def _keep(self, left: Path) -> Path:
        content = left.read_bytes()
        case = self.found / left.name / hashlib.sha256(content).hexdigest()[:12]
        case.parent.mkdir(parents=True, exist_ok=True)
        case.write_bytes(content)
        return case

    def _arguments(self, readers: str, current: Path) -> list[str]:
        return [
            *(
                *self.names,
                "--readers",
                readers,
                "--engine",
                self.engine,
                "--current",
                str(current),
            ),
            *("--examples", str(self.examples), "--patience-s", str(self.patience_s)),
            *(("--seconds", str(self.seconds)) if self.seconds is not None else ()),
        ]
