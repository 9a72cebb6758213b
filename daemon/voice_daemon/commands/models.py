"""`daemonctl models list|pull|verify`: the recogniser models on this disk.

Shows what `voice_daemon.models` finds and does; decides nothing about models itself.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from voice_daemon.commands import Context
    from voice_daemon.models import InstalledModel

NAME = "models"
HELP = "list, download or verify recogniser models"
EXAMPLE = "daemonctl models pull small.en"

GOOD: Final = 0
DAMAGED: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the three actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="show the models on this disk and those to download")
    pulled = actions.add_parser("pull", help="download a model from the Hugging Face hub")
    verified = actions.add_parser("verify", help="compare a model's files with their checksums")
    pulled.add_argument("--force", action="store_true", help="fetch it even if it is there")
    for action in (pulled, verified):
        action.add_argument(
            "name",
            metavar="NAME",
            help="a short name (see `models list`) or a repository id, owner/name",
        )
    for action in (listed, pulled, verified):
        action.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace, context: Context) -> int:
    """Do one action; raises `ModelError`."""
    if args.action == "pull":
        return _pull(context, args.name, force=args.force, as_json=args.json)
    if args.action == "verify":
        return _verify(context, args.name, as_json=args.json)
    return _list(context, as_json=args.json)


def _pull(context: Context, name: str, *, force: bool, as_json: bool) -> int:
    from voice_daemon.models import pull  # noqa: PLC0415 - only when it is run
    from voice_daemon.models.progress import progress_to  # noqa: PLC0415 - loads rich

    result = pull(
        name,
        models_dir=context.paths().models_dir,
        progress=progress_to(context.err),
        force=force,
    )
    if as_json:
        context.print_json(
            {
                "model": result.name,
                "folder": str(result.folder),
                "size_bytes": result.size_bytes,
                "revision": result.revision,
                "already_installed": result.already_installed,
            }
        )
        return GOOD
    what = "is already here and intact" if result.already_installed else "installed and verified"
    context.out.write(f"{result.name}: {what} ({size_text(result.size_bytes)})\n")
    context.out.write(f'use it with: asr.model = "{name}"\n')
    return GOOD


def _verify(context: Context, name: str, *, as_json: bool) -> int:
    from voice_daemon.models import verify  # noqa: PLC0415 - only when it is run

    result = verify(name, models_dir=context.paths().models_dir)
    if as_json:
        context.print_json(
            {
                "model": result.name,
                "folder": str(result.folder),
                "files": result.n_files,
                "intact": not result.problems,
                "problems": list(result.problems),
            }
        )
    elif result.problems:
        context.out.writelines(f"{result.name}: {problem}\n" for problem in result.problems)
        context.err.write(f"  -> {result.remedy}\n")
    else:
        context.out.write(f"{result.name}: intact, {result.n_files} files\n")
    return DAMAGED if result.problems else GOOD


def _list(context: Context, *, as_json: bool) -> int:
    from voice_daemon.models import list_models, locate  # noqa: PLC0415 - only when it is run

    models_dir = context.paths().models_dir
    configured = context.settings().asr.model
    in_use = locate(configured, models_dir=models_dir)
    show = _list_as_json if as_json else _list_as_text
    show(context, list_models(models_dir=models_dir), configured=configured, in_use=in_use)
    return GOOD


def _list_as_json(
    context: Context, models: Sequence[InstalledModel], *, configured: str, in_use: Path | None
) -> None:
    from voice_daemon.models import CATALOGUE  # noqa: PLC0415 - only when it is run

    context.print_json(
        {
            "configured": configured,
            "configured_folder": None if in_use is None else str(in_use),
            "models": [_as_json(model, in_use=model.folder == in_use) for model in models],
            "recommended": [asdict(entry) for entry in CATALOGUE],
        }
    )


def _list_as_text(
    context: Context, models: Sequence[InstalledModel], *, configured: str, in_use: Path | None
) -> None:
    from voice_daemon.models import CATALOGUE  # noqa: PLC0415 - only when it is run

    rows = [
        (
            "*" if model.folder == in_use else "",
            model.name,
            size_text(model.size_bytes),
            model.layout,
            model.languages,
            "bundled" if model.bundled else "",
        )
        for model in models
    ]
    _write_table(context, ("", "installed", "size", "layout", "languages", ""), rows)
    if in_use is None:
        context.out.write(f'asr.model = "{configured}" is not on this disk\n')
    elif all(model.folder != in_use for model in models):
        context.out.write(f"asr.model is the folder {in_use}\n")
    offers = [
        ("", entry.name, f"{entry.approx_mb} MB", entry.languages, entry.advice)
        for entry in CATALOGUE
        if entry.advice
    ]
    context.out.write("\n")
    _write_table(context, ("", "to download", "about", "languages", "for"), offers)
    others = ", ".join(entry.name for entry in CATALOGUE if not entry.advice)
    context.out.write(f"   also: {others}, and any Whisper repository by its id\n")
    context.out.write("   daemonctl models pull NAME\n")


def _as_json(model: InstalledModel, *, in_use: bool) -> dict[str, object]:
    return {
        "name": model.name,
        "folder": str(model.folder),
        "size_bytes": model.size_bytes,
        "layout": model.layout,
        "languages": model.languages,
        "bundled": model.bundled,
        "revision": model.revision,
        "configured": in_use,
    }


def _write_table(context: Context, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write columns as wide as their widest cell; the first one is a mark."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    widths[0] = 1
    for row in (head, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        context.out.write("  ".join(cells).rstrip() + "\n")


def size_text(n_bytes: int) -> str:
    """Bytes as people read them, in decimal units as disks are sold."""
    mb = n_bytes / 1e6
    return f"{mb / 1000:.2f} GB" if mb >= 1000 else f"{mb:.1f} MB"  # noqa: PLR2004 - a unit
