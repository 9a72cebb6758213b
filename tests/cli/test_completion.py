"""`daemonctl completion`, in the shells themselves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from voice_daemon.cli.main import main
from voice_daemon.cli.parser import SHELLS

PATIENCE_S = 30

BASH = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_shtab_daemonctl
printf '%s\\n' "${COMPREPLY[@]}"
"""
# Typed-ahead input keeps zsh from listing: nothing is sent until it says that it has listed.
ZSH = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1='' PROMPT_EOL_MARK=''; stty -echo; fpath+=($2)"
zpty -w shell "autoload -Uz compinit; compinit -u -d $2/dump"
zpty -w shell "setopt NO_LIST_BEEP; LISTMAX=9999"
zpty -w shell "offer() { zle list-choices; zle -R; print -rn -- ' LIS''TED ' }"
zpty -w shell "zle -N offer; bindkey '^I' offer; print REA''DY"
zpty -r shell line '*READY*'
zpty -w -n shell "$3"$'\\t'
zpty -r shell line '*LISTED*'
print -r -- "$line"
zpty -d shell
"""


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    file = folder / "scripts" / "_daemonctl"  # zsh finds it by this name
    file.parent.mkdir()
    file.write_text(capsys.readouterr().out)
    return file


def offered(shell: str, line: str, file: Path) -> str:
    """Type a line that ends where Tab is pressed; what the shell offers."""
    if shell == "bash":
        command = ["bash", "-c", BASH, "bash", str(file), *line.split(" ")]
    elif shell == "fish":
        command = ["fish", "--no-config", "-c", f"source {file}; complete -C '{line}'"]
    else:
        command = ["zsh", "-f", "-c", ZSH, "zsh", str(file), str(file.parent), line]
    done = subprocess.run(
        command,
        cwd=file.parents[1],
        env={"PATH": "/usr/bin:/bin", "HOME": str(file.parent), "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("daemonctl ", "status models test-wake not:pull"),
        ("daemonctl models ", "pull verify not:status"),
        ("daemonctl models pull --", "--force --json not:--watch"),
        ("daemonctl status --", "--watch --json not:--force"),
        ("daemonctl completion ", "bash fish zsh not:status"),
        ("daemonctl transcribe ", "a_clip.wav not:status"),
    ],
)
def test_a_shell_offers_what_may_stand_there(
    shell: str,
    line: str,
    offers: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a_clip.wav").touch()
    words = offered(shell, line, script(shell, tmp_path, capsys)).split()
    for offer in offers.split():
        word = offer.removeprefix("not:")
        assert (word in words) == (word == offer), words


def test_the_scripts_are_in_the_shells_language(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = script(shell, tmp_path, capsys)
    done = subprocess.run([shell, "-n", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_other_shell_is_promised() -> None:
    assert main(["completion", "tcsh"]) == 2
