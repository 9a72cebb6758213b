"""Mutated input of every kind is taken or told: no other exception, no hang, no memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.fuzz.mutations import mutated, prepared
from tools.fuzz.readers import check
from tools.fuzz.runner import CORPUS, FuzzRunner, cases
from tools.fuzz.seeds import NATIVE, READERS, good


@pytest.mark.parametrize("name", READERS)
def test_good_input_is_taken(name: str, tmp_path: Path) -> None:
    refusals = [check(READERS[name], content, tmp_path) for content in good(name)]
    assert None in refusals, "nothing that is mutated here is good to begin with"


@pytest.mark.parametrize("name", sorted(READERS.keys() - NATIVE))
@given(data=st.data())
@settings(max_examples=50, suppress_health_check=list(HealthCheck))
def test_any_mutated_input_is_taken_or_told(name: str, tmp_path: Path, data: st.DataObject) -> None:
    content = prepared(data.draw(mutated(good(name))), good(name))
    check(READERS[name], content, tmp_path)


def test_any_mutated_file_is_taken_or_told_by_a_process_with_little_memory(tmp_path: Path) -> None:
    runner = FuzzRunner(tuple(sorted(NATIVE)), found=tmp_path / "found", examples=40)
    finding = runner.run(timeout_s=240)
    assert finding is None, finding


@pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for name in sorted(READERS.keys() - NATIVE) for case in cases(name)],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_what_was_found_once_is_taken_or_told(name: str, case: Path, tmp_path: Path) -> None:
    check(READERS[name], case.read_bytes(), tmp_path)


def test_every_case_of_the_corpus_is_some_readers() -> None:
    assert {folder.name for folder in CORPUS.iterdir() if folder.is_dir()} <= READERS.keys()


def test_a_reader_that_fails_hangs_or_takes_memory_is_found(tmp_path: Path) -> None:
    """The runner itself: readers that are at fault, in a module of their own."""
    for name, said in (("fails", "IndexError"), ("hangs", "Timeout"), ("grows", "MemoryError")):
        if name == "grows" and sys.platform != "linux":
            continue  # macOS does not enforce the limit
        runner = FuzzRunner((name,), found=tmp_path, examples=5, patience_s=1)
        finding = runner.run(timeout_s=60, readers="tools.fuzz.faulty_readers")
        assert finding is not None
        assert said in finding.said
        assert finding.case is not None
        assert finding.case.is_file()
