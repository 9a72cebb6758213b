"""The microphone's permission outlives upgrades, and is asked for anew where it would be dead."""

from __future__ import annotations

import plistlib
import shutil
import sys

from rigs.fake_launchd.mac import Mac, allow_the_microphone, python_in, told_commands
from rigs.macos.code import Bundle
from rigs.macos.programs import KEYCHAIN
from rigs.macos.tcc import MICROPHONE, Answer
from voice_daemon.launchd import LABEL


def may_listen(mac: Mac) -> bool:
    return mac.tcc.ask(MICROPHONE, mac.places.program) is Answer.GRANTED


def test_another_python_behind_the_same_path_keeps_hash_and_permission(mac: Mac) -> None:
    """`brew upgrade`, or an environment that was made again."""
    link = mac.home / "tools"
    mac.python = python_in(link)
    assert mac.daemonctl("install").code == 0
    allow_the_microphone(mac)
    before = mac.cdhash
    link.unlink()
    assert python_in(mac.home / "newer") != mac.python
    link.symlink_to(mac.home / "newer")
    assert mac.daemonctl("install").code == 0
    assert mac.daemonctl("restart").code == 0
    assert (mac.cdhash, may_listen(mac)) == (before, True)
    assert len(mac.signatures()) == 1


def test_a_python_elsewhere_gets_another_app_and_macos_is_made_to_ask_again(
    installed: Mac,
) -> None:
    allow_the_microphone(installed)
    before = installed.cdhash
    installed.python = python_in(installed.home / "elsewhere")
    done = installed.daemonctl("install")
    assert (done.code, done.err) == (0, "")
    assert told_commands(done.out) == ["bootout", "enable", "bootstrap", "kickstart"]
    assert installed.cdhash != before
    assert installed.tcc.shown_on(MICROPHONE, LABEL) is None, "no switch that is on and dead"
    assert installed.tcc.ask(MICROPHONE, installed.places.program) is Answer.PROMPT
    lines = done.out.splitlines()
    asked = next(n for n, line in enumerate(lines) if "tccutil reset Microphone" in line)
    assert "lsregister -f" in lines[asked - 1]
    assert asked < next(n for n, line in enumerate(lines) if "launchctl bootstrap" in line)


def test_the_old_app_with_a_copy_of_python_is_replaced_and_its_dead_permission_forgotten(
    mac: Mac,
) -> None:
    """What earlier versions made, where their signature was accepted."""
    app = mac.places.app
    mac.places.program.parent.mkdir(parents=True)
    info = {"CFBundleIdentifier": LABEL, "CFBundleExecutable": "voice-daemon"}
    info["NSMicrophoneUsageDescription"] = "it listens"
    (app / "Contents" / "Info.plist").write_bytes(plistlib.dumps(info))
    shutil.copyfile(sys.executable, mac.places.program)
    Bundle(app).sign(LABEL, "-")
    allow_the_microphone(mac)
    done = mac.daemonctl("install")
    assert (done.code, done.err) == (0, "")
    assert mac.tcc.ask(MICROPHONE, mac.places.program) is Answer.PROMPT
    assert not (app.with_name(".VoiceDaemon-old.app")).exists()


def test_an_app_that_was_damaged_is_made_again_and_keeps_its_permission(installed: Mac) -> None:
    allow_the_microphone(installed)
    content = bytearray(installed.places.program.read_bytes())
    content[0x100] ^= 1
    installed.places.program.unlink()  # it runs
    installed.places.program.write_bytes(bytes(content))
    assert not may_listen(installed)
    done = installed.daemonctl("install")
    assert (done.code, done.err) == (0, "")
    assert may_listen(installed)


def test_a_certificate_keeps_the_permission_over_another_content(mac: Mac) -> None:
    mac.state.put(KEYCHAIN, ["Mine"])
    assert mac.daemonctl("install", "--sign", "Mine").code == 0
    allow_the_microphone(mac)
    mac.python = python_in(mac.home / "elsewhere")
    assert mac.daemonctl("install", "--sign", "Mine").code == 0
    assert may_listen(mac)
