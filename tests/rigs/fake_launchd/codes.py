"""launchctl's answers: exit codes with their texts, as `launchctl error` has them."""

from __future__ import annotations

from dataclasses import dataclass

TEXTS = {
    3: "No such process",
    5: "Input/output error",
    37: "Operation already in progress",
    64: "Unknown subcommand",
    112: "Could not find specified domain",
    113: "Could not find specified service",
    119: "Service is disabled",
    122: "Path had bad ownership/permissions",
    125: "Domain does not support specified action",
    134: "Service cannot load in requested session",
}
VERBS = {"bootstrap": "Bootstrap", "bootout": "Boot-out", "enable": "Enable", "disable": "Disable"}


@dataclass(frozen=True)
class Answer:
    """What launchctl prints and returns."""

    code: int = 0
    out: str = ""
    err: str = ""


def failed(verb: str, code: int) -> Answer:
    """Refuse as `bootstrap` and `bootout` do."""
    more = "Try re-running the command as root for richer errors.\n" if code == 5 else ""
    name = VERBS.get(verb, verb.capitalize())
    return Answer(code, err=f"{name} failed: {code}: {TEXTS[code]}\n{more}")


def not_found(label: str, uid: int) -> Answer:
    """Refuse as `print` and `kickstart` do for an agent that is not loaded."""
    where = f'Could not find service "{label}" in domain for user gui: {uid}'
    return Answer(113, err=f"Bad request.\n{where}\n")
