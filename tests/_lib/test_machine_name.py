"""What this machine is called: on a Mac what its owner called it, not what the router says."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from voice_daemon._lib.process import machine_name
from voice_daemon.config.values import reduce_host_name


@pytest.fixture
def scutil(tmp_path: Path) -> Path:
    program = tmp_path / "scutil"
    program.write_text('#!/bin/sh\n[ "$*" = "--get LocalHostName" ] && echo Zoes-Mac-mini\n')
    program.chmod(0o755)
    return program


def test_a_mac_has_the_name_that_its_owner_gave_it(
    scutil: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "dhcp-17.example.net")
    assert machine_name("darwin", str(scutil)) == "Zoes-Mac-mini"
    assert reduce_host_name(machine_name("darwin", str(scutil))) == "zoes-mac-mini"


def test_without_one_it_is_the_host_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "mini.local")
    assert machine_name("darwin", str(tmp_path / "missing")) == "mini.local"
    unset = tmp_path / "scutil"
    unset.write_text("#!/bin/sh\necho 'LocalHostName: not set' >&2; exit 1\n")
    unset.chmod(0o755)
    assert machine_name("darwin", str(unset)) == "mini.local"
    assert machine_name("linux", str(unset)) == "mini.local"
