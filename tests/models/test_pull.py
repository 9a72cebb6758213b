from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import huggingface_hub
import pytest
from huggingface_hub import constants

import fake_hub
from voice_daemon.errors import ModelError
from voice_daemon.models import PullResult, installer, list_models, pull, resolve, store, verify
from voice_daemon.models.transfer import ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPO = "mlx-community/whisper-base.en-mlx"
COMPANION = "openai/whisper-base.en"
WEIGHTS = "weights.npz"
PATIENCE_S = 30.0
"""How long a test waits for what must happen before it fails."""

CONFIG = {
    "n_mels": 80,
    "n_audio_state": 512,
    "n_audio_layer": 6,
    "n_text_layer": 6,
    "n_vocab": 51_864,
    "model_type": "whisper",
}
REPOS = {
    REPO: {
        ".gitattributes": b"*.npz lfs",
        "README.md": b"# whisper",
        "config.json": json.dumps(CONFIG).encode(),
        WEIGHTS: bytes(range(256)) * 400,
    },
    COMPANION: {
        "config.json": b"{}",
        "generation_config.json": b'{"alignment_heads": [[3, 1]]}',
        "model.safetensors": b"the same weights, not wanted twice",
        "pytorch_model.bin": b"\x80\x02pickle",
        "tokenizer.json": b'{"model": {}}',
        "vocab.json": b'{"!": 0}',
    },
}
INSTALLED = {"config.json", "generation_config.json", "tokenizer.json", "vocab.json", WEIGHTS}


class Note(NamedTuple):
    file: str
    n_bytes: int


class Notes:
    """A progress display that remembers."""

    def __init__(self) -> None:
        self.totals: list[int] = []
        self.notes: list[Note] = []
        self.ended = False

    def begin(self, name: str, total_bytes: int) -> None:  # noqa: ARG002 - the Protocol's name
        self.totals.append(total_bytes)

    def at(self, file: str, n_bytes: int) -> None:
        self.notes.append(Note(file, n_bytes))

    def end(self) -> None:
        self.ended = True


class Bench:
    """A hub, a models folder, and a pull from one into the other."""

    def __init__(self, hub: fake_hub.FakeHub, models_dir: Path) -> None:
        self.hub = hub
        self.models_dir = models_dir
        self.notes = Notes()
        self.pauses_s: list[float] = []

    def pull(self, name: str = REPO, *, force: bool = False) -> PullResult:
        self.notes = Notes()
        return pull(
            name,
            models_dir=self.models_dir,
            progress=self.notes,
            force=force,
            endpoint=self.hub.endpoint,
            pause=self.pauses_s.append,
        )

    @property
    def partial(self) -> Path:
        return self.models_dir / ".partial" / "mlx-community--whisper-base.en-mlx"

    def part_bytes(self) -> int:
        (part,) = self.partial.glob(f"{WEIGHTS}.*.part")
        return part.stat().st_size


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    huggingface_hub.close_session()
    with fake_hub.FakeHub(REPOS) as hub:
        yield Bench(hub, tmp_path / "models")
    huggingface_hub.close_session()


def refused(bench: Bench, code: str, *, force: bool = False, name: str = REPO) -> ModelError:
    """Pull, expect this error, and see that nothing was installed."""
    before = list_models(models_dir=bench.models_dir)
    with pytest.raises(ModelError) as raised:
        bench.pull(name, force=force)
    assert raised.value.code == code
    assert raised.value.remedy
    assert "\n" not in raised.value.message
    assert list_models(models_dir=bench.models_dir) == before
    assert bench.notes.ended or not bench.notes.totals
    return raised.value


def test_a_pull_installs_the_model_with_its_companions_vocabulary(bench: Bench) -> None:
    result = bench.pull()
    assert result.folder == resolve(REPO, models_dir=bench.models_dir)
    assert result.folder == resolve("base.en", models_dir=bench.models_dir)
    assert {path.name for path in result.folder.iterdir()} == INSTALLED | {"manifest.json"}
    assert (result.folder / WEIGHTS).read_bytes() == REPOS[REPO][WEIGHTS]
    assert (result.folder / "vocab.json").read_bytes() == REPOS[COMPANION]["vocab.json"]
    assert not result.already_installed
    assert not bench.partial.exists()


