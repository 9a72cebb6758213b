"""Peak memory of one system, alone in its process: loads it, replays one clip, prints JSON.

    python -m tools.bench.memory SYSTEM MODEL CLIP STEP_S

`measure` starts it. Resident memory counts the interpreter and all libraries; MLX's own peak is
given besides, as a GPU's memory may not count as resident.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.bench.clips import Clip
from tools.bench.replay import replay
from tools.bench.systems import load_system
from voice_daemon.audio.file import load_audio

MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class Memory:
    """Peaks in MiB."""

    resident_mib: float
    mlx_mib: float


def measure(system: str, model: Path, clip: Clip, *, step_s: float) -> Memory | None:
    """Peak memory of `system` over one clip; None where it fails."""
    arguments = [system, str(model), str(clip.path), str(step_s)]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tools.bench.memory", *arguments],
        capture_output=True,
        check=False,
    )
    return Memory(**json.loads(done.stdout.splitlines()[-1])) if done.returncode == 0 else None


def main(arguments: Sequence[str]) -> None:
    """Measure in this process."""
    name, model, clip, step_s = arguments
    system = load_system(name, Path(model))
    samples = load_audio(Path(clip))
    replay(system.recogniser, samples, step_s=float(step_s) if system.streams else None)

    import mlx.core as mx  # noqa: PLC0415 - after whichever library loads it first

    figures = {
        "resident_mib": round(_peak_resident() / MEBIBYTE, 1),
        "mlx_mib": round(mx.get_peak_memory() / MEBIBYTE, 1),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


def _peak_resident() -> int:
    """Peak resident bytes of this process."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux hands its parent's peak on in getrusage's figure, but not in this one.
        line = next(x for x in status.read_text("ascii").splitlines() if x.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


if __name__ == "__main__":
    main(sys.argv[1:])
