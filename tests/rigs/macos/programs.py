"""macOS' own programs as far as an installation runs them: codesign, tccutil, lsregister, scutil.

Run as `python -m rigs.macos.programs STATE NAME ARGUMENT...`; words and exit codes are Apple's.
"""

from __future__ import annotations

import itertools
import plistlib
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.parsers.expat import ExpatError

from rigs.macos.code import AD_HOC, Bundle, RefusedError
from rigs.macos.state import State
from rigs.macos.tcc import MICROPHONE

LOG = "programs.log"
APPS, KEYCHAIN, HOST_NAME = "apps", "keychain", "LocalHostName"
_SERVICES = {"Microphone": (MICROPHONE,), "All": (MICROPHONE,)}


@dataclass(frozen=True)
class Said:
    """How a program ended: what it wrote to standard output and error."""

    code: int = 0
    out: str = ""
    err: str = ""


def codesign(state: State, arguments: Sequence[str]) -> Said:
    """Sign, verify or display one app."""
    *options, path = arguments
    flags = {option for option in options if option.startswith("-") and option != AD_HOC}
    values = dict(itertools.pairwise(options))
    try:
        bundle = Bundle(Path(path))
        if "--verify" in flags:
            bundle.verify()
            return Said()
        if "--display" in flags:
            return _displayed(bundle)
        return _signed(state, bundle, values, force="--force" in flags)
    except RefusedError as refused:
        return Said(1, err=f"{refused}\n")


def _signed(state: State, bundle: Bundle, values: dict[str, str], *, force: bool) -> Said:
    identity = values["--sign"]
    if identity != AD_HOC and identity not in state.get(KEYCHAIN, []):
        return Said(1, err=f"{identity}: no identity found\n")
    if bundle.signature() is not None and not force:
        return Said(1, err=f"{bundle.app}: is already signed\n")
    bundle.sign(values.get("--identifier", str(bundle.info["CFBundleIdentifier"])), identity)
    return Said()


def _displayed(bundle: Bundle) -> Said:
    signature = bundle.signature()
    if signature is None:
        return Said(1, err=f"{bundle.app}: code object is not signed at all\n")
    lines = [
        f"Executable={bundle.program}",
        f"Identifier={signature.identifier}",
        f"CDHash={signature.cdhash}",
        f"Signature={'adhoc' if signature.signed_by == AD_HOC else 'size=4096'}",
    ]
    return Said(err="".join(f"{line}\n" for line in lines))


def lsregister(state: State, arguments: Sequence[str]) -> Said:
    """Tell Launch Services of an app."""
    verb, path = arguments
    try:
        identifier = str(Bundle(Path(path)).info["CFBundleIdentifier"])
    except RefusedError:
        return Said(1, err=f"lsregister: {path}: no such app\n")
    assert verb == "-f"
    state.put(APPS, {**state.get(APPS, {}), identifier: path})
    return Said()


def tccutil(state: State, arguments: Sequence[str]) -> Said:
    """Forget answers; a bundle identifier must be one of an app that is there."""
    verb, service, *identifiers = arguments
    if verb != "reset" or service not in _SERVICES:
        return Said(64, err=f"tccutil: invalid service name {service}\n")
    for identifier in identifiers:
        app = state.get(APPS, {}).get(identifier)
        if app is None or not Path(app).exists():
            return Said(
                70,
                err=f'tccutil: No such bundle identifier "{identifier}": The operation couldn’t '  # noqa: RUF001 - Apple's own
                "be completed. (OSStatus error -10814.)\n",
            )
    for name in _SERVICES[service]:
        answers = state.get(name, {})
        kept = {
            key: value for key, value in answers.items() if identifiers and key != identifiers[0]
        }
        state.put(name, kept)
    return Said(out=f"Successfully reset {service} approval status for {' '.join(identifiers)}\n")


def scutil(state: State, arguments: Sequence[str]) -> Said:
    """Tell one of the Mac's names; HostName is what most Macs have none of."""
    assert arguments[0] == "--get"
    name = state.get(arguments[1], None)
    return Said(out=f"{name}\n") if name else Said(1, err=f"{arguments[1]}: not set\n")


def plutil(_state: State, arguments: Sequence[str]) -> Said:
    """Check one property list."""
    verb, path = arguments
    assert verb == "-lint"
    try:
        plistlib.loads(Path(path).read_bytes())
    except (OSError, ValueError, ExpatError) as error:
        return Said(1, out=f"{path}: {error}\n")
    return Said(out=f"{path}: OK\n")


def described(_state: State, arguments: Sequence[str]) -> Said:
    """Say what kind of file it is, as `file -b` does of a Mac's; ELF stands for Mach-O here."""
    is_code = Path(arguments[-1]).read_bytes().startswith((b"\x7fELF", b"\xcf\xfa\xed\xfe"))
    return Said(out="Mach-O 64-bit executable arm64\n" if is_code else "ASCII text\n")


def constant(key: str, default: str) -> Callable[[State, Sequence[str]], Said]:
    """Make a program that says what the Mac is like."""
    return lambda state, _arguments: Said(out=f"{state.get(key, default)}\n")


PMSET = "System-wide power settings:\n autorestart          1\n sleep                0\n"
VMMAP = "Physical footprint:         412.3M\nIOAccelerator               150.2M\n"
PROGRAMS: dict[str, Callable[[State, Sequence[str]], Said]] = {
    "codesign": codesign,
    "lsregister": lsregister,
    "tccutil": tccutil,
    "scutil": scutil,
    "plutil": plutil,
    "file": described,
    "sw_vers": constant("sw_vers", "15.7.1"),
    "uname": constant("uname", "arm64"),
    "pmset": constant("pmset", PMSET),
    "vmmap": constant("vmmap", VMMAP),
    "fdesetup": constant("fdesetup", "FileVault is Off."),
}


def run(folder: Path, name: str, *arguments: str) -> Said:
    """Run one of the programs, and write down that it was run."""
    state = State(folder)
    with (state.folder / LOG).open("a", encoding="utf-8") as log:
        log.write(f"{shlex.join([name, *arguments])}\n")
    return PROGRAMS[name](state, arguments)


def main(folder: str, name: str, *arguments: str) -> int:
    """Run it as a process."""
    said = run(Path(folder), name, *arguments)
    sys.stdout.write(said.out)
    sys.stderr.write(said.err)
    return said.code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
