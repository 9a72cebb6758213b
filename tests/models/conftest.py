"""A hub and a models folder, empty at first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from rigs import fake_hub
from rigs.model_pull import REPOS, PullRig


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PullRig]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    huggingface_hub.close_session()
    with fake_hub.FakeHub(REPOS) as hub:
        yield PullRig(hub, tmp_path / "models")
    huggingface_hub.close_session()
