"""The command line of `daemonctl`: every command with its arguments, its help and an example.

Loads nothing heavy, so that `--help`, completion and a mistyped word cost only this file.
"""

import argparse
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from voice_daemon import __version__
from voice_daemon.errors import UsageError
from voice_daemon.logs.records import LEVELS

PROG: Final = "daemonctl"
ABOUT: Final = "Controls voice-daemon: wake word, streaming transcripts, MQTT."
MICROPHONE: Final = "mic"
"""The value of `run --input` for the microphone."""
DEFAULT_LOG_LINES: Final = 200
DEFAULT_MICROPHONE_TEST_S: Final = 5.0
SHELLS: Final = ("bash", "zsh", "fish")
_HELP_COLUMN: Final = 18


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """A subcommand: how it is typed, and the module whose `run` does it."""

    name: str
    help: str
    declare: Callable[[argparse.ArgumentParser], None]
    arguments: str = ""
    """An example to copy, without the program's and the command's name."""
    module: str = ""
    """In `voice_daemon.cli`; the name where empty. One module may serve several commands."""

    @property
    def example(self) -> str:
        """A command line to copy."""
        return f"{PROG} {self.name} {self.arguments}".rstrip()

    @property
    def module_path(self) -> str:
        """The module whose `run(args, context)` does it."""
        return f"voice_daemon.cli.{self.module or self.name}"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read a command line, without the program's name; raises `UsageError`.

    The namespace holds `command`, `config` (None where it was not given), and the command's own.
    """
    return build_parser().parse_args(arguments)


def build_parser() -> argparse.ArgumentParser:
    """Build the whole tree; completion scripts and the manual page are made of it too."""
    parser = _Parser(
        prog=PROG,
        usage=f"{PROG} [--config PATH] COMMAND ...",
        description=ABOUT,
        epilog=f"`{PROG} COMMAND --help` says more about each.",
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"voice-daemon {__version__}")
    _add_config(parser, default=None)
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )
    for command in COMMANDS.values():
        own = commands.add_parser(
            command.name,
            prog=f"{PROG} {command.name}",
            help=command.help,
            description=command.help,
            epilog=f"example:\n  {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.declare(own)
        # Suppressed, so that it keeps what was given before the command.
        _add_config(own, default=argparse.SUPPRESS)
    return parser


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Lists the commands in one column, without argparse's line `COMMAND` above them."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=_HELP_COLUMN)

    def _format_action(self, action: argparse.Action) -> str:
        text = super()._format_action(action)
        return text.split("\n", 1)[1] if action.nargs == argparse.PARSER else text


class _Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are told as all other errors are."""

    def error(self, message: str) -> NoReturn:
        raise UsageError("usage.arguments", message, remedy=f"see `{self.prog} --help`")

    def parse_known_args(  # type: ignore[override] # argparse overloads it
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Refuse an unknown argument here: argparse would blame the program for the command."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.dest == "command" and value not in COMMANDS:
            guess = difflib.get_close_matches(str(value), COMMANDS, n=1)
            remedy = f"did you mean `{PROG} {guess[0]}`?" if guess else f"see `{PROG} --help`"
            raise UsageError(
                "usage.unknown_command", f"there is no command {value!r}", remedy=remedy
            )
        super()._check_value(action, value)


def _path(text: str) -> Path:
    return Path(_name(text))


def _name(text: str) -> str:
    """Refuse the empty name, which would be taken for the folder that the command runs in."""
    if not text:
        raise argparse.ArgumentTypeError("'' is empty; give the name of a file")
    return text


def _add_config(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    parser.add_argument(
        "--config",
        type=_path,
        metavar="PATH",
        default=default,
        help="configuration file (default: $VOICE_DAEMON_CONFIG, else the platform's)",
    )


def _add_json(parser: argparse.ArgumentParser, says: str = "print one JSON document") -> None:
    parser.add_argument("--json", action="store_true", help=says)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        type=_name,
        default=MICROPHONE,
        metavar="mic|FILE",
        help="a sound file to hear instead of the microphone; the daemon ends with it",
    )
    parser.add_argument("--fast", action="store_true", help="replay as fast as possible")
    parser.add_argument(
        "--supervised",
        action="store_true",
        help="used by launchd: on a configuration error, wait for a fix instead of exiting",
    )
    parser.add_argument(
        "--parent-pipe",
        type=int,
        metavar="FD",
        help="used by the app's launcher: end when this pipe is closed",
    )


def _add_demo(parser: argparse.ArgumentParser) -> None:
    _add_json(parser, "print JSON lines")
    parser.add_argument("--port", type=int, help="the broker's port (default: any free one)")


def _add_transcribe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        type=_path,
        metavar="FILE",
        help="a sound file of any rate; - is standard input",
    )
    parser.add_argument("--model", metavar="M", help="a name, a repository id or a folder")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--step-s", type=float, metavar="S", help="seconds of audio between steps")
    how.add_argument(
        "--offline", action="store_true", help="decode each whole file at once, as a reference"
    )
    home = parser.add_mutually_exclusive_group()
    home.add_argument(
        "--vocabulary", type=_path, metavar="FILE", help="a document with the home's names"
    )
    home.add_argument(
        "--no-vocabulary", action="store_true", help="use no names, not even the daemon's own"
    )
    parser.add_argument(
        "--why", action="store_true", help="say why a text was taken for the home's, or was not"
    )
    _add_json(parser, "print a line of JSON for every step")


