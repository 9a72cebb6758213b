from __future__ import annotations

import os
from pathlib import Path

import pytest

from voice_daemon._lib.files import exposed_file, exposed_way, shared_with_a_group

SOMEBODY_ELSE = 12_345
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "folder" / "file"
    made.parent.mkdir(mode=0o755)
    made.touch(0o644)
    return made


def test_a_file_of_ones_own_in_a_folder_of_ones_own_is_nobody_elses(file: Path) -> None:
    assert exposed_file(file) is None
    assert exposed_way(file) is None
    assert shared_with_a_group(file) is None


@pytest.mark.parametrize("mode", [0o646, 0o602, 0o666])
def test_a_file_that_everybody_may_write_is_found(file: Path, mode: int) -> None:
    file.chmod(mode)
    found = exposed_file(file)
    assert found is not None
    assert (found.path, found.remedy) == (file, f"chmod o-w '{file}'")
    assert f"{mode:04o}" in found.fault


def test_a_folder_on_the_way_that_everybody_may_write_is_found(file: Path) -> None:
    file.parent.parent.chmod(0o777)
    found = exposed_way(file)
    assert found is not None
    assert found.path == file.parent.parent
    file.parent.parent.chmod(0o1777)
    assert exposed_way(file) is None, "what lies in a sticky folder is its owner's to replace"


def test_the_way_is_looked_at_on_both_sides_of_a_link(file: Path) -> None:
    link = file.parent.parent / "link"
    link.symlink_to(file)
    file.parent.chmod(0o777)
    for path in (link, file):
        found = exposed_way(path)
        assert found is not None
        assert found.path == file.parent


@needs_root
@pytest.mark.parametrize("sticky", [0, 0o1000])
def test_what_belongs_to_somebody_else_is_found(file: Path, sticky: int) -> None:
    os.chown(file, SOMEBODY_ELSE, -1)
    found = exposed_file(file)
    assert found is not None
    assert found.fault == f"belongs to user {SOMEBODY_ELSE}"
    file.parent.chmod(0o755 | sticky)
    os.chown(file.parent, SOMEBODY_ELSE, -1)
    found = exposed_way(file)
    assert found is not None
    assert found.path == file.parent


@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o775, 0o644), (0o755, 0o664)])
def test_what_a_group_may_write_is_told_apart(file: Path, folder_mode: int, file_mode: int) -> None:
    file.chmod(file_mode)
    file.parent.chmod(folder_mode)
    assert exposed_file(file) is None
    assert exposed_way(file) is None
    found = shared_with_a_group(file)
    assert found is not None
    assert found.path == (file if file_mode & 0o020 else file.parent)
    assert found.remedy == f"chmod g-w '{found.path}'"
