"""The manual page daemonctl(1), made of what `--help` is made of.

Writes the language of man pages and nothing else; `scripts/make-man-page` puts it in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voice_daemon.cli.pages import Argument, Page

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
