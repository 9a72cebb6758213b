"""The pinned dependencies: all of what pyproject.toml asks for, one version each, with hashes."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.release.__main__ import write_lists
from tools.release.lock import RELEASE, ROOT, TARGETS, Pin, lines_for, read_lock

TOOLS = ROOT / "requirements" / "tools.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def lock() -> tuple[Pin, ...]:
    return read_lock(RELEASE.read_text())


def pins_for(lock: tuple[Pin, ...], environment: Mapping[str, str]) -> dict[str, Pin]:
    return {pin.name: pin for pin in lock if pin.is_for(environment)}


def wanted_by(lines: list[str], environment: Mapping[str, str]) -> Iterator[Requirement]:
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(dict(environment)):
            yield requirement


@pytest.mark.parametrize("target", TARGETS)
def test_what_the_project_asks_for_is_pinned_within_its_bounds(
    target: str, lock: tuple[Pin, ...]
) -> None:
    pins = pins_for(lock, TARGETS[target])
    for requirement in wanted_by(PROJECT["dependencies"], TARGETS[target]):
        version = pins[canonicalize_name(requirement.name)].version
        assert requirement.specifier.contains(version), f"run scripts/lock: {requirement}"


@pytest.mark.parametrize("target", TARGETS)
def test_a_machine_gets_each_package_once(target: str, lock: tuple[Pin, ...]) -> None:
    names = [pin.name for pin in lock if pin.is_for(TARGETS[target])]
    assert len(names) == len(set(names))


def test_every_pin_of_the_lock_and_of_the_tools_has_a_version_and_hashes(
    lock: tuple[Pin, ...],
) -> None:
    for pin in (*lock, *read_lock(TOOLS.read_text())):
        assert pin.version
        assert pin.hashes, pin.requirement


def test_what_is_pinned_needs_nothing_that_is_not(lock: tuple[Pin, ...]) -> None:
    """Walks the packages installed here: on other machines `scripts/lock` tries the lock."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    target = f"linux-x86_64-py{python}"
    if sys.platform != "linux" or target not in TARGETS:
        pytest.skip("the packages installed here are for another machine than the lock's")
    pins = pins_for(lock, TARGETS[target])
    for name in pins:
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            pytest.fail(f"{name} is pinned and not installed: run scripts/lock")
        for requirement in wanted_by(needs, TARGETS[target]):
            assert canonicalize_name(requirement.name) in pins, f"{name} needs {requirement}"


def test_a_list_for_one_machine_has_its_packages_and_no_others() -> None:
    text = RELEASE.read_text()
    on_a_mac = "\n".join(lines_for("macos-arm64-py3.12", text))
    on_linux = "\n".join(lines_for("linux-x86_64-py3.11", text))
    assert "mlx-metal==" in on_a_mac
    assert "mlx-metal==" not in on_linux
    assert "tflite-runtime==" in on_linux
    assert ";" not in on_a_mac
    assert all("--hash=sha256:" in line for line in on_a_mac.splitlines())


def test_lists_that_are_alike_are_written_once(tmp_path: Path, lock: tuple[Pin, ...]) -> None:
    write_lists(tmp_path)
    texts = [file.read_text() for file in tmp_path.iterdir()]
    assert 1 < len(texts) == len(set(texts))
    pinned = {line.split()[0] for text in texts for line in text.splitlines()}
    for pin in lock:
        if any(pin.is_for(environment) for environment in TARGETS.values()):
            assert f"{pin.name}=={pin.version}" in pinned


def test_a_line_that_allows_more_than_one_version_is_no_pin() -> None:
    (pin,) = read_lock(f"numpy>=2 \\\n    --hash=sha256:{'a' * 64}\n")
    with pytest.raises(ValueError, match="pins no version"):
        _ = pin.version