def _add_serve_wyoming(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", metavar="H", help="address to listen on (wyoming.host)")
    parser.add_argument(
        "--port", type=int, metavar="P", help="port to listen on, 0 for any (wyoming.port)"
    )


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--watch",
        action="store_true",
        help="show level, wake score and words live until Ctrl-C; in a pipe, a line for each "
        "change",
    )
    _add_json(parser, "print JSON (with --watch, a line for each change)")


def _add_logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f", "--follow", action="store_true", help="show new records as they come, until Ctrl-C"
    )
    parser.add_argument(
        "--session",
        metavar="ID",
        help="show one session: its id, the beginning of its id, or `last` for the newest",
    )
    parser.add_argument(
        "--level", choices=LEVELS[:-1], default="debug", help="the least important level shown"
    )
    parser.add_argument(
        "-n",
        "--lines",
        type=int,
        metavar="N",
        help=f"the newest N records (default {DEFAULT_LOG_LINES}; all with --json or --session)",
    )
    _add_json(parser, "print JSON, a line for each record")


def _add_service(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="show every file and command, and do nothing"
    )
    _add_json(parser)


def _add_install(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sign",
        metavar="IDENTITY",
        help="sign the app with this identity of your keychain (default: an ad-hoc signature, "
        "which is enough for your own Mac)",
    )
    _add_service(parser)


