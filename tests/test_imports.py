"""Who may import whom, read from the source: the layers hold, and `daemonctl` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import voice_daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "voice_daemon"
ROOT = Path(voice_daemon.__file__).parent

PURE = (
    "events",
    "errors",
    "session",
    "evidence",
    "endpoint",
    "pipeline",
    "arbitration",
    "contender",
    "asr.alignatt",
    "mqtt.messages",
)
"""What these import, and what that imports, has neither devices nor threads nor clocks."""
IMPURE = frozenset(
    [
        "asyncio",
        "mlx",
        "onnxruntime",
        "openwakeword",
        "paho",
        "queue",
        "sched",
        "selectors",
        "signal",
        "socket",
        "sounddevice",
        "soundfile",
        "structlog",
        "subprocess",
        "threading",
        "time",
    ]
)

EDGES = {
    "asr": (),
    "audio": (),
    "control": (),
    "models": (),
    "mqtt": (),
    "service": (),
    "vad": (),
    "wyoming_server": ("audio",),
    # It plays its own test recording to itself, and may ask for voice as well.
    "wake": ("audio", "vad"),
}
"""Edge -> the other edges that it may know; all of them know the leaves."""
LEAVES = frozenset({"", "assets", "errors", "events", "ownership"})

HEAVY = frozenset(
    [
        "huggingface_hub",
        "mlx",
        "numpy",
        "onnxruntime",
        "paho",
        "pydantic",
        "rich",
        "sounddevice",
        "soundfile",
        "structlog",
        "tiktoken",
        "wyoming",
    ]
)
"""None of these is needed to say how `daemonctl` is used."""


def modules() -> dict[str, Path]:
    """Every module of the package, named from below it; the package itself is ''."""
    named = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        named[".".join(part for part in parts if part != "__init__")] = path
    return named


MODULES = modules()


def imported(module: str) -> frozenset[str]:
    """What a module imports when it runs, inside functions too; ours start with `PACKAGE`."""
    tree = ast.parse(MODULES[module].read_text())
    return frozenset(_imports(tree.body))


def _imports(statements: list[ast.stmt]) -> Iterator[str]:
    for statement in statements:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                source = str(node.module)
                for alias in node.names:
                    inner = f"{source}.{alias.name}"
                    yield inner if inner.removeprefix(f"{PACKAGE}.") in MODULES else source


def ours(names: frozenset[str]) -> frozenset[str]:
    """The names of our own modules among `names`, as keys of `MODULES`."""
    return frozenset(
        name.removeprefix(PACKAGE).lstrip(".") for name in names if name.split(".")[0] == PACKAGE
    )


def reachable(module: str) -> frozenset[str]:
    """A module and all of ours that it imports, directly or not."""
    found: set[str] = set()
    ahead = {module}
    while ahead:
        module = ahead.pop()
        found.add(module)
        ahead |= ours(imported(module)) - found
    return frozenset(found)


def group(module: str) -> str:
    """`mqtt.client` -> `mqtt`, `wake_scores` -> `wake`."""
    top = module.split(".", maxsplit=1)[0]
    return "wake" if top.startswith("wake") else top


@pytest.mark.parametrize("module", PURE)
def test_the_core_is_pure(module: str) -> None:
    for inner in reachable(module) - {"asr"}:
        impure = {name.split(".")[0] for name in imported(inner)} & IMPURE
        assert not impure, f"{module} reaches {impure} by {inner}"


@pytest.mark.parametrize("module", [name for name in MODULES if group(name) in EDGES])
def test_the_edges_know_the_leaves_and_not_each_other(module: str) -> None:
    edge = group(module)
    known = {group(name) for name in ours(imported(module))}
    assert known <= LEAVES | {edge} | set(EDGES[edge]), f"{module} imports {known}"


@pytest.mark.parametrize(
    "module", [name for name in MODULES if group(name) in ("events", "errors")]
)
def test_the_leaves_know_nothing(module: str) -> None:
    assert not ours(imported(module))


@pytest.mark.parametrize("module", [name for name in MODULES if group(name) in ("config", "logs")])
def test_the_configuration_and_the_log_know_no_one_that_they_serve(module: str) -> None:
    known = {group(name) for name in ours(imported(module))}
    assert known <= {"config", "errors", "ownership", "paths"}


def test_only_the_composition_reads_the_configuration() -> None:
    readers = {name for name in MODULES if "config" in {group(n) for n in ours(imported(name))}}
    assert {group(name) for name in readers} <= {"app", "assembly", "commands", "config", "engine"}


def test_nothing_but_the_program_imports_the_command_line() -> None:
    users = {name for name in MODULES if "cli" in ours(imported(name))}
    assert users == {"__main__"}


def test_the_relative_form_is_used_nowhere() -> None:
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["transcribe", "--help"], ["x"]])
def test_saying_how_it_is_used_loads_nothing_heavy(arguments: list[str]) -> None:
    code = "import sys; from voice_daemon.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert PACKAGE in loaded
    assert not loaded & HEAVY
