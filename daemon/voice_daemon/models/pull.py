"""`pull`: bring a model from the hub into the models folder, whole or not at all.

Everything arrives in `<models_dir>/.partial/<model>`, is verified there, and becomes a model by
one rename. A pull that stops, however it stops, leaves no model, and the next one goes on.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from voice_daemon._lib.files import read_json, sync_folder, try_lock, write_atomically
from voice_daemon.errors import ModelError
from voice_daemon.models import store
from voice_daemon.models.catalogue import folder_name, repo_of
from voice_daemon.models.download import Hub, Progress, fetch, part_path, present_bytes
from voice_daemon.models.repo_files import (
    CONFIG,
    RemoteFile,
    check_config,
    select_files,
    select_vocabulary_files,
    vocabulary_source_of,
)

log = structlog.get_logger()

SPARE_BYTES: Final = 100_000_000
"""Free space that a pull leaves on the disk."""

_PARTIAL: Final = ".partial"


@dataclass(frozen=True, slots=True)
class PullResult:
    """A model that is installed now."""

    name: str
    folder: Path
    size_bytes: int
    revision: str | None
    """The hub's commit; None for the bundled model."""
    already_installed: bool
    """True when it was there, intact, and nothing was fetched."""


@dataclass(frozen=True, slots=True)
class _Download:
    """Context that every transfer of one pull shares."""

    hub: Hub
    progress: Progress
    pause: Callable[[float], None]
    partial: Path

    def fetch(self, file: RemoteFile) -> store.ManifestFile:
        sha256 = fetch(file, self.partial, hub=self.hub, progress=self.progress, pause=self.pause)
        return store.ManifestFile(file.name, file.size_bytes, sha256, file.repo_id, file.revision)


def pull(
    name: str,
    *,
    models_dir: Path,
    progress: Progress,
    force: bool = False,
    endpoint: str | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> PullResult:
    """Install the model `name` (short name or repository id) and return where it is.

    An intact model is left alone without asking the hub, unless `force`. `endpoint` is the
    hub's address (default: huggingface_hub's own); `pause(seconds)` waits between attempts.
    Raises `ModelError`; nothing that is installed changes then.
    """
    repo_id = repo_of(name)
    target = models_dir / folder_name(repo_id)
    if not force and (present := _intact(name, target)) is not None:
        return present
    _refuse_foreign(target)
    partial = models_dir / _PARTIAL / target.name
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with _only_one(partial.with_name(f"{partial.name}.lock"), name):
            download = _Download(Hub(endpoint), progress, pause, partial)
            manifest = _collect(repo_id, download)
            _install(manifest, partial, target)
    except OSError as error:
        raise ModelError(
            "models.disk",
            f"{error.filename or models_dir} cannot be written: {error.strerror or error}",
            remedy="make the models folder writable and free some space; what has arrived is kept",
        ) from error
    finally:
        progress.end()
    size_bytes = sum(file.size_bytes for file in manifest.files)
    log.info("models.pulled", model=repo_id, revision=manifest.revision, size_bytes=size_bytes)
    return PullResult(repo_id, target, size_bytes, manifest.revision, already_installed=False)


def _intact(name: str, target: Path) -> PullResult | None:
    """Return the model when it is here and every checksum is right; None when it is not."""
    bundled = store.bundled_folder() if name == store.BUNDLED_NAME else None
    folder = bundled or target
    try:
        manifest = store.read_manifest(folder)
        if store.verify_folder(name, folder).problems:
            return None
    except ModelError:
        return None
    revision = None if manifest is None else manifest.revision
    return PullResult(name, folder, store.size_of(folder), revision, already_installed=True)


def _refuse_foreign(target: Path) -> None:
    """Raise `ModelError` for a folder in the model's place that no pull made."""
    if target.exists() and not (target / store.MANIFEST).exists():
        raise ModelError(
            "models.in_the_way",
            f"{target} exists and was not made by this command",
            remedy="move it away, then run the same command again",
        )


def _collect(repo_id: str, download: _Download) -> store.Manifest:
    """Fetch and verify every file into the partial folder; `config.json` first, to see more."""
    offered = {file.name: file for file in download.hub.files(repo_id)}
    chosen = [offered[name] for name in select_files(repo_id, offered)]
    _check_space([offered[CONFIG]], download.partial)
    download.progress.begin(repo_id, sum(file.size_bytes for file in chosen))
    config_file = download.fetch(offered[CONFIG])
    config = _read_config(repo_id, download.partial / CONFIG)
    names = [file.name for file in chosen]
    check_config(repo_id, config, names)
    source = vocabulary_source_of(repo_id, config, names)
    if source is not None:
        of_source = {file.name: file for file in download.hub.files(source.repo_id)}
        chosen += [
            of_source[name]
            for name in select_vocabulary_files(source, of_source)
            if name not in names
        ]
        download.progress.begin(repo_id, sum(file.size_bytes for file in chosen))
    _remove_leftovers(chosen, download.partial)
    _check_space(chosen, download.partial)
    rest = [download.fetch(file) for file in chosen if file.name != CONFIG]
    return store.Manifest(repo_id, offered[CONFIG].revision, (config_file, *rest))


def _read_config(repo_id: str, path: Path) -> dict[str, Any]:
    try:
        config = read_json(path)
    except ValueError as error:
        config = error
    if not isinstance(config, dict):
        raise ModelError(
            "models.not_a_model",
            f"the {CONFIG} of {repo_id} is not a JSON object",
            remedy="choose another repository; `daemonctl models list` recommends some",
        )
    return config


def _remove_leftovers(chosen: Iterable[RemoteFile], partial: Path) -> None:
    """Remove what an earlier pull left of another revision: it will never be asked for again."""
    wanted = {path for file in chosen for path in (partial / file.name, part_path(file, partial))}
    for path in set(partial.iterdir()) - wanted:
        path.unlink()


def _check_space(chosen: Iterable[RemoteFile], partial: Path) -> None:
    missing = sum(file.size_bytes - present_bytes(file, partial) for file in chosen)
    free = shutil.disk_usage(partial).free
    if missing + SPARE_BYTES > free:
        raise ModelError(
            "models.no_space",
            f"the download needs {missing / 1e6:.0f} MB and {free / 1e6:.0f} MB are free on "
            f"{partial.parent.parent}",
            remedy=f"free some space: {SPARE_BYTES / 1e6:.0f} MB must stay free",
        )


def _install(manifest: store.Manifest, partial: Path, target: Path) -> None:
    """Make the verified folder the model, in place of an older pull of it."""
    write_atomically(partial / store.MANIFEST, manifest.to_json().encode())
    replaced = partial.with_name(f"{partial.name}.old")
    shutil.rmtree(replaced, ignore_errors=True)
    if target.exists():
        # Kept until the new one is in its place.
        target.rename(replaced)
    partial.rename(target)
    # On the disk before the old one goes: a power cut leaves one of them.
    sync_folder(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def _only_one(lock: Path, name: str) -> Iterator[None]:
    """Hold the right to pull this model; raises `ModelError` when another process has it."""
    with lock.open("w") as held:
        if not try_lock(held.fileno()):
            raise ModelError(
                "models.being_pulled",
                f"another process is downloading {name} now",
                remedy="wait for it",
            )
        yield