def _add_uninstall(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--purge",
        action="store_true",
        help="remove downloaded models, sound, state, measurements and logs as well",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before a purge")
    _add_service(parser)


def _add_mic_test(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="N",
        help=f"how long to listen (default: {DEFAULT_MICROPHONE_TEST_S:g}; a file: all of it)",
    )
    parser.add_argument("--input", type=_path, metavar="FILE", help="measure a sound file instead")
    _add_json(parser)


def _add_recordings(
    parser: argparse.ArgumentParser, flag: str, says: str, *, dest: str | None = None
) -> None:
    parser.add_argument(
        flag,
        dest=dest,
        nargs="+",
        action="extend",
        default=[],
        type=_path,
        metavar="FILE",
        help=says,
    )


def _add_wake_test(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="*",
        type=_path,
        metavar="FILE",
        help="recordings of the wake word, or folders of them; without any: live",
    )
    _add_recordings(
        parser, "--not", "recordings, or folders, in which nobody says the wake word", dest="others"
    )
    parser.add_argument(
        "--wake-word", metavar="NAME", help="a bundled name or a model's path (default: configured)"
    )
    parser.add_argument(
        "--picture", type=_path, metavar="OUT.png", help="draw misses against false accepts"
    )
    parser.add_argument("--seconds", type=float, metavar="N", help="how long to listen, live")
    _add_json(parser, "print one JSON document (live: a line every 0.4 s)")


def _add_wake(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="show the wake words that there are")
    train = actions.add_parser("train", help="make a wake word of your own")
    tried = actions.add_parser("try", help="show its live scores on a meter")
    improve = actions.add_parser(
        "improve", help="train it again, with recordings of what went wrong"
    )
    forget = actions.add_parser("forget", help="remove it, and every recording made for it")
    train.add_argument("phrase", metavar="PHRASE", help='one to five words, such as "okay house"')
    train.add_argument(
        "--again", action="store_true", help="replace your wake word of the same name"
    )
    for action in (train, improve):
        _add_recordings(action, "--takes", "recordings of people who say it, or folders of them")
    _add_recordings(train, "--room", "recordings of the room in which nobody says it")
    train.add_argument("--no-recording", action="store_true", help="do not ask for recordings")
    _add_recordings(
        improve, "--not", "recordings that woke it, and in which nobody says it", dest="others"
    )
    tried.add_argument("--seconds", type=float, metavar="N", help="how long to listen")
    for action in (tried, improve, forget):
        action.add_argument("name", metavar="NAME", help="one of your own: see `wake list`")
    for action in (listed, train, tried, improve, forget):
        _add_json(action)


def _add_models(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="show the models on this disk and those to download")
    measured = actions.add_parser(
        "measure", help="measure how fast a model is on this machine, and its memory"
    )
    listed.add_argument(
        "--measure", action="store_true", help="measure those that were not measured yet"
    )
    pulled = actions.add_parser("pull", help="download a model from the Hugging Face hub")
    verified = actions.add_parser("verify", help="compare a model's files with their checksums")
    pulled.add_argument("--force", action="store_true", help="download it even if it is there")
    for action in (pulled, verified, measured):
        action.add_argument(
            "name",
            metavar="NAME",
            help="a short name (see `models list`) or a repository id, owner/name",
        )
    for action in (listed, measured, pulled, verified):
        _add_json(action)


def _add_vocabulary(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="print what is known of the home")
    check = actions.add_parser("check", help="report every mistake in a document")
    check.add_argument("file", type=_path, metavar="FILE", help="in JSON, or TOML (.toml)")
    pull = actions.add_parser("pull", help="ask Home Assistant for the names, once")
    pull.add_argument("--url", required=True, help="such as http://homeassistant.local:8123")
    pull.add_argument(
        "--token-file",
        required=True,
        type=_path,
        help="a file that holds an administrator's long-lived token",
    )
    pull.add_argument("--out", type=_path, metavar="FILE", help="write there (default: print)")
    say = actions.add_parser("say", help="explain why a sentence is understood, or is not")
    say.add_argument("text", metavar="TEXT", help="the sentence, in quotes")
    say.add_argument(
        "--vocabulary", type=_path, metavar="FILE", help="a document to use instead of the home's"
    )
    spell = actions.add_parser("spell", help="learn how the recogniser writes the names")
    spell.add_argument("file", type=_path, metavar="FILE", help="a document in JSON")
    spell.add_argument("--out", type=_path, metavar="FILE", help="write there (default: print)")
    for action in (show, check, pull, say, spell):
        _add_json(action)


def _add_config_actions(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="report every mistake in the file and the environment")
    check.add_argument(
        "--load", action="store_true", help="load and run the models as well; takes some seconds"
    )
    show = actions.add_parser("show", help="print the values in force and where each comes from")
    actions.add_parser("example", help="print a file with every key, its default and its bounds")
    reset = actions.add_parser("reset", help="undo what was changed while the daemon ran")
    for action in (check, show, reset):
        _add_json(action)


def _add_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


_agent = partial(CommandSpec, declare=_add_service, module="service")
_verb = partial(CommandSpec, declare=_add_json, module="verbs")

_ALL: Final = (
    CommandSpec("run", "run the daemon in the foreground", _add_run, "--input command.wav"),
    CommandSpec(
        "demo", "show the daemon at work on a bundled clip, with a broker of its own", _add_demo
    ),
    CommandSpec(
        "transcribe",
        "stream sound files through the recogniser",
        _add_transcribe,
        "--json command.wav",
    ),
    CommandSpec(
        "serve-wyoming",
        "serve the recogniser to Home Assistant and others by Wyoming",
        _add_serve_wyoming,
        "--host 0.0.0.0 --port 10300",
        module="serve_wyoming",
    ),
    CommandSpec("status", "show the health of the running daemon", _add_status, "--watch"),
    CommandSpec("logs", "show the log, or one session as a story", _add_logs, "--session last"),
    CommandSpec("doctor", "look for what is wrong, and say what to do", _add_json),
    CommandSpec("selfcheck", "check what only a Mac can show, as a report to paste", _add_json),
    _agent(
        "install",
        "install the launchd agent and its app, and start it",
        declare=_add_install,
        arguments="--dry-run",
    ),
    _agent(
        "uninstall",
        "stop and remove the agent and its app",
        declare=_add_uninstall,
        arguments="--purge",
    ),
    _agent("start", "start the installed agent"),
    _agent("stop", "stop the agent until the next login or `daemonctl start`"),
    _agent("restart", "stop the agent cleanly and start it again"),
    _verb("reload", "apply a changed configuration to the running daemon"),
    _verb("listen", "listen for a command now, without the wake word"),
    _verb("cancel", "drop the command that is being spoken"),
    _verb("mute", "stop listening until `daemonctl unmute`"),
    _verb("unmute", "listen again"),
    CommandSpec("devices", "list the audio inputs", _add_json),
    CommandSpec(
        "test-mic",
        "measure the microphone: level, clipping, noise, speech",
        _add_mic_test,
        "--seconds 5",
        module="mic_test",
    ),
    CommandSpec(
        "test-wake",
        "show live wake word scores, or find a threshold from recordings",
        _add_wake_test,
        "said/ --not television.wav --picture wake.png",
        module="wake_test",
    ),
    CommandSpec(
        "wake", "make a wake word of your own, try it, improve it", _add_wake, 'train "okay house"'
    ),
    CommandSpec(
        "models",
        "list, measure, download or verify recogniser models",
        _add_models,
        "pull small.en",
    ),
    CommandSpec(
        "vocabulary",
        "show the home's names, check a document, fetch them, explain a sentence",
        _add_vocabulary,
        'say "turn on the bed light"',
    ),
    CommandSpec(
        "config",
        "check or show the configuration, undo changes, or print an example",
        _add_config_actions,
        "check",
    ),
    CommandSpec(
        "completion",
        "print a script that completes command lines in your shell",
        _add_completion,
        "zsh",
    ),
)

COMMANDS: Final = {command.name: command for command in _ALL}
"""Every command by its name, in the order of the help. A new one is a row above."""
