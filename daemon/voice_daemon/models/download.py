"""The Hugging Face hub over HTTP: what a repository holds, and the bytes of a file from an offset.

Uses `huggingface_hub`'s session, so that its endpoint, token, proxy and offline settings are
honoured; not its downloader, which since 2.x starts a broken file from the beginning.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, Protocol
from urllib.parse import quote

import structlog
from huggingface_hub import HfApi, constants, get_session, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import (  # type: ignore[attr-defined] # public by its documentation
    build_hf_headers,
    hf_raise_for_status,
)

from voice_daemon.errors import ModelError
from voice_daemon.models.repo_files import RemoteFile

log = structlog.get_logger()

ATTEMPTS: Final = 5
"""Attempts in a row that bring no new byte before a transfer is given up."""

_HASH_BLOCK_BYTES: Final = 1 << 20
_SHA256_DIGITS: Final = 64


class BrokenTransferError(Exception):
    """The transfer stopped before its end; asking again may go on from there."""


class Progress(Protocol):
    """Is told how a pull goes on."""

    def begin(self, name: str, total_bytes: int) -> None:
        """Open a pull of `total_bytes`, what is there already included."""

    def at(self, file: str, n_bytes: int) -> None:
        """Note that `n_bytes` of `file` are there; fewer than before when it starts afresh."""

    def end(self) -> None:
        """Close the pull, well or not."""


def part_path(file: RemoteFile, folder: Path) -> Path:
    """Path of a growing file. The digest in the name keeps two revisions apart."""
    return folder / f"{file.name}.{file.digest[:12]}.part"


def present_bytes(file: RemoteFile, folder: Path) -> int:
    """Bytes of a file that an earlier pull has left in `folder`."""
    for path in (folder / file.name, part_path(file, folder)):
        if path.is_file():
            return min(path.stat().st_size, file.size_bytes)
    return 0


def fetch(
    file: RemoteFile,
    folder: Path,
    *,
    hub: Hub,
    progress: Progress,
    pause: Callable[[float], None],
) -> str:
    """Bring `file` into `folder` and return its SHA-256 in hex.

    `pause(seconds)` waits between attempts. Raises `ModelError` when the transfer keeps
    breaking (what has arrived stays) or the bytes are not what the hub promised (they go).
    """
    done, part = folder / file.name, part_path(file, folder)
    if done.is_file():
        sha256 = verified_sha256(done, file)
        if sha256 is not None:
            progress.at(file.name, file.size_bytes)
            return sha256
        done.unlink()
    resumed = part.exists()
    while True:
        _receive(file, part, hub=hub, progress=progress, pause=pause)
        sha256 = verified_sha256(part, file)
        if sha256 is not None:
            part.replace(done)
            return sha256
        part.unlink()
        if not resumed:
            raise ModelError(
                "models.corrupted",
                f"{file.name} of {file.repo_id} arrived damaged: its checksum is not the hub's",
                remedy="run the same command again; nothing was installed",
            )
        resumed = False


def _receive(
    file: RemoteFile, part: Path, *, hub: Hub, progress: Progress, pause: Callable[[float], None]
) -> None:
    """Fill `part` up to the file's size, asking again whenever the transfer breaks."""
    failures = 0
    part.touch()
    while (before := part.stat().st_size) != file.size_bytes:
        try:
            _append(file, part, hub=hub, progress=progress)
        except BrokenTransferError as error:
            failures = 0 if part.stat().st_size > before else failures + 1
            if failures == ATTEMPTS:
                raise ModelError(
                    "models.broken_transfer",
                    f"{file.name} broke off at {before} of {file.size_bytes} bytes: {error}",
                    remedy="run the same command again: it goes on from there",
                ) from error
            pause(2.0**failures / 2)


