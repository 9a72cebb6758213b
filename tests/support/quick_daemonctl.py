"""`daemonctl` in a process of its own, which finds its silence encoded: see `support.silence`."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


class _SharesSilence(MetaPathFinder):
    """Puts it in the moment that the recogniser is loaded: `daemonctl` loads as late as ever."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "voice_daemon.asr.streaming":
            sys.meta_path.remove(self)
            from support.silence import shared_silence  # noqa: PLC0415 - see above
            from voice_daemon.asr import incremental_encoder  # noqa: PLC0415

            incremental_encoder.silent_window = shared_silence


if __name__ == "__main__":
    sys.meta_path.insert(0, _SharesSilence())
    from voice_daemon.__main__ import main  # imports no more than the handlers of signals

    sys.exit(main())
