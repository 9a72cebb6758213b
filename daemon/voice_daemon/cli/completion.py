"""`daemonctl completion bash|zsh|fish`: a script that lets a shell complete command lines.

The script holds every command, action and option as they are now, so that completing starts no
program. Made of `voice_daemon.cli.completion`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from voice_daemon.cli.parser import ABOUT, COMMANDS, PROG, command_parser, load_command, top_parser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from voice_daemon.cli.context import Context


@dataclass(frozen=True, slots=True)
class Argument:
    """Something that may stand on the command line."""

    flags: tuple[str, ...]
    """`-f`, `--follow`; () where it is given by its place."""
    value: str
    """What its value is called; empty for a switch."""
    help: str
    choices: tuple[str, ...]
    is_path: bool
    repeats: bool
    """True when several values may follow."""


@dataclass(frozen=True, slots=True)
class Page:
    """What is known of one command, or of one of its actions."""

    name: str
    """`models pull`; empty for the program itself."""
    help: str
    usage: str
    arguments: tuple[Argument, ...]
    actions: tuple[Page, ...]
    example: str = ""

    @property
    def options(self) -> tuple[Argument, ...]:
        """What begins with a dash."""
        return tuple(argument for argument in self.arguments if argument.flags)

    @property
    def places(self) -> tuple[Argument, ...]:
        """What is given by its place."""
        return tuple(argument for argument in self.arguments if not argument.flags)

    @property
    def word(self) -> str:
        """What is typed to get here, after the pages above."""
        return self.name.rpartition(" ")[2]


def program() -> Page:
    """Read the whole of `daemonctl`: its commands are the actions."""
    commands = []
    for name in COMMANDS:
        command = load_command(name)
        page = _page(name, command.HELP, command_parser(command))
        commands.append(replace(page, example=command.EXAMPLE))
    return replace(_page("", ABOUT, top_parser()), actions=tuple(commands))


def _page(name: str, about: str, parser: argparse.ArgumentParser) -> Page:
    # argparse shows its arguments nowhere but here; every generator of completions reads them so.
    entries = parser._actions  # noqa: SLF001 - see above
    arguments = tuple(_argument(e) for e in entries if _is_shown(e))
    actions = tuple(page for entry in entries for page in _actions_of(name, entry))
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    return Page(name, about, usage, arguments, actions)


def _is_shown(entry: argparse.Action) -> bool:
    return entry.help != argparse.SUPPRESS and not isinstance(entry, argparse._SubParsersAction)  # noqa: SLF001 - as above


def _actions_of(name: str, entry: argparse.Action) -> Iterator[Page]:
    if not isinstance(entry, argparse._SubParsersAction):  # noqa: SLF001 - as above
        return
    helps = {choice.dest: choice.help or "" for choice in entry._choices_actions}  # noqa: SLF001 - as above
    for word, parser in entry.choices.items():
        yield _page(f"{name} {word}", helps.get(word, ""), parser)


def _argument(entry: argparse.Action) -> Argument:
    is_switch = entry.nargs == 0
    value = entry.metavar if isinstance(entry.metavar, str) else entry.dest.upper()
    return Argument(
        flags=tuple(entry.option_strings),
        value="" if is_switch else value,
        help=(entry.help or "") % {"prog": PROG, "default": entry.default},
        choices=tuple(str(choice) for choice in entry.choices or ()),
        is_path=entry.type is Path or "FILE" in value,
        repeats=entry.nargs in ("*", "+"),
    )


EXIT_CODES: Final = (
    ("0", "good"),
    ("1", "degraded or failed"),
    ("2", "a mistake on the command line or in the configuration"),
    ("3", "the daemon is not running"),
    ("4", "the agent is not installed"),
    ("75", "`run`: a fault that a restart may cure"),
    ("78", "`run`: the configuration cannot be used"),
    ("130", "ended by Ctrl-C"),
)
ENVIRONMENT: Final = (
    ("VOICE_DAEMON_CONFIG", "the configuration file, where --config does not name one"),
    ("VOICE_DAEMON_HOME", "one folder for configuration, state, log and models"),
    ("VOICE_DAEMON_<SECTION>__<KEY>", "any key of the configuration; wins over the file"),
    ("NO_COLOR", "no colours"),
)


def manual(program: Page, *, version: str) -> str:
    """Write the page."""
    lines = [
        f'.TH DAEMONCTL 1 "" "voice-daemon {_text(version)}" "voice-daemon"',
        ".SH NAME",
        f"daemonctl \\- {_text(program.help[0].lower() + program.help[1:].rstrip('.'))}",
        ".SH SYNOPSIS",
        _text(program.usage),
        ".SH OPTIONS",
        *_arguments(program),
        ".SH COMMANDS",
    ]
    for command in program.actions:
        lines += _command(command)
    for title, rows in (("EXIT STATUS", EXIT_CODES), ("ENVIRONMENT", ENVIRONMENT)):
        lines.append(f".SH {title}")
        for name, meaning in rows:
            lines += [".TP", f".B {_text(name)}", _text(meaning)]
    return "\n".join(lines) + "\n"


def _command(page: Page) -> Iterator[str]:
    yield f".SS {_text(page.name)}"
    yield from (_text(f"{page.help[0].upper()}{page.help[1:]}."), ".PP", ".nf", _text(page.usage))
    yield from (".fi", *_arguments(page))
    for action in page.actions:
        yield from (".TP", f".B {_text(action.name)}", f"{_text(action.help)}", ".RS")
        yield from (*_arguments(action), ".RE")
    if page.example:
        yield from (".PP", "Example:", ".PP", ".nf", f".RS\n{_text(page.example)}\n.RE", ".fi")


def _arguments(page: Page) -> Iterator[str]:
    for argument in (*page.places, *page.options):
        yield from (".TP", _heading(argument), _text(argument.help))


def _heading(argument: Argument) -> str:
    value = f" \\fI{_text(argument.value)}\\fR" if argument.value else ""
    if not argument.flags:
        return f"\\fI{_text(argument.value)}\\fR"
    return ", ".join(f"\\fB{_text(flag)}\\fR" for flag in argument.flags) + value


def _text(text: str) -> str:
    """Keep roff from taking a character for a command, and dashes from becoming hyphens."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return f"\\&{escaped}" if escaped[:1] in {".", "'"} else escaped


