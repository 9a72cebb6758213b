"""`daemonctl run`: the daemon in the foreground, on a microphone or on a file in its place."""

import argparse
import contextlib
from pathlib import Path

import structlog

from voice_daemon._lib.process import forbid_core_dumps
from voice_daemon._lib.terminal import print_error
from voice_daemon.app import Daemon, Input
from voice_daemon.audio import AudioSource
from voice_daemon.audio.authorization import microphone_permission
from voice_daemon.audio.file import FileReplay, FileSource
from voice_daemon.audio.microphone import MicrophoneCapture
from voice_daemon.cli.context import Context
from voice_daemon.cli.parser import MICROPHONE
from voice_daemon.cli.service import config_file
from voice_daemon.config import Effective, LogSettings, Settings
from voice_daemon.config.persisted import SettingsStore
from voice_daemon.errors import (
    EXIT_CONFIG,
    AudioFileError,
    ConfigError,
    UsageError,
    VoiceDaemonError,
)
from voice_daemon.launchd.app_bundle import end_with_parent
from voice_daemon.logs import setup as logs
from voice_daemon.runtime.build import build_engine
from voice_daemon.runtime.live_settings import LiveSettings
from voice_daemon.runtime.microphone_watch import MicrophoneWatch
from voice_daemon.runtime.reloader import Configuration
from voice_daemon.runtime.safe_mode import (
    empty_full_crash_files,
    files_fingerprint,
    wait_for_a_change,
)
from voice_daemon.wake.detector import check_models

CLOSE_MARGIN_S = 5.0
"""Added to the longest session, for the silence that follows a replayed file."""


def run(args: argparse.Namespace, context: Context) -> int:
    """Run until stopped, or until the file is over; raises `VoiceDaemonError` for a fault."""
    if args.fast and args.input == MICROPHONE:
        raise UsageError(
            "run.fast_microphone",
            "--fast is for files: a microphone delivers sound in real time only",
            remedy="add --input FILE, or leave --fast out",
        )
    if args.parent_pipe is not None:
        end_with_parent(args.parent_pipe)
    before = _fingerprint(context) if args.supervised else None
    try:
        return _run(args, context)
    except VoiceDaemonError as error:
        if isinstance(error, ConfigError):
            error.exit_code = EXIT_CONFIG
        if not args.supervised or error.exit_code != EXIT_CONFIG:
            raise
        return _park(error, context, before)


def _park(error: VoiceDaemonError, context: Context, before: object) -> int:
    """Wait until the configuration, or a model that it may name, is another."""
    print_error(error, context.err)
    paths = context.paths()
    with contextlib.suppress(ConfigError):  # a log that cannot be written may be the error
        logs.configure(LogSettings(), log_file=paths.log_file, console=False)
    return wait_for_a_change(
        error,
        before=before,
        fingerprint=lambda: _fingerprint(context),
        socket_path=paths.socket_path,
        log_file=paths.log_file,
    )


def _fingerprint(context: Context) -> object:
    """Give what tells whether the configuration, or a model that it may name, is another."""
    files = (config_file(context), context.paths().models_dir)
    return files_fingerprint(files), _mistakes(context)


def _mistakes(context: Context) -> str:
    """Say what is wrong with the configuration now, files that it names included."""
    try:
        context.settings()
    except ConfigError as error:
        return error.message
    return ""


def _run(args: argparse.Namespace, context: Context) -> int:
    effective, paths = context.effective(), context.paths()
    settings = effective.settings

    if args.supervised:
        empty_full_crash_files()
    forbid_core_dumps()
    is_replay = args.input != MICROPHONE
    audio = (
        file_input(Path(args.input), settings, realtime=not args.fast)[0]
        if is_replay
        else microphone_input(settings, is_app=args.parent_pipe is not None)
    )
    _set_up_log(settings, context)
    _log_warnings(effective)
    live = LiveSettings(settings, store=SettingsStore(paths.changes_file))
    daemon = Daemon(
        live,
        audio,
        build_engine=lambda now_sample, start: build_engine(
            live.settings,
            models_dir=paths.models_dir,
            now_sample=now_sample,
            start=start,
            audio_dir=paths.audio_dir,
        ),
        socket_path=None if is_replay else paths.socket_path,
        log_file=paths.log_file,
        journal_folder=paths.state_dir,
        vocabulary_file=paths.vocabulary_file,
        configuration=_configuration(settings, context),
        early=context.signals,
    )
    return daemon.run()


def _configuration(settings: Settings, context: Context) -> Configuration:
    """Give what it takes to read the configuration again while the daemon runs."""
    return Configuration(
        settings=settings,
        read=context.settings,
        check=lambda new: check_models(new.wake),
        relog=lambda new: _set_up_log(new, context),
    )


def _set_up_log(settings: Settings, context: Context) -> None:
    logs.configure(
        settings.log,
        log_file=context.paths().log_file,
        console=context.err.isatty(),
        log_transcripts=settings.privacy.log_transcripts,
    )


def _log_warnings(effective: Effective) -> None:
    """Say in the log what `config check` warns of."""
    for warning in effective.warnings:
        structlog.get_logger().warning(
            "config.warning",
            file=warning.file,
            key=warning.key,
            reason=warning.message,
            remedy=warning.remedy,
        )


def microphone_input(settings: Settings, *, is_app: bool) -> Input:
    """Give the configured microphone, unopened. `is_app`: the app's launcher is our parent."""

    def name_of(source: AudioSource) -> str:
        return source.device_name if isinstance(source, MicrophoneCapture) else source.description

    watch = MicrophoneWatch(microphone_permission(), may_ask=is_app)
    return Input(lambda: MicrophoneCapture(settings.audio), name_of, watch=watch)


def file_input(path: Path, settings: Settings, *, realtime: bool) -> tuple[Input, FileReplay]:
    """Give a file in the place of a microphone, and its replay.

    Raises `UsageError` for one that cannot be read as audio: it is an argument.
    """
    try:
        probe = FileSource(path, realtime=False)
        probe.start()  # long before the models are loaded
        probe.stop()
    except AudioFileError as error:
        raise UsageError(error.code, error.message, remedy=error.remedy) from error
    session = settings.session
    replay = FileReplay(
        FileSource(path, realtime=realtime),
        realtime=realtime,
        max_silence_s=session.no_speech_timeout_s + session.max_s + CLOSE_MARGIN_S,
    )
    return Input(lambda: replay, replay=replay), replay
