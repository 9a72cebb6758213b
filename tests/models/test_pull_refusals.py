"""Pulls that end in a clear error, and what they leave alone."""

from __future__ import annotations

import fcntl
import os
import shutil

import pytest
from huggingface_hub import constants

from rigs.model_pull import REPO, WEIGHTS, PullRig, refused
from voice_daemon.errors import ModelError
from voice_daemon.models import pull as installer
from voice_daemon.models.download import Hub


def test_a_folder_that_no_pull_made_is_never_replaced(rig: PullRig) -> None:
    mine = rig.models_dir / "mlx-community--whisper-base.en-mlx"
    mine.mkdir(parents=True)
    (mine / "my-work").write_text("precious")
    refused(rig, "models.in_the_way", force=True)
    assert (mine / "my-work").read_text() == "precious"
    assert rig.hub.asked == []


def test_a_second_pull_of_the_same_model_is_told_to_wait(rig: PullRig) -> None:
    lock = rig.partial.with_name(f"{rig.partial.name}.lock")
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused(rig, "models.being_pulled")
    rig.pull()


def test_too_little_space_is_told_before_the_weights_are_fetched(
    rig: PullRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough = installer.SPARE_BYTES + 50_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, enough))
    error = refused(rig, "models.no_space")
    assert "0 MB and 100 MB are free" in error.message
    assert rig.hub.ranges_asked(WEIGHTS) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_a_clear_error(rig: PullRig) -> None:
    rig.models_dir.mkdir(mode=0o500)
    refused(rig, "models.disk")


def test_a_file_in_the_models_folders_place_is_a_clear_error(rig: PullRig) -> None:
    rig.models_dir.write_text("not a folder")
    with pytest.raises(ModelError) as raised:
        rig.pull()
    assert raised.value.code == "models.disk"


@pytest.mark.parametrize("name", ["../x", "", "nonsense", "a/b/c"])
def test_a_bad_name_asks_nobody(rig: PullRig, name: str) -> None:
    refused(rig, "models.bad_name", name=name)
    assert rig.hub.asked == []


def test_an_unknown_repository_is_a_clear_error(rig: PullRig) -> None:
    refused(rig, "models.not_found", name="nobody/nothing")


def test_a_gated_repository_says_where_its_terms_are(rig: PullRig) -> None:
    rig.hub.faults.gated = {REPO}
    assert f"{rig.hub.endpoint}/{REPO}" in refused(rig, "models.gated").remedy


def test_a_login_page_instead_of_a_hub_is_a_clear_error(rig: PullRig) -> None:
    rig.hub.faults.login_page = True
    refused(rig, "models.not_a_hub")


def test_a_hub_without_checksums_is_not_trusted(rig: PullRig) -> None:
    rig.hub.faults.without_checksums = True
    refused(rig, "models.not_a_hub")


def test_no_network_is_a_clear_error(rig: PullRig) -> None:
    rig.hub.close()
    assert rig.hub.endpoint in refused(rig, "models.unreachable").message


def test_offline_mode_is_a_clear_error(rig: PullRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refused(rig, "models.offline").message
    assert rig.hub.asked == []


def test_pickled_weights_are_refused_before_anything_is_fetched(rig: PullRig) -> None:
    rig.hub.repos["o/pickled"] = {"config.json": b"{}", "pytorch_model.bin": b"\x80\x02"}
    refused(rig, "models.pickled", name="o/pickled")
    assert [asked.path for asked in rig.hub.asked] == ["/api/models/o/pickled/revision/main"]


@pytest.mark.parametrize("config", [b"[]", b"{", b'{"model_type": "llama"}'])
def test_another_kind_of_model_is_refused_before_its_weights(rig: PullRig, config: bytes) -> None:
    rig.hub.repos["o/other"] = {"config.json": config, "model.safetensors": b"x" * 1000}
    with pytest.raises(ModelError, match="o/other"):
        rig.pull("o/other")
    assert rig.hub.ranges_asked("model.safetensors") == []


@pytest.fixture
def stale_token(rig: PullRig, monkeypatch: pytest.MonkeyPatch) -> str:
    """A token in the environment that the hub refuses; the name of its variable."""
    rig.hub.faults.refuses_tokens = True
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    return "HF_TOKEN"


def test_a_token_that_an_editor_put_something_around_is_sent_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "\ufeffhf_good\r\n")
    assert Hub("http://127.0.0.1")._token() == "hf_good"
    monkeypatch.setenv("HF_TOKEN", "hf_g\u00f6\u00f6d")
    with pytest.raises(ModelError, match="HF_TOKEN holds characters"):
        Hub("http://127.0.0.1")._token()


@pytest.mark.usefixtures("stale_token")
def test_a_public_model_is_pulled_without_a_token_that_has_expired(rig: PullRig) -> None:
    assert (rig.pull().folder / WEIGHTS).is_file()


def test_a_model_that_needs_the_expired_token_names_where_it_is_from(
    rig: PullRig, stale_token: str
) -> None:
    rig.hub.repos.pop(REPO)
    error = refused(rig, "models.token_refused")
    assert stale_token in error.message
    assert "hf auth login" in error.remedy
