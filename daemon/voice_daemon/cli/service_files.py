"""The files around the agent that are not the service's own: configuration, models, state, logs.

Names them from the context of a command, and asks before they are removed. Knows nothing of
launchd.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from voice_daemon.paths import APP_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_daemon.cli.context import Context
    from voice_daemon.launchd import Installation


def ask_before_removing(paths: Sequence[Path], context: Context) -> None:
    """Raise `UsageError` unless somebody at a terminal says yes."""
    from voice_daemon.errors import UsageError  # noqa: PLC0415 - only when it is asked

    context.err.writelines(f"  {path}\n" for path in paths)
    if sys.stdin.isatty():
        context.err.write("remove all of these for good? [y/N] ")
        context.err.flush()
        if sys.stdin.readline().strip().lower() in {"y", "yes"}:
            return
    raise UsageError(
        "service.purge_not_confirmed",
        "nothing was removed: the purge was not confirmed",
        remedy="say `daemonctl uninstall --purge --yes`, or leave --purge out to keep these files",
    )


def belongings(context: Context, installation: Installation) -> list[Path]:
    """Give what the daemon and its commands made, and not the configuration.

    Models, sound, state, measurements and logs; with their rotations, and with what a crash left
    of a file that was being replaced.
    """
    from voice_daemon.models.benchmark import FILE as MEASURED  # noqa: PLC0415 - only when it is asked

    paths, places = context.paths(), installation.places
    kept = (paths.changes_file.name, MEASURED)
    state = [f"{APP_NAME}.sock*", *(f"{name}*" for name in kept), *(f".{name}.*" for name in kept)]
    logs = [f"{log.name}*" for log in (paths.log_file, paths.wyoming_log_file)]
    return [
        paths.models_dir,
        paths.audio_dir,
        *sorted(found for name in state for found in paths.state_dir.glob(name)),
        *sorted(found for name in logs for found in paths.log_file.parent.glob(name)),
        places.out_log,
        places.err_log,
    ]


def crash_files(context: Context) -> tuple[Path, Path]:
    """Give launchd's two files, with the one that holds crashes first."""
    from voice_daemon.launchd import Places  # noqa: PLC0415 - only when it is asked

    places = Places(home=Path.home(), log_folder=context.paths().log_file.parent)
    return places.err_log, places.out_log


def drop_empty_folders(context: Context) -> None:
    """Remove the daemon's own folders where the purge left nothing in them."""
    paths = context.paths()
    for folder in {paths.log_file.parent, paths.state_dir, paths.models_dir.parent}:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def config_file(context: Context) -> Path:
    """Give the file that the agent is to read, whether it is there or not."""
    from voice_daemon.config.sources import CONFIG_VARIABLE  # noqa: PLC0415 - loads pydantic
    from voice_daemon.paths import expand  # noqa: PLC0415 - as above

    named = context.environ.get(CONFIG_VARIABLE)
    file = context.config_path or (expand(named) if named else context.paths().config_file)
    return Path(file).absolute()


def variables(context: Context) -> dict[str, str]:
    """Give what the agent must be told of this environment; say what it is not told."""
    from voice_daemon.config.sources import CONFIG_VARIABLE  # noqa: PLC0415 - loads pydantic
    from voice_daemon.paths import HOME_VARIABLE  # noqa: PLC0415 - as above

    left = [
        name
        for name in sorted(context.environ)
        if name.startswith("VOICE_DAEMON_") and name not in {CONFIG_VARIABLE, HOME_VARIABLE}
    ]
    if left:
        context.err.write(
            f"daemonctl: warning: the agent will not see {', '.join(left)}\n"
            f"  -> write these settings into {config_file(context)}\n"
        )
    home = context.environ.get(HOME_VARIABLE)
    return {HOME_VARIABLE: str(context.paths().state_dir)} if home else {}