NAME = "completion"
HELP = "print a script that completes command lines in a shell"
EXAMPLE = "daemonctl completion zsh > ~/.zfunc/_daemonctl"

SHELLS: Final = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the shell."""
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the script."""
    from voice_daemon.cli.completion import program  # noqa: PLC0415 - loads every command

    scripts: Mapping[str, Callable[[Page], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
    context.out.write(scripts[args.shell](program()))
    return 0


def walk(page: Page) -> Iterator[Page]:
    """Give a page and all below it."""
    yield page
    for action in page.actions:
        yield from walk(action)


def bash(top: Page) -> str:
    """Write the script for bash: `source <(daemonctl completion bash)`."""
    pages = tuple(walk(top))
    words = [f'    "{page.name}") words="{" ".join(_words(page))}" ;;' for page in pages]
    files = [f'    "{p.name}") takes_files=1 ;;' for p in pages if any(a.is_path for a in p.places)]
    return "\n".join(
        (
            "# bash completion for daemonctl, made by `daemonctl completion bash`",
            "_daemonctl() {",
            '  local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
            '  local page="" words="" takes_files="" word longer at',
            "  for ((at = 1; at < COMP_CWORD; at++)); do",
            '    word="${COMP_WORDS[at]}"',
            '    longer="${page:+$page }$word"',
            f'    case "|{"|".join(page.name for page in pages)}|" in',
            '      *"|$longer|"*) page="$longer" ;;',
            "    esac",
            "  done",
            '  case "$before" in',
            *(
                f'    {flag}) COMPREPLY=($(compgen -W "{values}" -- "$current")); return ;;'
                for flag, values in _choices(pages)
            ),
            f"    {'|'.join(_path_flags(pages))}) compopt -o filenames 2>/dev/null",
            '      COMPREPLY=($(compgen -f -- "$current")); return ;;',
            f"    {'|'.join(_other_flags(pages))}) return ;;",
            "  esac",
            '  case "$page" in',
            *words,
            "  esac",
            '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
            '  case "$page" in',
            *files,
            "  esac",
            '  if [ -n "$takes_files" ] && [ "${current#-}" = "$current" ]; then',
            "    compopt -o filenames 2>/dev/null",
            '    COMPREPLY+=($(compgen -f -- "$current"))',
            "  fi",
            "}",
            "complete -F _daemonctl daemonctl",
            "",
        )
    )


def zsh(top: Page) -> str:
    """Write the script for zsh: a file `_daemonctl` in a folder of `fpath`."""
    pages = tuple(walk(top))
    functions = [line for page in pages for line in _zsh_function(page)]
    head = ("#compdef daemonctl", "# made by `daemonctl completion zsh`")
    start = '[ "$funcstack[1]" = _daemonctl ] && _daemonctl "$@" || compdef _daemonctl daemonctl'
    return "\n".join((*head, *functions, start, ""))


def _zsh_function(page: Page) -> Iterator[str]:
    """Complete one page; those below it have functions of their own."""
    yield f"{_zsh_name(page)}() {{"
    if page.actions:
        yield "  local line state"
    yield "  _arguments -s -S -C \\"
    for option in page.options:
        for flag in option.flags:
            others = f"({' '.join(option.flags)})" if len(option.flags) > 1 else ""
            value = f":{option.value}:{_zsh_values(option)}" if option.value else ""
            yield f"    '{others}{flag}[{_zsh_text(option.help)}]{value}' \\"
    for place in page.places:
        number = "*" if place.repeats else ""
        yield f"    '{number}:{place.value}:{_zsh_values(place)}' \\"
    if not page.actions:
        yield "    && return 0"
    else:
        listed = " ".join(f'{action.word}\\:"{_zsh_text(action.help)}"' for action in page.actions)
        yield f"    '1:command:(({listed}))' '*::argument:->more' && return 0"
        yield '  case "$line[1]" in'
        yield from (f"    {action.word}) {_zsh_name(action)} ;;" for action in page.actions)
        yield "  esac"
    yield "}"


def _zsh_name(page: Page) -> str:
    return "_daemonctl" + "".join(f"_{word}" for word in page.name.split())


def _zsh_values(argument: Argument) -> str:
    if argument.choices:
        return f"({' '.join(argument.choices)})"
    return "_files" if argument.is_path else " "


def _zsh_text(text: str) -> str:
    """Keep out what would end a description: quotes, brackets and colons."""
    return text.translate(str.maketrans("[]:", "();", "'\"`"))


def fish(top: Page) -> str:
    """Write the script for fish: a file in ~/.config/fish/completions."""
    lines = ["# fish completion for daemonctl, made by `daemonctl completion fish`"]
    lines += ["complete -c daemonctl -f"]
    for page in walk(top):
        lines += _fish_page(page)
    return "\n".join((*lines, ""))


def _fish_page(page: Page) -> Iterator[str]:
    here = f"complete -c daemonctl -n '{_fish_condition(page)}'"
    for action in page.actions:
        yield f"{here} -a {action.word} -d {_quoted(action.help)}"
    for option in page.options:
        flags = " ".join(
            f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags
        )
        yield f"{here} {flags}{_fish_values(option)} -d {_quoted(option.help)}"
    for place in page.places:
        if place.is_path or place.choices:
            values = " -F" if place.is_path else f" -a {_quoted(' '.join(place.choices))}"
            yield f"{here}{values}"


def _fish_condition(page: Page) -> str:
    if not page.name:
        return "__fish_use_subcommand"
    seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in page.name.split())
    below = " ".join(action.word for action in page.actions)
    return f"{seen}; and not __fish_seen_subcommand_from {below}" if below else seen


def _fish_values(option: Argument) -> str:
    if option.choices:
        return f" -x -a {_quoted(' '.join(option.choices))}"
    if option.is_path:
        return " -r -F"
    return " -x" if option.value else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _words(page: Page) -> Iterator[str]:
    yield from (action.word for action in page.actions)
    yield from (flag for option in page.options for flag in option.flags)
    yield from (choice for place in page.places for choice in place.choices)


def _choices(pages: Iterable[Page]) -> Iterator[tuple[str, str]]:
    """Give each flag whose value is one of a few, once, with its values."""
    found = {
        "|".join(option.flags): " ".join(option.choices)
        for page in pages
        for option in page.options
        if option.choices
    }
    yield from found.items()


def _path_flags(pages: Iterable[Page]) -> tuple[str, ...]:
    return _flags(pages, lambda option: option.is_path)


def _other_flags(pages: Iterable[Page]) -> tuple[str, ...]:
    return _flags(pages, lambda o: bool(o.value) and not o.is_path and not o.choices)


def _flags(pages: Iterable[Page], wanted: Callable[[Argument], bool]) -> tuple[str, ...]:
    """List flags of all pages, once each, in order."""
    options = (option for page in pages for option in page.options if wanted(option))
    return tuple(dict.fromkeys(flag for option in options for flag in option.flags))
