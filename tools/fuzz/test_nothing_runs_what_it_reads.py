"""The daemon runs no code that comes in a file: no pickle, no eval, no archive's own paths."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import voice_daemon

PACKAGE = Path(voice_daemon.__file__).parent
RUNS_WHAT_IT_READS = frozenset(
    {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "torch"}
)
EVALUATES = frozenset({"eval", "exec", "compile", "__import__"})
UNPACKS = frozenset({"extract", "extractall", "unpack_archive"})
"""Write where an archive says; its members are read in place instead."""


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            yield getattr(called, "id", getattr(called, "attr", "")), node


def faults(source: str) -> Iterator[str]:
    """Say what a module does that could run what it reads."""
    tree = ast.parse(source)
    yield from (f"imports {name}" for name in imports(tree) if name in RUNS_WHAT_IT_READS)
    for name, call in calls(tree):
        if name in EVALUATES and isinstance(call.func, ast.Name):
            yield f"calls {name}"
        if name in UNPACKS:
            yield f"calls {name}"
        for keyword in call.keywords:
            is_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg == "allow_pickle" and not is_false:
                yield "allows pickle"
            is_true = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
            if keyword.arg in {"shell", "trust_remote_code"} and is_true:
                yield f"{keyword.arg}=True"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_can_run_what_it_reads(path: Path) -> None:
    assert list(faults(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from torch import load",
        "import torch.nn",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=given)",
        "eval(text)",
        "archive.extractall(folder)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_each_of_these_would_be_found(source: str) -> None:
    assert list(faults(source))


def test_the_recogniser_and_the_wake_word_load_neither_torch_nor_openwakewords_code() -> None:
    """Libraries use pickle for themselves; what reads models must not bring theirs."""
    program = (
        "import sys, voice_daemon.runtime.build, voice_daemon.wake.detector, voice_daemon.asr\n"
        "print(*sorted({'torch', 'joblib', 'dill', 'openwakeword', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
