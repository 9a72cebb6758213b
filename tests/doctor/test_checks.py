from __future__ import annotations

import threading
from collections.abc import Iterator

from voice_daemon.doctor.checks import Check, Finding, Verdict, examine, ok
from voice_daemon.errors import AudioDeviceError


def test_a_check_that_fails_or_hangs_stops_no_other() -> None:
    never = threading.Event()

    def raises() -> Iterator[Finding]:
        raise AudioDeviceError("audio.none", "there is no input", remedy="connect one")

    def breaks() -> Iterator[Finding]:
        yield ok("breaks", "so far")
        raise ZeroDivisionError("odd")

    def hangs() -> Iterator[Finding]:
        yield ok("hangs", "so far")
        never.wait()

    checks = [
        Check("raises", raises),
        Check("breaks", breaks),
        Check("hangs", hangs, timeout_s=0.1),
        Check("good", lambda: (ok("good", "fine"),)),
    ]
    found = list(examine(checks))
    never.set()
    assert [(f.check, f.verdict, f.message) for f in found] == [
        ("raises", Verdict.FAIL, "there is no input"),
        ("breaks", Verdict.OK, "so far"),
        (
            "breaks",
            Verdict.FAIL,
            "this could not be looked at: ZeroDivisionError: odd",
        ),
        ("hangs", Verdict.OK, "so far"),
        ("hangs", Verdict.FAIL, "no answer within 0.1 s"),
        ("good", Verdict.OK, "fine"),
    ]
    assert found[0].remedy == "connect one"
