"""Pulls that end in a clear error, and what they leave alone."""

from __future__ import annotations

import fcntl
import os
import shutil

import pytest
from huggingface_hub import constants

from support.pulls import REPO, WEIGHTS, Bench, refused
from voice_daemon.errors import ModelError
from voice_daemon.models import pull as installer


def test_a_folder_that_no_pull_made_is_never_replaced(bench: Bench) -> None:
    mine = bench.models_dir / "mlx-community--whisper-base.en-mlx"
    mine.mkdir(parents=True)
    (mine / "my-work").write_text("precious")
    refused(bench, "models.in_the_way", force=True)
    assert (mine / "my-work").read_text() == "precious"
    assert bench.hub.asked == []


def test_a_second_pull_of_the_same_model_is_told_to_wait(bench: Bench) -> None:
    lock = bench.partial.with_name(f"{bench.partial.name}.lock")
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused(bench, "models.being_pulled")
    bench.pull()


def test_too_little_space_is_told_before_the_weights_are_fetched(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough = installer.SPARE_BYTES + 50_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, enough))
    error = refused(bench, "models.no_space")
    assert "0 MB and 100 MB are free" in error.message
    assert bench.hub.ranges_asked(WEIGHTS) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_a_clear_error(bench: Bench) -> None:
    bench.models_dir.mkdir(mode=0o500)
    refused(bench, "models.disk")


def test_a_file_in_the_models_folders_place_is_a_clear_error(bench: Bench) -> None:
    bench.models_dir.write_text("not a folder")
    with pytest.raises(ModelError) as raised:
        bench.pull()
    assert raised.value.code == "models.disk"


@pytest.mark.parametrize("name", ["../x", "", "nonsense", "a/b/c"])
def test_a_bad_name_asks_nobody(bench: Bench, name: str) -> None:
    refused(bench, "models.bad_name", name=name)
    assert bench.hub.asked == []


def test_an_unknown_repository_is_a_clear_error(bench: Bench) -> None:
    refused(bench, "models.not_found", name="nobody/nothing")


def test_a_gated_repository_says_where_its_terms_are(bench: Bench) -> None:
    bench.hub.faults.gated = {REPO}
    assert f"{bench.hub.endpoint}/{REPO}" in refused(bench, "models.gated").remedy


def test_a_login_page_instead_of_a_hub_is_a_clear_error(bench: Bench) -> None:
    bench.hub.faults.login_page = True
    refused(bench, "models.not_a_hub")


def test_a_hub_without_checksums_is_not_trusted(bench: Bench) -> None:
    bench.hub.faults.without_checksums = True
    refused(bench, "models.not_a_hub")


def test_no_network_is_a_clear_error(bench: Bench) -> None:
    bench.hub.close()
    assert bench.hub.endpoint in refused(bench, "models.unreachable").message


def test_offline_mode_is_a_clear_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refused(bench, "models.offline").message
    assert bench.hub.asked == []


def test_pickled_weights_are_refused_before_anything_is_fetched(bench: Bench) -> None:
    bench.hub.repos["o/pickled"] = {"config.json": b"{}", "pytorch_model.bin": b"\x80\x02"}
    refused(bench, "models.pickled", name="o/pickled")
    assert [asked.path for asked in bench.hub.asked] == ["/api/models/o/pickled/revision/main"]


@pytest.mark.parametrize("config", [b"[]", b"{", b'{"model_type": "llama"}'])
def test_another_kind_of_model_is_refused_before_its_weights(bench: Bench, config: bytes) -> None:
    bench.hub.repos["o/other"] = {"config.json": config, "model.safetensors": b"x" * 1000}
    with pytest.raises(ModelError, match="o/other"):
        bench.pull("o/other")
    assert bench.hub.ranges_asked("model.safetensors") == []