def test_the_manifest_records_origin_and_checksum_of_every_file(bench: Bench) -> None:
    manifest = store.read_manifest(bench.pull().folder)
    assert manifest is not None
    assert (manifest.repo_id, manifest.revision) == (REPO, bench.hub.commit(REPO))
    files = {file.name: file for file in manifest.files}
    assert files.keys() == INSTALLED
    assert files[WEIGHTS].sha256 == hashlib.sha256(REPOS[REPO][WEIGHTS]).hexdigest()
    assert files["vocab.json"].repo_id == COMPANION
    assert files["vocab.json"].revision == bench.hub.commit(COMPANION)


def test_the_pulled_model_is_listed(bench: Bench) -> None:
    bench.pull()
    model = list_models(models_dir=bench.models_dir)[-1]
    assert (model.name, model.layout, model.languages) == (REPO, "mlx", "en")
    assert (model.bundled, model.revision) == (False, bench.hub.commit(REPO))


def test_progress_grows_to_the_announced_total(bench: Bench) -> None:
    bench.pull()
    by_file = dict(bench.notes.notes)
    assert sum(by_file.values()) == bench.notes.totals[-1]
    weights = [note.n_bytes for note in bench.notes.notes if note.file == WEIGHTS]
    assert weights == sorted(weights)
    assert bench.notes.ended


def test_a_broken_transfer_goes_on_from_where_it_broke(bench: Bench) -> None:
    bench.hub.faults.break_after_bytes = {WEIGHTS: [50_000, 30_000]}
    bench.pull()
    assert bench.hub.ranges_asked(WEIGHTS) == [None, "bytes=50000-", "bytes=80000-"]
    assert verify(REPO, models_dir=bench.models_dir).problems == ()
    assert len(bench.pauses_s) == 2


def test_a_transfer_that_keeps_breaking_is_given_up_and_taken_up_by_the_next_pull(
    bench: Bench,
) -> None:
    bench.hub.faults.break_after_bytes = {WEIGHTS: [50_000] + [0] * ATTEMPTS}
    error = refused(bench, "models.broken_transfer")
    assert "50000 of 102400" in error.message
    assert bench.part_bytes() == 50_000
    assert bench.pauses_s == sorted(bench.pauses_s)
    bench.hub.asked.clear()
    bench.pull()
    assert bench.hub.ranges_asked(WEIGHTS) == ["bytes=50000-"]
    assert bench.hub.ranges_asked("vocab.json") == [None]
    assert verify(REPO, models_dir=bench.models_dir).problems == ()


def test_finished_files_are_not_fetched_twice(bench: Bench) -> None:
    bench.hub.faults.statuses = {"vocab.json": [404]}
    refused(bench, "models.hub_refused")
    bench.hub.asked.clear()
    bench.pull()
    assert bench.hub.ranges_asked("config.json") == []
    assert bench.hub.ranges_asked("tokenizer.json") == []


def test_a_hub_that_does_not_resume_is_read_from_the_start(bench: Bench) -> None:
    bench.hub.faults.ignores_range = True
    bench.hub.faults.break_after_bytes = {WEIGHTS: [50_000]}
    bench.pull()
    assert bench.hub.ranges_asked(WEIGHTS) == [None, "bytes=50000-"]
    assert verify(REPO, models_dir=bench.models_dir).problems == ()


def test_a_busy_hub_is_asked_again(bench: Bench) -> None:
    bench.hub.faults.statuses = {WEIGHTS: [503, 429, 500], "config.json": [502]}
    bench.pull()
    assert verify(REPO, models_dir=bench.models_dir).problems == ()


def test_a_hub_that_stays_busy_is_a_clear_error(bench: Bench) -> None:
    bench.hub.faults.statuses = {WEIGHTS: [503] * ATTEMPTS}
    assert "503" in refused(bench, "models.broken_transfer").message


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "vocab.json"])
def test_corrupted_bytes_are_detected_and_nothing_is_installed(bench: Bench, name: str) -> None:
    bench.hub.faults.corrupted = {name}
    error = refused(bench, "models.corrupted")
    assert name in error.message
    bench.hub.faults.corrupted = set()
    bench.pull()
    assert verify(REPO, models_dir=bench.models_dir).problems == ()


