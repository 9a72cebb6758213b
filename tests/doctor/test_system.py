from __future__ import annotations

import os
import plistlib
from pathlib import Path

import pytest

from voice_daemon.config import MqttSettings
from voice_daemon.doctor import system
from voice_daemon.doctor.checks import Verdict
from voice_daemon.errors import BrokerError

NOW_S = 1_795_341_600.0


def test_a_volume_is_told_once_and_by_a_place_that_is_not_made_yet(tmp_path: Path) -> None:
    places = {"models": tmp_path / "not" / "yet", "the log": tmp_path}
    found = list(system.disk(places))
    assert len(found) == 1
    assert str(tmp_path) in found[0].message


@pytest.mark.parametrize(
    ("limit", "verdict"), [("FULL_BYTES", Verdict.FAIL), ("TIGHT_BYTES", Verdict.WARN)]
)
def test_a_full_volume_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, verdict: Verdict
) -> None:
    monkeypatch.setattr(system, limit, 10**18)
    assert [finding.verdict for finding in system.disk({"models": tmp_path})] == [verdict]


@pytest.mark.parametrize(
    ("now_s", "verdict"),
    [(NOW_S, Verdict.OK), (0.0, Verdict.FAIL), (NOW_S - 86_400, Verdict.WARN)],
)
def test_a_clock_that_cannot_be_right_is_told(
    tmp_path: Path, now_s: float, verdict: Verdict
) -> None:
    log_file = tmp_path / "log"
    log_file.touch()
    os.utime(log_file, (NOW_S, NOW_S))
    assert [f.verdict for f in system.clock(log_file, now_s=lambda: now_s)] == [verdict]


def test_mlx_computes_here() -> None:
    (finding,) = system.compute()
    assert finding.message.startswith("MLX computes")


@pytest.mark.parametrize(
    ("code", "platform", "verdict", "message"),
    [
        ("raise ImportError('no mlx')", "linux", Verdict.FAIL, "no mlx"),
        ("import os; os.abort()", "linux", Verdict.FAIL, "exit code -6"),
        (
            'print(\'{"fast": true, "metal": false, "ms": 1}\')',
            "darwin",
            Verdict.FAIL,
            "Metal",
        ),
        (
            'print(\'{"fast": false, "metal": false, "ms": 1}\')',
            "linux",
            Verdict.WARN,
            "OpenBLAS",
        ),
        ('print(\'{"fast": true, "metal": true, "ms": 1}\')', "darwin", Verdict.OK, "Metal"),
        ("print('nothing of ours')", "linux", Verdict.FAIL, "does not compute"),
    ],
)
def test_arithmetic_that_is_slow_or_dies_is_told(
    code: str, platform: str, verdict: Verdict, message: str
) -> None:
    (finding,) = system.compute(platform=platform, code=code)
    assert finding.verdict is verdict
    assert message in finding.message


@pytest.mark.parametrize(("mode", "verdict"), [(0o644, Verdict.OK), (0o664, Verdict.WARN)])
def test_a_configuration_that_others_may_write_is_told(
    tmp_path: Path, mode: int, verdict: Verdict
) -> None:
    config_file = tmp_path / "config.toml"
    config_file.touch()
    config_file.chmod(mode)
    assert [f.verdict for f in system.files(config_file, MqttSettings())] == [verdict]


def test_a_password_that_others_may_read_is_told(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x\n")
    secret.chmod(0o644)
    with pytest.raises(BrokerError, match="may be read by others"):
        list(system.files(tmp_path / "none", MqttSettings(password_file=secret)))


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        (plistlib.dumps({"autoLoginUser": "zoe"}), Verdict.OK),
        (plistlib.dumps({"autoLoginUser": "zoe"}, fmt=plistlib.FMT_BINARY), Verdict.OK),
        (plistlib.dumps({}), Verdict.WARN),
        (None, Verdict.WARN),
        (b"odd", Verdict.SKIP),
    ],
)
def test_automatic_login_is_read_from_the_login_window(
    tmp_path: Path, content: bytes | None, verdict: Verdict
) -> None:
    path = tmp_path / "com.apple.loginwindow.plist"
    if content is not None:
        path.write_bytes(content)
    assert [f.verdict for f in system.automatic_login(path)] == [verdict]