def _append(file: RemoteFile, part: Path, *, hub: Hub, progress: Progress) -> None:
    """Make one request and write what it brings behind what is there."""
    have = part.stat().st_size
    if have > file.size_bytes:
        # Longer than the file: of another one, or broken.
        have = 0
    progress.at(file.name, have)
    with part.open("r+b") as sink, hub.read(file, from_byte=have) as (first_byte, chunks):
        # A hub that does not resume sends all of it again.
        sink.truncate(first_byte)
        sink.seek(first_byte)
        position = first_byte
        for chunk in chunks:
            # Never more than was promised; whether it is the right file, the checksum tells.
            position += sink.write(chunk[: file.size_bytes - position])
            progress.at(file.name, position)
            if position == file.size_bytes:
                break
        sink.flush()
        os.fsync(sink.fileno())
    if position < file.size_bytes:
        raise BrokenTransferError("the connection ended early")


def verified_sha256(path: Path, file: RemoteFile) -> str | None:
    """Return the file's SHA-256 in hex when its bytes are what the hub promised, else None.

    A small file's digest is git's: the SHA-1 of `blob <size>`, a NUL and the content.
    """
    sha256 = hashlib.sha256()
    header = f"blob {path.stat().st_size}\0".encode()
    is_git_blob = len(file.digest) != _SHA256_DIGITS
    promised = hashlib.sha1(header, usedforsecurity=False) if is_git_blob else sha256
    with path.open("rb") as content:
        while block := content.read(_HASH_BLOCK_BYTES):
            sha256.update(block)
            if is_git_blob:
                promised.update(block)
    return sha256.hexdigest() if promised.hexdigest() == file.digest else None


TIMEOUT_S: Final = 30.0
"""Longest silence of the hub, in connecting and between two chunks."""

_RETRY_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_DIGEST: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_UNAUTHORISED: Final = 401
_PARTIAL_CONTENT: Final = 206
_RANGE_NOT_SATISFIABLE: Final = 416

# What it tells the hub of this machine besides what is asked for.
constants.HF_HUB_DISABLE_TELEMETRY = True

# httpx under huggingface_hub 1.x and httpx2 under 2.x: the hub's own error knows which.
_HTTP_ERROR: Final[type[Exception]] = next(
    kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError"
)


def token_source() -> str:
    """Name the place that huggingface_hub takes its token from; "" where there is none."""
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if os.environ.get(variable):
            return variable
    return constants.HF_TOKEN_PATH if get_token() else ""


