"""Fuzz target: a process that reads mutated input, and may die of it.

`python -m tools.fuzz.target READER...`. Its address space is bounded, and each case has a time to
end in. The case that is being read lies in a file of its reader's name, for whoever finds the
process dead.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Final

from tools.fuzz.runner import cases

ROOM_BYTES: Final = 2**30
"""Of address space, above what the process has when it is warm."""


def main() -> None:
    """Read kept cases, then mutated ones; ends with an exception at the first that is too much."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="+")
    parser.add_argument("--readers", default="tools.fuzz.seeds")
    parser.add_argument("--engine", choices=("hypothesis", "atheris"), default="hypothesis")
    parser.add_argument("--current", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--patience-s", type=float, default=20)
    arguments = parser.parse_args()
    module = _readers(arguments.readers, instrumented=arguments.engine == "atheris")
    with tempfile.TemporaryDirectory() as folder:
        looks = {name: _look(module, name, arguments, Path(folder)) for name in arguments.names}
        _bound_memory()
        for name, look in looks.items():
            for case in cases(name):
                look(case.read_bytes())
            good = module.good(name)
            if arguments.engine == "atheris":
                _by_coverage(look, good, arguments, Path(folder))
            else:
                _by_examples(look, good, arguments)
            (arguments.current / name).unlink(missing_ok=True)


def _readers(name: str, *, instrumented: bool) -> ModuleType:
    """Import the readers; for atheris with what counts the branches that they take."""
    if not instrumented:
        return importlib.import_module(name)
    import atheris  # noqa: PLC0415 - an extra, and for Linux alone

    with atheris.instrument_imports(include=["voice_daemon"]):
        return importlib.import_module(name)


def _look(
    module: ModuleType, name: str, arguments: argparse.Namespace, folder: Path
) -> Callable[[bytes], None]:
    """Give what reads one case, warmed by good ones."""
    check = importlib.import_module("tools.fuzz.readers").check
    reader = module.READERS[name]

    def look(content: bytes) -> None:
        (arguments.current / name).write_bytes(content)
        faulthandler.dump_traceback_later(arguments.patience_s, exit=True)
        try:
            check(reader, content, folder)
        except BaseException:  # noqa: BLE001 - any of them is a finding
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)  # neither engine is to write out the case, which may be long
        faulthandler.cancel_dump_traceback_later()

    if arguments.readers == "tools.fuzz.seeds":
        for content in module.good(name):
            look(content)
        (arguments.current / name).unlink()
    return look


def _bound_memory() -> None:
    with contextlib.suppress(OSError, ValueError):  # macOS refuses
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + ROOM_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _by_examples(
    look: Callable[[bytes], None], good: tuple[bytes, ...], arguments: argparse.Namespace
) -> None:
    from hypothesis import HealthCheck, Phase, given, settings  # noqa: PLC0415 - not for atheris

    from tools.fuzz.mutations import Recipe, mutated, prepared  # noqa: PLC0415 - as above

    give_up_s = time.monotonic() + (arguments.seconds or float("inf"))
    # One batch after the other: hypothesis tries the same few things before it varies.
    batch = arguments.examples if arguments.seconds is None else 2000
    while True:

        @settings(
            max_examples=batch,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # the case as it was found is what is kept
        )
        @given(mutated(good))
        def mutate(drawn: bytes | Recipe) -> None:
            if time.monotonic() < give_up_s:
                look(prepared(drawn, good))

        mutate()
        if arguments.seconds is None or time.monotonic() >= give_up_s:
            return


def _by_coverage(
    look: Callable[[bytes], None],
    good: tuple[bytes, ...],
    arguments: argparse.Namespace,
    folder: Path,
) -> None:
    import atheris  # noqa: PLC0415 - an extra, and for Linux alone

    corpus = folder / "corpus"
    corpus.mkdir()
    for number, content in enumerate(good):
        (corpus / f"good-{number}").write_bytes(content)
    options = {
        "max_total_time": round(arguments.seconds or 60),
        "timeout": round(arguments.patience_s),
        "rss_limit_mb": 0,  # the address space is bounded
        "max_len": max(len(content) for content in good) + 1000,
        "artifact_prefix": f"{folder}/",
    }
    flags = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], look)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
