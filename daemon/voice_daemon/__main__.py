"""The program's entry: `daemonctl`, and the same as `python -m voice_daemon`."""

# Only what the signals' handlers need is loaded before they are there: everything else takes a
# tenth of a second, in which SIGTERM and SIGHUP would end a young daemon as if it had crashed.
import os
import sys

from voice_daemon._lib.signals import EarlySignals, StopRequested


def main() -> int:
    """Run the command line and return its exit code."""
    # Small products of the wake word must not wake a second thread that MLX computes with.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        with EarlySignals(wanted="run" in sys.argv) as early:
            from voice_daemon.cli.main import main as run_command  # noqa: PLC0415 - see above

            return run_command(early=early)
    except StopRequested as stop:
        return stop.exit_code


if __name__ == "__main__":
    sys.exit(main())