class Hub:
    """One hub: `endpoint`, or the one that `HF_ENDPOINT` names, or huggingface.co."""

    def __init__(self, endpoint: str | None = None) -> None:
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        if not re.match(r"https?://[\w.\[\]:-]+(/|$)", self.endpoint):
            raise self._no_hub("the address is not http:// or https://")
        self._api = HfApi(endpoint=self.endpoint)
        self._refused_token = ""
        """Where a token is from that this hub refused; "" while it is sent."""

    def files(self, repo_id: str, *, revision: str = "main") -> tuple[RemoteFile, ...]:
        """List a repository's files at the commit that `revision` is now.

        Raises `ModelError` when it does not exist, is not ours to read, or cannot be reached.
        """
        try:
            info = self._api.model_info(
                repo_id,
                revision=revision,
                files_metadata=True,
                timeout=TIMEOUT_S,
                token=self._token(),
            )
        except (OfflineModeIsEnabled, _HTTP_ERROR) as error:
            if not self._drop_token(error):
                raise self._explain(error, repo_id) from error
            return self.files(repo_id, revision=revision)
        except (ValueError, TypeError, KeyError) as error:
            raise self._no_hub(f"{type(error).__name__}: {error}") from error
        return tuple(
            self._remote_file(repo_id, sibling, commit=info.sha) for sibling in info.siblings or ()
        )

    def _token(self) -> str | Literal[False]:
        """Give the token to send, less what an editor put around it; False for none."""
        if self._refused_token or constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
            return False
        token = (get_token() or "").removeprefix("\ufeff").strip()
        if not token.isascii():
            raise ModelError(
                "models.bad_token",
                f"{token_source()} holds characters that are not ASCII, as no token does",
                remedy="log in again (hf auth login), or remove it",
            )
        return token or False

    def _drop_token(self, error: Exception) -> bool:
        """Leave the token out from now on if it was refused; False when it is not to blame.

        The hub answers 401 to a token that has expired, for a public model too.
        """
        refused = isinstance(error, HfHubHTTPError) and error.response.status_code == _UNAUTHORISED
        source = token_source()
        if not refused or not source or self._refused_token:
            return False
        self._refused_token = source
        log.warning(
            "models.token_refused",
            hub=self.endpoint,
            token_from=source,
            remedy="it is left out; log in again, or remove it",
        )
        return True

    def _remote_file(self, repo_id: str, sibling: RepoSibling, *, commit: str | None) -> RemoteFile:
        digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        if not commit or sibling.size is None or digest is None or not _DIGEST.fullmatch(digest):
            raise self._no_hub(f"no size or checksum for {sibling.rfilename}")
        return RemoteFile(
            name=sibling.rfilename,
            size_bytes=sibling.size,
            digest=digest,
            repo_id=repo_id,
            revision=commit,
        )

    @contextmanager
    def read(self, file: RemoteFile, *, from_byte: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Yield (first byte, chunks) of a file; the first byte is 0 when the hub won't resume.

        Raises `BrokenTransferError` for what may pass, here and from the chunks, and
        `ModelError` for what will not.
        """
        url = f"{self.endpoint}/{file.repo_id}/resolve/{file.revision}/{quote(file.name)}"
        headers = {**build_hf_headers(token=self._token()), "Accept-Encoding": "identity"}
        if from_byte:
            headers["Range"] = f"bytes={from_byte}-"
        try:
            with get_session().stream(
                "GET", url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True
            ) as response:
                if response.status_code in _RETRY_STATUS:
                    raise BrokenTransferError(f"the hub answered {response.status_code}")
                if response.status_code == _RANGE_NOT_SATISFIABLE:
                    yield 0, iter(())
                    return
                hf_raise_for_status(response)
                resumed = response.status_code == _PARTIAL_CONTENT and response.headers.get(
                    "Content-Range", ""
                ).startswith(f"bytes {from_byte}-")
                # As the chunks come: with a size of our own, a break would lose what is buffered.
                yield (from_byte if resumed else 0), response.iter_bytes()
        except (HfHubHTTPError, OfflineModeIsEnabled) as error:
            raise self._explain(error, file.repo_id) from error
        except _HTTP_ERROR as error:
            raise BrokenTransferError(f"{type(error).__name__}: {error}") from error

    def _explain(self, error: Exception, repo_id: str) -> ModelError:
        """Say in one line what the hub's error means here."""
        if isinstance(error, OfflineModeIsEnabled):
            return ModelError(
                "models.offline",
                f"{repo_id} cannot be fetched: HF_HUB_OFFLINE forbids it",
                remedy="unset HF_HUB_OFFLINE for this command",
            )
        if self._refused_token and isinstance(error, HfHubHTTPError):
            return ModelError(
                "models.token_refused",
                f"{self.endpoint} refuses the token from {self._refused_token}, and without it "
                f"does not give out {repo_id}",
                remedy="check the name (owner/name); for a private or gated model log in again "
                "(hf auth login), else remove the token",
            )
        if isinstance(error, GatedRepoError):
            return ModelError(
                "models.gated",
                f"{repo_id} is gated: its owner must let you in",
                remedy=f"accept its terms at {self.endpoint}/{repo_id} and set HF_TOKEN",
            )
        if isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError)):
            return ModelError(
                "models.not_found",
                f"{self.endpoint} has no repository {repo_id} that you may read",
                remedy="check the name (owner/name); for a private one set HF_TOKEN",
            )
        if isinstance(error, HfHubHTTPError):
            status = error.response.status_code
            return ModelError(
                "models.hub_refused",
                f"{self.endpoint} answered {status} for {repo_id}",
                remedy="try again later; what has arrived is kept",
            )
        return ModelError(
            "models.unreachable",
            f"{self.endpoint} cannot be reached: {error}",
            remedy="check the network (and HF_ENDPOINT, proxies); what has arrived is kept",
        )

    def _no_hub(self, detail: str) -> ModelError:
        return ModelError(
            "models.not_a_hub",
            f"{self.endpoint} does not answer like a Hugging Face hub ({detail})",
            remedy="check HF_ENDPOINT, and whether a proxy or a login page answers instead",
        )
