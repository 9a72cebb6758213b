"""The Hugging Face hub over HTTP: what a repository holds, and the bytes of a file from an offset.

The only module that touches `huggingface_hub`: its endpoint, token, proxy and offline settings
are honoured because its session is used. Its own downloader is not: since 2.x it starts a
broken file from the beginning. Knows nothing of disks.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from huggingface_hub import HfApi, constants, get_session
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined] # public by its documentation
    build_hf_headers,
    hf_raise_for_status,
)

from voice_daemon.errors import ModelError
from voice_daemon.models.repo_files import RemoteFile
from voice_daemon.models.transfer import BrokenTransferError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub.hf_api import RepoSibling

TIMEOUT_S: Final = 30.0
"""Longest silence of the hub, in connecting and between two chunks."""

_RETRY_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_DIGEST: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PARTIAL_CONTENT: Final = 206
_RANGE_NOT_SATISFIABLE: Final = 416

# What it tells the hub of this machine besides what is asked for.
constants.HF_HUB_DISABLE_TELEMETRY = True

# httpx under huggingface_hub 1.x and httpx2 under 2.x: the hub's own error knows which.
_HTTP_ERROR: Final[type[Exception]] = next(
    kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError"
)


class Hub:
    """One hub: `endpoint`, or the one that `HF_ENDPOINT` names, or huggingface.co."""

    def __init__(self, endpoint: str | None = None) -> None:
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        if not re.match(r"https?://[\w.\[\]:-]+(/|$)", self.endpoint):
            raise self._no_hub("the address is not http:// or https://")
        self._api = HfApi(endpoint=self.endpoint)

    def files(self, repo_id: str, *, revision: str = "main") -> tuple[RemoteFile, ...]:
        """List a repository's files at the commit that `revision` is now.

        Raises `ModelError` when it does not exist, is not ours to read, or cannot be reached.
        """
        try:
            info = self._api.model_info(
                repo_id, revision=revision, files_metadata=True, timeout=TIMEOUT_S
            )
        except (OfflineModeIsEnabled, _HTTP_ERROR) as error:
            raise self._explain(error, repo_id) from error
        except (ValueError, TypeError, KeyError) as error:
            raise self._no_hub(f"{type(error).__name__}: {error}") from error
        return tuple(
            self._remote_file(repo_id, sibling, commit=info.sha) for sibling in info.siblings or ()
        )

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
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
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