def test_a_part_that_was_damaged_on_disk_is_fetched_afresh(bench: Bench) -> None:
    bench.hub.faults.break_after_bytes = {WEIGHTS: [50_000] + [0] * ATTEMPTS}
    refused(bench, "models.broken_transfer")
    (part,) = bench.partial.glob(f"{WEIGHTS}.*.part")
    part.write_bytes(bytes(50_000))
    bench.hub.asked.clear()
    bench.pull()
    assert bench.hub.ranges_asked(WEIGHTS) == ["bytes=50000-", None]
    assert verify(REPO, models_dir=bench.models_dir).problems == ()


def test_a_finished_file_that_was_damaged_on_disk_is_fetched_afresh(bench: Bench) -> None:
    bench.hub.faults.statuses = {"vocab.json": [404]}
    refused(bench, "models.hub_refused")
    (bench.partial / "tokenizer.json").write_bytes(b"scratched")
    bench.pull()
    assert verify(REPO, models_dir=bench.models_dir).problems == ()


def test_a_part_longer_than_the_file_is_fetched_afresh(bench: Bench) -> None:
    bench.hub.faults.break_after_bytes = {WEIGHTS: [50_000] + [0] * ATTEMPTS}
    refused(bench, "models.broken_transfer")
    (part,) = bench.partial.glob(f"{WEIGHTS}.*.part")
    part.write_bytes(bytes(200_000))
    bench.pull()
    assert verify(REPO, models_dir=bench.models_dir).problems == ()


def test_more_bytes_than_promised_are_not_taken(bench: Bench) -> None:
    bench.hub.faults.longer = {WEIGHTS}
    bench.pull()
    assert verify(REPO, models_dir=bench.models_dir).problems == ()


def test_a_new_revision_does_not_build_on_an_old_part(bench: Bench) -> None:
    bench.hub.faults.break_after_bytes = {WEIGHTS: [50_000] + [0] * ATTEMPTS}
    refused(bench, "models.broken_transfer")
    bench.hub.repos[REPO][WEIGHTS] = b"new" * 30_000
    bench.hub.asked.clear()
    bench.pull()
    assert bench.hub.ranges_asked(WEIGHTS) == [None]
    model = list_models(models_dir=bench.models_dir)[-1]
    assert (model.folder / WEIGHTS).read_bytes() == b"new" * 30_000
    assert {path.name for path in model.folder.iterdir()} == INSTALLED | {"manifest.json"}


def test_an_intact_model_is_left_alone_without_asking_the_hub(bench: Bench) -> None:
    bench.pull()
    bench.hub.asked.clear()
    assert bench.pull("base.en").already_installed
    assert bench.hub.asked == []


def test_a_pulled_model_needs_no_hub_afterwards(bench: Bench) -> None:
    folder = bench.pull().folder
    bench.hub.close()
    assert resolve("base.en", models_dir=bench.models_dir) == folder
    assert verify("base.en", models_dir=bench.models_dir).problems == ()
    assert bench.pull().already_installed


def test_a_damaged_model_is_found_by_verify_and_repaired_by_pull(bench: Bench) -> None:
    folder = bench.pull().folder
    with (folder / WEIGHTS).open("r+b") as weights:
        weights.write(b"\xff")
    (folder / "vocab.json").unlink()
    problems = verify(REPO, models_dir=bench.models_dir).problems
    assert len(problems) == 2
    assert any(problem.startswith(f"{WEIGHTS} has SHA-256") for problem in problems)
    assert any(problem.startswith("vocab.json cannot be read") for problem in problems)
    assert not bench.pull().already_installed
    assert verify(REPO, models_dir=bench.models_dir).problems == ()


def test_force_fetches_the_newest_revision(bench: Bench) -> None:
    bench.pull()
    bench.hub.repos[REPO][WEIGHTS] = b"new" * 30_000
    result = bench.pull(force=True)
    assert (result.folder / WEIGHTS).read_bytes() == b"new" * 30_000
    assert result.revision == bench.hub.commit(REPO)
    assert not list((bench.models_dir / ".partial").glob("*.old"))


