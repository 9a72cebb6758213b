"""Checks of the machine (disk, clock, arithmetic, permissions, login) and of the names."""

import plistlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from voice_daemon._lib.files import shared_with_a_group
from voice_daemon.config import MqttSettings, Settings
from voice_daemon.doctor.checks import Finding, answer_of, fail, ok, skip, warn
from voice_daemon.mqtt.tls import read_password
from voice_daemon.vocabulary.document import VocabularyError
from voice_daemon.vocabulary.store import known_document
from voice_daemon.vocabulary.templates import closest_language, installed

MB: Final = 1_000_000
FULL_BYTES: Final = 200 * MB
TIGHT_BYTES: Final = 2000 * MB
"""Room for a model and the log."""
EARLIEST_YEAR: Final = 2025
LATEST_YEAR: Final = 2100
FUTURE_S: Final = 300.0
COMPUTE_TIMEOUT_S: Final = 60.0
LOGIN_WINDOW: Final = Path("/Library/Preferences/com.apple.loginwindow.plist")

_SET_CLOCK: Final = "System Settings > General > Date & Time: set the time automatically"
_COMPUTE: Final = """
import json, time
from voice_daemon.asr.openblas import preload_openblas
fast = preload_openblas()
import mlx.core as mx
a = mx.random.normal((512, 512))
mx.eval(a @ a)
began_s = time.monotonic()
mx.eval(a @ a @ a)
ms = round((time.monotonic() - began_s) * 1000, 1)
print(json.dumps({"fast": fast, "metal": mx.metal.is_available(), "ms": ms}))
"""


def disk(places: Mapping[str, Path]) -> Iterator[Finding]:
    """Look at the room for each place, by what it holds; volumes are told once."""
    told: set[int] = set()
    for what, path in places.items():
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        device = there.stat().st_dev
        if device in told:
            continue
        told.add(device)
        free = shutil.disk_usage(there).free
        message = f"{free / 1e9:.1f} GB free for {what} in {there}"
        remedy = f"make room on the volume of {there}"
        if free < FULL_BYTES:
            yield fail("disk", message, remedy)
        elif free < TIGHT_BYTES:
            yield warn("disk", message, f"{remedy}: a model may need 3 GB")
        else:
            yield ok("disk", message)


def clock(log_file: Path, *, now_s: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Look for a clock that cannot be right: certificates and time stamps depend on it."""
    now = now_s()
    year = time.gmtime(now).tm_year
    said = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if not EARLIEST_YEAR <= year <= LATEST_YEAR:
        yield fail("clock", f"it says {said}", _SET_CLOCK)
        return
    try:
        ahead_s = log_file.stat().st_mtime - now
    except OSError:
        ahead_s = 0.0
    if ahead_s > FUTURE_S:
        message = f"it says {said}, and the log was written {ahead_s / 60:.0f} minutes after that"
        yield warn("clock", message, _SET_CLOCK)
    else:
        yield ok("clock", f"it says {said}")


def compute(
    *, python: str = sys.executable, platform: str = sys.platform, code: str = _COMPUTE
) -> Iterator[Finding]:
    """Let MLX multiply in a process of its own, which may die of it."""
    try:
        figures = answer_of([python, "-c", code], timeout_s=COMPUTE_TIMEOUT_S)
    except ValueError as error:
        yield fail("compute", f"MLX does not compute: {error}", "install voice-daemon again")
        return
    if platform == "darwin" and not figures["metal"]:
        remedy = "log in at the Mac's screen; a virtual machine has none"
        yield fail("compute", "Metal is not available: the recogniser would be slow", remedy)
    elif not figures["fast"]:
        remedy = "Debian: apt-get install libopenblas0-pthread"
        yield warn("compute", "OpenBLAS is not installed: the recogniser is slow", remedy)
    else:
        how = "on Metal" if figures["metal"] else "on the CPU"
        yield ok("compute", f"MLX computes {how}")


def files(config_file: Path, mqtt: MqttSettings) -> Iterator[Finding]:
    """Look who may write the configuration, and read what is secret."""
    if not config_file.exists():
        yield ok("files", f"no configuration at {config_file}: the defaults are in force")
    elif shared := shared_with_a_group(config_file):
        message = f"others may be able to write {config_file}: {shared.path} {shared.fault}"
        yield warn("files", message, f"run: {shared.remedy}")
    else:
        yield ok("files", f"{config_file} is yours to write alone")
    if mqtt.password_file is not None:
        read_password(mqtt.password_file)
        yield ok("files", f"mqtt.password_file {mqtt.password_file} is yours to read alone")


def automatic_login(login_window: Path = LOGIN_WINDOW) -> Iterator[Finding]:
    """Look whether a Mac logs in by itself after a power cut; without it no agent starts."""
    remedy = (
        "for a Mac on the shelf: System Settings > Users & Groups > Automatically log in as "
        "(FileVault must be off); or log in after each restart"
    )
    try:
        with login_window.open("rb") as file:
            user = plistlib.load(file).get("autoLoginUser")
    except FileNotFoundError:
        user = None
    except (OSError, ValueError, plistlib.InvalidFileException) as error:
        yield skip("login", f"{login_window} cannot be read: {error}")
        return
    if user:
        yield ok("login", f"{user} is logged in automatically")
    else:
        yield warn("login", "nobody is logged in automatically after a restart", remedy)


def vocabulary(settings: Settings, stored: Path) -> Iterator[Finding]:
    """Look what is known of the home, and whether it can be used."""
    wanted = settings.vocabulary
    if not wanted.enabled:
        yield skip("vocabulary", "vocabulary.enabled is false")
        return
    try:
        known = known_document(stored, wanted.file)
    except VocabularyError as error:
        yield warn("vocabulary", f"{wanted.file}: {error.message}", error.remedy)
        return
    if known is None:
        yield skip("vocabulary", "no names of a home are known: see docs/vocabulary.md")
        return
    document = known.document
    language = document.language or settings.asr.language
    if not installed():
        yield warn(
            "vocabulary",
            f"{document.n_names} names are known, and the home's sentences are not installed",
            "pip install 'voice-daemon[home]'",
        )
    elif language != "auto" and wanted.sentences != "none" and closest_language(language) is None:
        yield warn(
            "vocabulary",
            f"there are no sentences for language {language!r}",
            'set sentences = "none" in [vocabulary] to use those of the document alone',
        )
    elif document.n_left_out or document.warnings:
        parts = {"entries left out": document.n_left_out, "with a warning": len(document.warnings)}
        odd = ", ".join(f"{n} {what}" for what, n in parts.items() if n)
        yield warn(
            "vocabulary",
            f"{document.n_names} names from {known.source}, {odd}",
            "check the document: `daemonctl vocabulary check FILE`",
        )
    else:
        yield ok("vocabulary", f"{document.n_names} names from {known.source}")
