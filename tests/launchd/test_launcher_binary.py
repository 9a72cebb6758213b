"""The launcher that is committed: made from the source beside it, and fit to run on a Mac."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from rigs.macos import mach_o
from voice_daemon import assets

PROJECT = Path(__file__).parents[2]
LAUNCHER = Path(assets.__file__).with_name("launcher")


def test_it_was_made_from_the_source_that_is_here() -> None:
    about = json.loads(LAUNCHER.with_name("launcher.json").read_text())
    files = {"launcher": LAUNCHER, "launcher.c": PROJECT / "launchd" / "launcher.c"}
    found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    assert found == about["sha256"], "run scripts/make-launcher"
    assert (
        f"{about['compiler'].replace(' ', '==')} "
        in (PROJECT / "requirements" / "launcher.txt").read_text()
    )


def test_a_mac_with_apple_silicon_and_macos_14_can_run_it() -> None:
    program = mach_o.read(LAUNCHER.read_bytes())
    assert (program.cpu, program.kind) == (mach_o.ARM64, mach_o.EXECUTE)
    assert (program.platform, program.minos) == (mach_o.MACOS, (14, 0))


def test_it_needs_nothing_but_what_every_process_has() -> None:
    assert mach_o.read(LAUNCHER.read_bytes()).libraries == ("/usr/lib/libSystem.B.dylib",)


def test_it_has_a_uuid_of_its_own() -> None:
    """Local network privacy tells programs apart by it (Apple's TN3179)."""
    uuid = mach_o.read(LAUNCHER.read_bytes()).uuid
    assert uuid is not None
    assert len(set(uuid.bytes)) > 8


def test_it_is_signed_and_its_signature_fits() -> None:
    """Apple Silicon runs nothing without; `install` signs it again as a part of the app."""
    signature = mach_o.read(LAUNCHER.read_bytes()).signature
    assert signature is not None
    assert signature.ad_hoc
    assert signature.fits


def test_a_changed_byte_would_not_fit() -> None:
    content = bytearray(LAUNCHER.read_bytes())
    content[0x4000] ^= 1
    signature = mach_o.read(bytes(content)).signature
    assert signature is not None
    assert not signature.fits


def test_it_never_leaves_its_responsibility_for_the_child() -> None:
    assert b"disclaim" not in LAUNCHER.read_bytes()


@pytest.mark.slow
def test_it_is_built_again_to_the_same_bytes() -> None:
    script = PROJECT / "scripts" / "make-launcher"
    done = subprocess.run([script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
