"""Several daemons, each a process, that hear one speaker at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from support.daemon_process import daemon_environment
from tools.arbitration.device import READY
from tools.arbitration.recordings import Scenario, write_recording
from voice_daemon.paths import default_paths

MARGIN_S = 60.0
"""Beyond the recording, for a machine that is busy."""


@dataclass
class ArbitrationRig:
    """Devices `n0`, `n1`... in a folder; they end with the block."""

    folder: Path
    port: int
    n_devices: int
    scenario: Scenario
    settings: dict[str, str] = field(default_factory=dict)
    """Environment variables for all of them."""
    _processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        for number in range(self.n_devices):
            home = self.home(number)
            home.mkdir(parents=True)
            write_recording(home / "room.wav", self.scenario, device=number)
            self._processes.append(self._start(number))
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()

    def begin(self) -> None:
        """Wait until all can hear, and let the speaker begin."""
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.strip() == READY, f"{line!r}, then {process.communicate()}"
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

    def end(self) -> list[int]:
        """Wait until all have ended by themselves; give their exit codes."""
        return [process.wait(self.scenario.seconds + MARGIN_S) for process in self._processes]

    def complaints(self) -> list[str]:
        """Give what devices that have ended wrote on stderr."""
        return [process.communicate()[1] for process in self._processes]

    def home(self, number: int) -> Path:
        return self.folder / f"n{number}"

    def logged(self, number: int, event: str) -> list[dict[str, Any]]:
        """Give the lines of one kind from a device's log."""
        return [line for line in self._log(number) if line["event"] == event]

    def _log(self, number: int) -> Iterator[dict[str, Any]]:
        log_file = default_paths({"VOICE_DAEMON_HOME": str(self.home(number))}).log_file
        for line in log_file.read_text().splitlines():
            yield json.loads(line)

    def _start(self, number: int) -> subprocess.Popen[str]:
        home = self.home(number)
        variables = {
            "VOICE_DAEMON_NODE_ID": f"n{number}",
            "VOICE_DAEMON_MQTT__PORT": str(self.port),
            "VOICE_DAEMON_ARBITRATION__ENABLED": "true",
            "VOICE_DAEMON_HOMEASSISTANT__DISCOVERY": "false",
            # One device works at a time, and the others must hear meanwhile.
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            **self.settings,
        }
        return subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("device.py")), str(home / "room.wav")],
            env=daemon_environment(home, **variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
