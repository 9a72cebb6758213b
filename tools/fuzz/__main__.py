"""`scripts/fuzz`: fuzzes every reader for a while; exits 1 when something was found."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from typing import Final

from tools.fuzz.runner import CORPUS, FuzzRunner
from tools.fuzz.seeds import READERS

GRACE_S: Final = 120.0
"""To start, and to end."""


def main() -> int:
    """Run the command line."""
    has_atheris = importlib.util.find_spec("atheris") is not None
    engines = {"atheris": ["atheris"], "hypothesis": ["hypothesis"]}
    engines["both"] = ["hypothesis", "atheris"]
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(READERS)}")
    parser.add_argument("--minutes", type=float, default=10, help="in all (10)")
    parser.add_argument(
        "--engine", choices=sorted(engines), default="both" if has_atheris else "hypothesis"
    )
    arguments = parser.parse_args()
    names = arguments.readers or list(READERS)
    unknown = set(names) - READERS.keys()
    if unknown:
        parser.error(f"no readers: {', '.join(sorted(unknown))}")
    runs = [(name, engine) for name in names for engine in engines[arguments.engine]]
    seconds = 60 * arguments.minutes / len(runs)
    n_findings = sum(_fuzz(name, engine, seconds=seconds) for name, engine in runs)
    return 1 if n_findings else 0


def _fuzz(name: str, engine: str, *, seconds: float) -> bool:
    """Fuzz one reader's input up to the first finding; tell whether there was one."""
    runner = FuzzRunner((name,), found=CORPUS, seconds=max(1, seconds), engine=engine)
    finding = runner.run(timeout_s=seconds + GRACE_S)
    said = "nothing found" if finding is None else f"FOUND {finding.case}\n{finding.said}"
    print(f"{name} ({engine}, {seconds:.0f} s): {said}", flush=True)  # noqa: T201 - a tool's output
    return finding is not None


if __name__ == "__main__":
    sys.exit(main())
