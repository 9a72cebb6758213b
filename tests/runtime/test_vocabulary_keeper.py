"""Which document of a home is in force, and what is told of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from voice_daemon.config import VocabularySettings
from voice_daemon.errors import Problem
from voice_daemon.mqtt.topics import MqttMessage, Topics
from voice_daemon.runtime.vocabulary_keeper import (
    BAD_DOCUMENT,
    Learned,
    VocabularyKeeper,
    VocabularyState,
)
from voice_daemon.vocabulary.document import Document, VocabularyError

TOPICS = Topics("voice", "mac-mini")
SHARED, OWN = "voice/vocabulary", "voice/mac-mini/vocabulary"


def document(*names: str, **more: object) -> bytes:
    return json.dumps({"schema": 1, "entities": names, **more}).encode()


class Rig:
    """A keeper, and everything that it asks for and says."""

    def __init__(self, stored: Path | None = None, **settings: Any) -> None:
        self.learned: list[tuple[Document | None, Learned]] = []
        self.published: list[MqttMessage] = []
        self.problems: dict[str, Problem] = {}
        self.keeper = VocabularyKeeper(
            VocabularySettings(**settings),
            stored=stored,
            topics=TOPICS,
            learn=lambda document, learned: self.learned.append((document, learned)),
            publish=self.published.append,
            set_problem=self._set_problem,
        )

    def _set_problem(self, code: str, problem: Problem | None) -> None:
        self.problems.pop(code, None)
        if problem is not None:
            self.problems[code] = problem

    @property
    def in_force(self) -> list[str]:
        newest = self.learned[-1][0] if self.learned else None
        return [] if newest is None else [name.text for name in newest.entities]

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.keeper.state_message().payload)
        return found


def test_the_nodes_own_document_goes_before_that_for_all() -> None:
    rig = Rig()
    rig.keeper.on_message(OWN, document("Own"))
    rig.keeper.on_message(SHARED, document("Shared"))
    assert rig.in_force == ["Own"]
    rig.keeper.on_message(OWN, b"")
    assert rig.in_force == ["Shared"]
    rig.keeper.on_message(SHARED, b"")
    assert rig.learned[-1][0] is None


def test_what_comes_by_mqtt_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "home.json"
    file.write_bytes(document("From a file"))
    rig = Rig(file=file)
    rig.keeper.restore()
    assert rig.in_force == ["From a file"]
    rig.keeper.on_message(SHARED, document("Shared"))
    assert rig.in_force == ["Shared"]
    rig.keeper.on_message(SHARED, b"")
    assert rig.in_force == ["From a file"]


def test_a_bad_document_is_a_problem_and_the_last_good_one_stays() -> None:
    rig = Rig()
    rig.keeper.on_message(SHARED, document("Bed Light"))
    for payload in (b"{", b"\xff", document(*["x"] * 40_000), b'{"schema": 9}', b"[]"):
        rig.keeper.on_message(SHARED, payload)
        assert rig.problems[BAD_DOCUMENT].remedy
        assert rig.in_force == ["Bed Light"]
    rig.keeper.on_message(SHARED, document("Red Light"))
    assert rig.problems == {}
    assert rig.in_force == ["Red Light"]


def test_the_same_document_again_is_not_learned_again() -> None:
    rig = Rig()
    for _ in range(3):
        rig.keeper.on_message(SHARED, document("Bed Light"))
    assert len(rig.learned) == 1


def test_the_last_good_document_is_kept_and_restored(tmp_path: Path) -> None:
    stored = tmp_path / "state" / "vocabulary.json"
    rig = Rig(stored)
    rig.keeper.on_message(SHARED, document("Bed Light"))
    assert rig.keeper.is_dirty
    rig.keeper.save()
    assert stored.stat().st_mode & 0o777 == 0o600

    again = Rig(stored)
    again.keeper.restore()
    assert again.in_force == ["Bed Light"]
    again.keeper.on_message(SHARED, b"")
    again.keeper.save()
    assert not stored.exists()


def test_a_stored_file_that_is_damaged_is_as_good_as_none(tmp_path: Path) -> None:
    stored = tmp_path / "vocabulary.json"
    stored.write_bytes(b"\x00" * 100)
    rig = Rig(stored)
    rig.keeper.restore()
    assert rig.learned == []


def test_state_has_counts_and_a_hash_and_no_names() -> None:
    rig = Rig()
    rig.keeper.on_message(SHARED, document("Ottilie", "x{", areas=["Ottilie's Room"]))
    told = rig.told
    assert (told["names"], told["left_out"], told["state"]) == (2, 1, "loading")
    assert len(told["sha256"]) == 64
    assert all(b"Ottilie" not in message.payload for message in rig.published)
    assert all(message.retain for message in rig.published)


def test_what_is_hardly_meant_is_logged_by_its_place_alone() -> None:
    rig = Rig()
    with capture_logs() as logs:
        rig.keeper.on_message(SHARED, document("Ottilie", areas=["Den", "den"], language="ottili"))
    [logged] = [line for line in logs if line["event"] == "vocabulary.warnings"]
    assert logged["first"] == ["language", "areas[1]"]
    assert "ttili" not in str(logged)


def test_names_that_cannot_be_used_say_why() -> None:
    rig = Rig()
    rig.keeper.on_message(SHARED, document("Bed Light", language="ja"))
    _, learned = rig.learned[-1]
    learned(VocabularyError("vocabulary.no_sentences", "there are none for 'ja'", remedy="choose"))
    assert rig.told["state"] == VocabularyState.UNUSED
    assert "ja" in rig.told["why"]


@pytest.mark.parametrize("change", [{"enabled": False}, {"sentences": "none"}])
def test_changed_settings_are_taken_over(change: dict[str, Any]) -> None:
    rig = Rig()
    rig.keeper.on_message(SHARED, document("Bed Light"))
    rig.keeper.configure(VocabularySettings(**change))
    assert len(rig.learned) == 2
    assert rig.in_force == ([] if "enabled" in change else ["Bed Light"])
    rig.keeper.configure(VocabularySettings(**change, margin=7))
    assert len(rig.learned) == 2
