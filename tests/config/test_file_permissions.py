"""A configuration that somebody else could write: it says who hears what is said in the house."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.config_files import problems_of
from voice_daemon.config import load_effective

SOMEBODY_ELSE = 12_345


@pytest.fixture(autouse=True)
def written(file: Path) -> None:
    file.write_text("[wake]\nthreshold = 0.7\n")
    file.chmod(0o644)


def test_a_file_that_everybody_may_write_is_refused_with_a_remedy(file: Path) -> None:
    file.chmod(0o666)
    (line,) = problems_of(file, {})
    assert line == (
        f"{file}: others could write this file: it may be written by everybody (mode 0666); "
        f"look through it, and run: chmod o-w '{file}'"
    )


def test_a_folder_that_everybody_may_write_is_refused_as_its_file_would_be(file: Path) -> None:
    file.parent.chmod(0o777)
    (line,) = problems_of(file, {})
    assert f"{file.parent} may be written by everybody (mode 0777)" in line
    assert line.endswith(f"run: chmod o-w '{file.parent}'")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(file: Path) -> None:
    os.chown(file, SOMEBODY_ELSE, -1)
    (line,) = problems_of(file, {})
    assert f"it belongs to user {SOMEBODY_ELSE}" in line


def test_a_linked_file_is_judged_by_where_it_lies(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "config.toml"
    link.parent.mkdir()
    link.symlink_to(file)
    assert load_effective(link, {}).warnings == ()
    file.chmod(0o646)
    assert "may be written by everybody" in problems_of(link, {})[0]


def test_a_file_that_a_group_may_write_is_taken_with_a_warning(file: Path) -> None:
    file.chmod(0o664)
    effective = load_effective(file, {})
    assert effective.settings.wake.threshold == 0.7
    (warning,) = effective.warnings
    assert str(warning) == (
        f"{file}: others may be able to write it: it may be written by its group (mode 0664); "
        f"run: chmod g-w '{file}'"
    )


def test_an_authority_that_everybody_may_write_is_refused(file: Path) -> None:
    authority = file.with_name("ca.pem")
    authority.write_text("x")
    authority.chmod(0o666)
    file.write_text('[mqtt]\ntls = true\nca_file = "ca.pem"\n')
    (line,) = problems_of(file, {})
    assert line.startswith(f"{file}: [mqtt] ca_file = ")
    assert line.endswith(f"run: chmod o-w '{authority}'")