def test_a_failed_update_keeps_the_old_model(bench: Bench) -> None:
    bench.pull()
    bench.hub.repos[REPO][WEIGHTS] = b"new" * 30_000
    bench.hub.faults.corrupted = {WEIGHTS}
    refused(bench, "models.corrupted", force=True)
    assert verify(REPO, models_dir=bench.models_dir).problems == ()


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


def test_paths_in_a_repository_never_leave_the_folder(bench: Bench) -> None:
    bench.hub.repos["o/evil"] = {
        **REPOS[REPO],
        "../vocab.json": b"evil",
        "/vocab.json": b"evil",
        "sub/vocab.json": b"evil",
    }
    folder = bench.pull("o/evil").folder
    assert (folder / "vocab.json").read_bytes() == REPOS[COMPANION]["vocab.json"]
    assert {path.name for path in folder.iterdir()} == INSTALLED | {"manifest.json"}


def test_a_ctranslate2_repository_is_pulled_as_it_is(bench: Bench) -> None:
    bench.hub.repos["Systran/faster-whisper-tiny"] = {
        "config.json": b'{"lang_ids": [], "suppress_ids": []}',
        "model.bin": b"\x06\0\0\0\x0c\0WhisperSpec\0",
        "tokenizer.json": b"{}",
        "vocabulary.txt": b"a\n" * 51_865,
    }
    bench.pull("Systran/faster-whisper-tiny")
    model = list_models(models_dir=bench.models_dir)[-1]
    assert (model.layout, model.languages) == ("ctranslate2", "multilingual")


PULL = [sys.executable, "-m", "voice_daemon", "models", "pull"]


def environment(bench: Bench) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    home = bench.models_dir.parent
    return {
        **kept,
        "HF_ENDPOINT": bench.hub.endpoint,
        "HF_HOME": str(home / "hf"),
        "NO_PROXY": "127.0.0.1",
        "VOICE_DAEMON_HOME": str(home),
    }


def test_kill_9_in_the_middle_leaves_no_model_and_the_next_pull_goes_on(bench: Bench) -> None:
    bench.hub.faults.stall_after_bytes = {WEIGHTS: 50_000}
    with subprocess.Popen([*PULL, REPO], env=environment(bench)) as process:
        assert bench.hub.stalled.wait(PATIENCE_S)
        process.send_signal(signal.SIGKILL)
    assert [model.name for model in list_models(models_dir=bench.models_dir)][1:] == []
    with pytest.raises(ModelError) as raised:
        resolve(REPO, models_dir=bench.models_dir)
    assert raised.value.code == "models.not_installed"
    bench.hub.faults.stall_after_bytes = {}
    bench.hub.go_on.set()
    have = bench.part_bytes()
    bench.hub.asked.clear()
    bench.pull()
    assert bench.hub.ranges_asked(WEIGHTS) == [f"bytes={have}-" if have else None]
    assert verify(REPO, models_dir=bench.models_dir).problems == ()


def test_the_command_pulls_with_plain_lines_when_piped(bench: Bench) -> None:
    done = subprocess.run(
        [*PULL, "base.en"],
        env=environment(bench),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(f"{REPO}: installed and verified")
    assert done.stderr.splitlines()[0] == f"pulling {REPO}"
    assert "100 % of 0.1 MB" in done.stderr
    assert "\x1b" not in done.stderr


def test_the_command_tells_a_failure_in_two_lines(bench: Bench) -> None:
    bench.hub.faults.corrupted = {WEIGHTS}
    done = subprocess.run(
        [*PULL, "--json", REPO],
        env=environment(bench),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "daemonctl: weights.npz of" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_disk_that_is_full_is_told_and_what_arrived_is_kept(bench: Bench) -> None:
    limited = ["bash", "-c", 'ulimit -f 40; exec "$@"', "bash", *PULL, REPO]
    done = subprocess.run(
        limited,
        env=environment(bench),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 1
    assert "cannot be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    have = bench.part_bytes()
    assert have == 40 * 1024
    bench.hub.asked.clear()
    bench.pull()
    assert bench.hub.ranges_asked(WEIGHTS) == [f"bytes={have}-"]
    assert verify(REPO, models_dir=bench.models_dir).problems == ()
