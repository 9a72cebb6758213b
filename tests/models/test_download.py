"""Transfers that break, lie or were damaged, and how the next attempt goes on."""

from __future__ import annotations

import pytest

from rigs.model_pull import INSTALLED, REPO, WEIGHTS, PullRig, refused
from voice_daemon.models import list_models, verify
from voice_daemon.models.download import ATTEMPTS


def test_a_broken_transfer_goes_on_from_where_it_broke(rig: PullRig) -> None:
    rig.hub.faults.break_after_bytes = {WEIGHTS: [50_000, 30_000]}
    rig.pull()
    assert rig.hub.ranges_asked(WEIGHTS) == [None, "bytes=50000-", "bytes=80000-"]
    assert verify(REPO, models_dir=rig.models_dir).problems == ()
    assert len(rig.pauses_s) == 2


def test_a_transfer_that_keeps_breaking_is_given_up_and_taken_up_by_the_next_pull(
    rig: PullRig,
) -> None:
    rig.hub.faults.break_after_bytes = {WEIGHTS: [50_000] + [0] * ATTEMPTS}
    error = refused(rig, "models.broken_transfer")
    assert "50000 of 102400" in error.message
    assert rig.part_bytes() == 50_000
    assert rig.pauses_s == sorted(rig.pauses_s)
    rig.hub.asked.clear()
    rig.pull()
    assert rig.hub.ranges_asked(WEIGHTS) == ["bytes=50000-"]
    assert rig.hub.ranges_asked("vocab.json") == [None]
    assert verify(REPO, models_dir=rig.models_dir).problems == ()


def test_finished_files_are_not_fetched_twice(rig: PullRig) -> None:
    rig.hub.faults.statuses = {"vocab.json": [404]}
    refused(rig, "models.hub_refused")
    rig.hub.asked.clear()
    rig.pull()
    assert rig.hub.ranges_asked("config.json") == []
    assert rig.hub.ranges_asked("tokenizer.json") == []


def test_a_hub_that_does_not_resume_is_read_from_the_start(rig: PullRig) -> None:
    rig.hub.faults.ignores_range = True
    rig.hub.faults.break_after_bytes = {WEIGHTS: [50_000]}
    rig.pull()
    assert rig.hub.ranges_asked(WEIGHTS) == [None, "bytes=50000-"]
    assert verify(REPO, models_dir=rig.models_dir).problems == ()


def test_a_busy_hub_is_asked_again(rig: PullRig) -> None:
    rig.hub.faults.statuses = {WEIGHTS: [503, 429, 500], "config.json": [502]}
    rig.pull()
    assert verify(REPO, models_dir=rig.models_dir).problems == ()


def test_a_hub_that_stays_busy_is_a_clear_error(rig: PullRig) -> None:
    rig.hub.faults.statuses = {WEIGHTS: [503] * ATTEMPTS}
    assert "503" in refused(rig, "models.broken_transfer").message


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "vocab.json"])
def test_corrupted_bytes_are_detected_and_nothing_is_installed(rig: PullRig, name: str) -> None:
    rig.hub.faults.corrupted = {name}
    error = refused(rig, "models.corrupted")
    assert name in error.message
    rig.hub.faults.corrupted = set()
    rig.pull()
    assert verify(REPO, models_dir=rig.models_dir).problems == ()


def test_a_part_that_was_damaged_on_disk_is_fetched_afresh(rig: PullRig) -> None:
    rig.hub.faults.break_after_bytes = {WEIGHTS: [50_000] + [0] * ATTEMPTS}
    refused(rig, "models.broken_transfer")
    (part,) = rig.partial.glob(f"{WEIGHTS}.*.part")
    part.write_bytes(bytes(50_000))
    rig.hub.asked.clear()
    rig.pull()
    assert rig.hub.ranges_asked(WEIGHTS) == ["bytes=50000-", None]
    assert verify(REPO, models_dir=rig.models_dir).problems == ()


def test_a_finished_file_that_was_damaged_on_disk_is_fetched_afresh(rig: PullRig) -> None:
    rig.hub.faults.statuses = {"vocab.json": [404]}
    refused(rig, "models.hub_refused")
    (rig.partial / "tokenizer.json").write_bytes(b"scratched")
    rig.pull()
    assert verify(REPO, models_dir=rig.models_dir).problems == ()


def test_a_part_longer_than_the_file_is_fetched_afresh(rig: PullRig) -> None:
    rig.hub.faults.break_after_bytes = {WEIGHTS: [50_000] + [0] * ATTEMPTS}
    refused(rig, "models.broken_transfer")
    (part,) = rig.partial.glob(f"{WEIGHTS}.*.part")
    part.write_bytes(bytes(200_000))
    rig.pull()
    assert verify(REPO, models_dir=rig.models_dir).problems == ()


def test_more_bytes_than_promised_are_not_taken(rig: PullRig) -> None:
    rig.hub.faults.longer = {WEIGHTS}
    rig.pull()
    assert verify(REPO, models_dir=rig.models_dir).problems == ()


def test_a_new_revision_does_not_build_on_an_old_part(rig: PullRig) -> None:
    rig.hub.faults.break_after_bytes = {WEIGHTS: [50_000] + [0] * ATTEMPTS}
    refused(rig, "models.broken_transfer")
    rig.hub.repos[REPO][WEIGHTS] = b"new" * 30_000
    rig.hub.asked.clear()
    rig.pull()
    assert rig.hub.ranges_asked(WEIGHTS) == [None]
    model = list_models(models_dir=rig.models_dir)[-1]
    assert (model.folder / WEIGHTS).read_bytes() == b"new" * 30_000
    assert {path.name for path in model.folder.iterdir()} == INSTALLED | {"manifest.json"}
