"""What a pull installs, records, repairs and replaces."""

from __future__ import annotations

import hashlib

from rigs.model_pull import COMPANION, INSTALLED, REPO, REPOS, WEIGHTS, PullRig, refused
from voice_daemon.models import list_models, resolve, store, verify


def test_a_pull_installs_the_model_with_its_companions_vocabulary(rig: PullRig) -> None:
    result = rig.pull()
    assert result.folder == resolve(REPO, models_dir=rig.models_dir)
    assert result.folder == resolve("base.en", models_dir=rig.models_dir)
    assert {path.name for path in result.folder.iterdir()} == INSTALLED | {"manifest.json"}
    assert (result.folder / WEIGHTS).read_bytes() == REPOS[REPO][WEIGHTS]
    assert (result.folder / "vocab.json").read_bytes() == REPOS[COMPANION]["vocab.json"]
    assert not result.already_installed
    assert not rig.partial.exists()


def test_the_manifest_records_origin_and_checksum_of_every_file(rig: PullRig) -> None:
    manifest = store.read_manifest(rig.pull().folder)
    assert manifest is not None
    assert (manifest.repo_id, manifest.revision) == (REPO, rig.hub.commit(REPO))
    files = {file.name: file for file in manifest.files}
    assert files.keys() == INSTALLED
    assert files[WEIGHTS].sha256 == hashlib.sha256(REPOS[REPO][WEIGHTS]).hexdigest()
    assert files["vocab.json"].repo_id == COMPANION
    assert files["vocab.json"].revision == rig.hub.commit(COMPANION)


def test_the_pulled_model_is_listed(rig: PullRig) -> None:
    rig.pull()
    model = list_models(models_dir=rig.models_dir)[-1]
    assert (model.name, model.layout, model.languages) == (REPO, "mlx", "en")
    assert (model.bundled, model.revision) == (False, rig.hub.commit(REPO))


def test_progress_grows_to_the_announced_total(rig: PullRig) -> None:
    rig.pull()
    by_file = dict(rig.notes.notes)
    assert sum(by_file.values()) == rig.notes.totals[-1]
    weights = [note.n_bytes for note in rig.notes.notes if note.file == WEIGHTS]
    assert weights == sorted(weights)
    assert rig.notes.ended


def test_an_intact_model_is_left_alone_without_asking_the_hub(rig: PullRig) -> None:
    rig.pull()
    rig.hub.asked.clear()
    assert rig.pull("base.en").already_installed
    assert rig.hub.asked == []


def test_a_pulled_model_needs_no_hub_afterwards(rig: PullRig) -> None:
    folder = rig.pull().folder
    rig.hub.close()
    assert resolve("base.en", models_dir=rig.models_dir) == folder
    assert verify("base.en", models_dir=rig.models_dir).problems == ()
    assert rig.pull().already_installed


def test_a_damaged_model_is_found_by_verify_and_repaired_by_pull(rig: PullRig) -> None:
    folder = rig.pull().folder
    with (folder / WEIGHTS).open("r+b") as weights:
        weights.write(b"\xff")
    (folder / "vocab.json").unlink()
    problems = verify(REPO, models_dir=rig.models_dir).problems
    assert len(problems) == 2
    assert any(problem.startswith(f"{WEIGHTS} has SHA-256") for problem in problems)
    assert any(problem.startswith("vocab.json cannot be read") for problem in problems)
    assert not rig.pull().already_installed
    assert verify(REPO, models_dir=rig.models_dir).problems == ()


def test_force_fetches_the_newest_revision(rig: PullRig) -> None:
    rig.pull()
    rig.hub.repos[REPO][WEIGHTS] = b"new" * 30_000
    result = rig.pull(force=True)
    assert (result.folder / WEIGHTS).read_bytes() == b"new" * 30_000
    assert result.revision == rig.hub.commit(REPO)
    assert not list((rig.models_dir / ".partial").glob("*.old"))


def test_a_failed_update_keeps_the_old_model(rig: PullRig) -> None:
    rig.pull()
    rig.hub.repos[REPO][WEIGHTS] = b"new" * 30_000
    rig.hub.faults.corrupted = {WEIGHTS}
    refused(rig, "models.corrupted", force=True)
    assert verify(REPO, models_dir=rig.models_dir).problems == ()


def test_paths_in_a_repository_never_leave_the_folder(rig: PullRig) -> None:
    rig.hub.repos["o/evil"] = {
        **REPOS[REPO],
        "../vocab.json": b"evil",
        "/vocab.json": b"evil",
        "sub/vocab.json": b"evil",
    }
    folder = rig.pull("o/evil").folder
    assert (folder / "vocab.json").read_bytes() == REPOS[COMPANION]["vocab.json"]
    assert {path.name for path in folder.iterdir()} == INSTALLED | {"manifest.json"}


def test_a_ctranslate2_repository_is_pulled_as_it_is(rig: PullRig) -> None:
    rig.hub.repos["Systran/faster-whisper-tiny"] = {
        "config.json": b'{"lang_ids": [], "suppress_ids": []}',
        "model.bin": b"\x06\0\0\0\x0c\0WhisperSpec\0",
        "tokenizer.json": b"{}",
        "vocabulary.txt": b"a\n" * 51_865,
    }
    rig.pull("Systran/faster-whisper-tiny")
    model = list_models(models_dir=rig.models_dir)[-1]
    assert (model.layout, model.languages) == ("ctranslate2", "multilingual")
