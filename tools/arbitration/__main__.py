"""`scripts/test-arbitration`: many wake words, several daemons, one broker, and who answered."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from rigs.brokers import Mosquitto
from tools.arbitration.record import Listener, Try
from tools.arbitration.recordings import Scenario
from tools.arbitration.rig import ArbitrationRig

HEARD_SHARE = 0.95
"""Of the wake words; a few are too faint for every device."""


def play(folder: Path, scenario: Scenario, *, n_devices: int, window_ms: int) -> list[Try]:
    """Let devices hear a scenario over a broker of their own; give what they said."""
    settings = {"VOICE_DAEMON_ARBITRATION__WINDOW_MS": str(window_ms)}
    broker = Mosquitto(folder).start()
    listener = Listener(broker.port)
    try:
        with ArbitrationRig(folder, broker.port, n_devices, scenario, settings) as rig:
            rig.begin()
            codes = rig.end()
        listener.wait(f"voice/n{n_devices - 1}/availability", b"offline")
        crashes = [c for number in range(n_devices) for c in rig.logged(number, "mqtt.crashed")]
        assert not crashes, f"the MQTT client failed: {crashes}"
        assert codes == [0] * n_devices, f"exit codes {codes}: {rig.complaints()}"
        return listener.tries(every_s=scenario.every_s)
    finally:
        listener.close()
        broker.kill()


def is_good(one: Try) -> bool:
    """Tell whether a wake word got one session, from its beginning to its end."""
    return len(one.started) == len(one.wakes) == len(one.lasting) == 1


def report(tries: list[Try], *, n_spoken: int, n_devices: int, window_ms: int) -> str:
    """Write what happened, one fact a line."""
    contested = [one for one in tries if len(one.claims) > 1]
    delays_ms = sorted(one.decided_s * 1000 for one in tries if one.taken)
    p95_ms = delays_ms[(95 * len(delays_ms) + 99) // 100 - 1]
    return "\n".join(
        [
            f"{n_devices} daemons, window {window_ms} ms, {n_spoken} wake words",
            f"  heard by any                   {len(tries)}",
            f"  exactly one session            {sum(map(is_good, tries))}",
            f"  one session that lasted        {sum(len(one.lasting) == 1 for one in tries)}",
            f"  no session                     {sum(not one.started for one in tries)}",
            f"  finals                         {sum(len(one.finals) for one in tries)}",
            f"  heard by several               {len(contested)}",
            f"  the best in the window answers {sum(one.is_fair for one in contested)}",
            f"  the best of all answers        {sum(one.is_best for one in contested)}",
            f"  first claim to answer, median  {median(delays_ms):.0f} ms",
            f"  the same, 95th percentile      {p95_ms:.0f} ms",
        ]
    )


@contextmanager
def _folder(kept: Path | None, name: str) -> Iterator[Path]:
    if kept is not None:
        folder = kept / name
        folder.mkdir(parents=True)
        yield folder
    else:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)


def main() -> int:
    """Run the tries for each number of devices; 1 when any of them had not one session."""
    parser = argparse.ArgumentParser(prog="scripts/test-arbitration", description=__doc__)
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--devices", type=int, nargs="+", default=[2, 5])
    parser.add_argument("--window-ms", type=int, default=150)
    parser.add_argument("--skew-ms", type=float, default=60, help="the latest device's delay")
    parser.add_argument("--folder", type=Path, help="for recordings and logs; kept afterwards")
    arguments = parser.parse_args()
    all_good = True
    for n_devices in arguments.devices:
        scenario = Scenario(arguments.tries, skew_ms=arguments.skew_ms)
        with _folder(arguments.folder, f"{n_devices}-devices") as folder:
            tries = play(folder, scenario, n_devices=n_devices, window_ms=arguments.window_ms)
        text = report(
            tries, n_spoken=arguments.tries, n_devices=n_devices, window_ms=arguments.window_ms
        )
        print(text)  # noqa: T201 - a tool's output
        all_good &= len(tries) >= HEARD_SHARE * arguments.tries and all(map(is_good, tries))
    return 0 if all_good else 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # The MQTT client's threads need not be waited for.
    os._exit(code)
