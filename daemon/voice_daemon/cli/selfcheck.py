"""`daemonctl selfcheck`: what only a Mac can show, as a report to paste into an issue."""

import argparse
from dataclasses import asdict
from typing import Any, Final

from voice_daemon import __version__
from voice_daemon.cli.context import Context
from voice_daemon.cli.diagnosis import probe
from voice_daemon.cli.service import installation_of
from voice_daemon.config.load import DEFAULT
from voice_daemon.doctor.mac import MacCheck, SelfCheck, SelfCheckVerdict, compute_here
from voice_daemon.errors import EXIT_FAILED, EXIT_OK, ConfigError

_NAME_WIDTH: Final = 24
HEAD: Final = (
    "A report to paste into an issue. It holds no secret, no name and nothing that was said."
)


def run(
    args: argparse.Namespace,
    context: Context,
    *,
    compute_options: dict[str, Any] | None = None,
) -> int:
    """Look at everything; raises `ServiceError` off macOS."""
    looked_at = _self_check(context, compute_options)
    if not args.json:
        context.out.write(f"{HEAD}\nvoice-daemon {__version__}\n\n")
    found = []
    for check in looked_at.look():
        found.append(check)
        if not args.json:
            _print(check, context)
    n_good = sum(check.verdict is SelfCheckVerdict.AS_EXPECTED for check in found)
    if args.json:
        checks = [asdict(check) for check in found]
        document = {"version": __version__, "as_expected": n_good == len(found)}
        context.print_json({**document, "checks": checks})
    else:
        context.out.write(f"\n{n_good} of {len(found)} as expected\n")
    return EXIT_OK if n_good == len(found) else EXIT_FAILED


def _self_check(context: Context, compute_options: dict[str, Any] | None) -> SelfCheck:
    installation = installation_of(context)
    try:
        is_fixed = context.effective().origins["", "node_id"] != DEFAULT
    except ConfigError:
        is_fixed = False
    return SelfCheck(
        installation.machine,
        installation.places,
        probe(context).status,
        name_is_fixed=is_fixed,
        compute_options=compute_options or compute_here(),
    )


def _print(check: MacCheck, context: Context) -> None:
    context.out.write(f"{check.verdict.value:<12} {check.check:<{_NAME_WIDTH}} {check.how}\n")
    for name, text in (("expected", check.expected), ("seen", check.seen)):
        context.out.write(f"{'':<12} {name:>{_NAME_WIDTH}}: {text}\n")
    context.out.flush()
