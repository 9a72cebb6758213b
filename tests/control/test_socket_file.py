"""Whose folder the control socket is in, and what may lie in its place."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from voice_daemon.control.socket import listen, make_private_folder
from voice_daemon.errors import ControlError

SOMEBODY_ELSE = 12_345

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can give a folder to another user"
)


@pytest.fixture
def folder(short_folder: Path) -> Path:
    return short_folder.resolve()


def refusal(folder: Path) -> ControlError:
    with pytest.raises(ControlError) as caught:
        make_private_folder(folder)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_in_one_that_everybody_may_write_is_refused(folder: Path, *, exists: bool) -> None:
    state = folder / "open" / "deep" / "state"
    (folder / "open").mkdir()
    if exists:
        state.mkdir(parents=True, mode=0o700)
    (folder / "open").chmod(0o777)
    error = refusal(state)
    assert error.code == "control.unsafe_parent"
    assert f"{folder / 'open'} may be written by everybody (mode 0777)" in error.message
    assert f"chmod o-w '{folder / 'open'}'" in error.remedy
    assert state.exists() is exists


def test_a_way_that_leads_over_a_link_is_looked_at_on_both_sides(folder: Path) -> None:
    (folder / "open").mkdir()
    (folder / "open" / "state").mkdir(mode=0o700)
    (folder / "state").symlink_to(folder / "open" / "state")
    (folder / "open" / "link").symlink_to(folder)
    (folder / "open").chmod(0o777)
    assert refusal(folder / "state").code == "control.unsafe_parent"
    assert refusal(folder / "open" / "link" / "elsewhere").code == "control.unsafe_parent"


def test_a_sticky_folder_above_is_good_enough(folder: Path) -> None:
    (folder / "shared").mkdir()
    (folder / "shared").chmod(0o1777)
    make_private_folder(folder / "shared" / "state")
    assert stat.S_IMODE((folder / "shared" / "state").stat().st_mode) == 0o700


@needs_root
def test_a_folder_of_somebody_else_is_refused_and_so_is_one_below_it(folder: Path) -> None:
    theirs = folder / "theirs"
    theirs.mkdir()
    os.chown(theirs, SOMEBODY_ELSE, SOMEBODY_ELSE)
    assert refusal(theirs).code == "control.shared_folder"
    error = refusal(theirs / "state")
    assert error.code == "control.unsafe_parent"
    assert f"belongs to user {SOMEBODY_ELSE}" in error.message


@pytest.mark.parametrize("target", ["nowhere", "other.sock"])
def test_a_link_in_the_sockets_place_is_refused_and_left(folder: Path, target: str) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(folder / "other.sock"))
        link = folder / "daemon.sock"
        link.symlink_to(folder / target)
        with pytest.raises(ControlError, match="cannot be made: it is a link") as caught:
            listen(link)
        assert "remove what lies there" in caught.value.remedy
        assert link.is_symlink()
        assert (folder / "other.sock").is_socket()
        assert not (folder / "nowhere").exists()
