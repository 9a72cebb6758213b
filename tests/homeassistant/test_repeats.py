"""What the project ships for consumers acts once on a final that arrives twice.

Home Assistant's own functions are written out here, for its templates to be rendered without it;
`scripts/test-homeassistant` tries the same in a running one.
"""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from jinja2 import ChainableUndefined, Environment

from voice_daemon.homeassistant.discovery import ONCE

DOCS = Path(__file__).parents[2] / "docs"
NO_FINALS = (
    b"",
    b"[]",
    b"null",
    b"7",
    b"not JSON",
    b"\xff\xfe",
    b'{"text":"x"}',
    b'{"session_id":{},"seq":1,"text":"x"}',
    b'{"session_id":"a","seq":true,"text":"x"}',
    b'{"session_id":"a","seq":1,"text":["x"]}',
    b"[" * 100_000,
)
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def final(session: str, *, seq: int = 4, at_s: float = 0) -> dict[str, Any]:
    at = (START + timedelta(seconds=at_s)).isoformat().replace("+00:00", "Z")
    said = {"session_id": session, "seq": seq, "text": "Open it.", "at": at}
    return {"event_type": "final", "is_final": True, **said}


class HomeAssistant:
    """What one device shows of its last command, and the functions that templates call."""

    def __init__(self) -> None:
        self.now = START
        self.attributes: dict[str, Any] = {}
        self.last_updated = START
        self.last_triggered: datetime | None = None
        self.environment = Environment(autoescape=False)  # noqa: S701 - no page is made of it
        self.environment.tests["number"] = lambda value: isinstance(value, int | float)
        self.environment.globals.update(
            as_timestamp=self.as_timestamp,
            device_entities=lambda _device: ["sensor.voice_mac_mini_last_transcript"],
            expand=lambda entities: [self.shown()] if entities else [],
            now=lambda: self.now,
        )
        self.environment.filters["as_timestamp"] = self.as_timestamp
        # Home Assistant's own templates do not fail at what is not there either.
        self.environment.undefined = ChainableUndefined

    def shown(self) -> SimpleNamespace:
        return SimpleNamespace(attributes=self.attributes, last_updated=self.last_updated)

    @staticmethod
    def as_timestamp(value: object, default: float = 0) -> float:
        try:
            return datetime.fromisoformat(str(value)).timestamp()
        except ValueError:
            return default

    def entity_hears(self, message: dict[str, Any]) -> bool:
        """Have the entities hear a message; True when it is news to them."""
        this = SimpleNamespace(attributes=self.attributes)
        template = self.environment.from_string(ONCE)
        value = template.render(this=this, value_json=message, value=json.dumps(message))
        if value:
            self.last_updated, self.attributes = self.now, message
        return bool(value)

    def blueprint_acts(self, message: dict[str, Any]) -> bool:
        """Have the blueprint's automation hear a message; True when it carries it out."""

        class Loader(yaml.SafeLoader):  # type: ignore[misc] # it comes without types
            """Reads `!input` as nothing."""

        Loader.add_constructor("!input", lambda _loader, _node: None)
        text = (DOCS / "blueprints" / "voice_daemon_commands.yaml").read_text()
        conditions = yaml.load(text, Loader)["conditions"]  # noqa: S506 - a safe loader
        this = {"attributes": {"last_triggered": self.last_triggered}}
        chosen = {"devices": [], "device": "d", "node": "mac-mini", "min_confidence": 0.5}
        chosen["final_topic"] = "voice/+/transcript/final"
        known = {"heard": message, "this": this, **chosen}
        acts = all(
            self.environment.from_string(one["value_template"]).render(known).strip() == "True"
            for one in conditions
        )
        if acts:
            self.last_triggered = self.now
        return acts


@pytest.fixture
def home() -> HomeAssistant:
    return HomeAssistant()


@pytest.mark.parametrize("later_ms", [1, 1000])
@pytest.mark.parametrize("entity_first", [True, False])
def test_the_blueprint_acts_once_on_a_final_that_comes_again(
    home: HomeAssistant, later_ms: int, *, entity_first: bool
) -> None:
    acted = []
    for _ in range(3):
        if entity_first:
            home.entity_hears(final("s1"))
        acted.append(home.blueprint_acts(final("s1")))
        if not entity_first:
            home.entity_hears(final("s1"))
        home.now += timedelta(milliseconds=later_ms)
    assert acted == [True, False, False]


def test_two_finals_that_both_come_again_are_each_an_event_once(home: HomeAssistant) -> None:
    said = [final("s1"), final("s2", at_s=6), final("s1"), final("s2", at_s=6)]
    events, acted = [], []
    for message in said:
        acted.append(home.blueprint_acts(message))
        events.append(home.entity_hears(message))
        home.now += timedelta(seconds=2)
    assert events == acted == [True, True, False, False]


def test_the_same_words_said_again_count_again(home: HomeAssistant) -> None:
    assert [home.entity_hears(final(name, at_s=at)) for at, name in enumerate("abc")] == [True] * 3


def test_a_device_that_shows_nothing_still_acts(home: HomeAssistant) -> None:
    assert home.blueprint_acts(final("s1"))


def test_a_final_that_comes_again_after_a_restart_of_home_assistant_is_left_out(
    home: HomeAssistant,
) -> None:
    assert home.blueprint_acts(final("s1"))
    home.now += timedelta(seconds=20)
    assert not home.blueprint_acts(final("s1"))  # nothing is shown any more
    assert home.blueprint_acts(final("s2", at_s=19.9))


def test_a_clock_that_was_set_back_silences_nobody(home: HomeAssistant) -> None:
    assert home.entity_hears(final("s1", at_s=7200))
    assert home.entity_hears(final("s2", at_s=0))


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = DOCS / "examples" / "assist_in_a_room.py"
    spec = importlib.util.spec_from_file_location("assist_in_a_room", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("payload", NO_FINALS)
def test_the_example_passes_over_what_is_no_final(example: ModuleType, payload: bytes) -> None:
    assert example.read_final("voice/den/transcript/final", payload) is None


def test_the_example_reads_a_final(example: ModuleType) -> None:
    read = example.read_final("voice/den/transcript/final", json.dumps(final("s1")).encode())
    assert (read.node, read.text, read.key) == ("den", "Open it.", ("s1", 4))


NODE = shutil.which("node")
RUN = """
const kept = {};
const context = {get: k => kept[k], set: (k, v) => { kept[k] = v; }};
const act = new Function("msg", "context", process.argv[1]);
const out = JSON.parse(process.argv[2]).map(payload =>
    act({topic: "voice/den/transcript/final", payload}, context));
console.log(JSON.stringify(out.map(msg => msg && msg.payload)));
"""


@pytest.mark.skipif(NODE is None, reason="this machine has no node")
def test_the_node_red_flow_passes_each_final_on_once_and_nothing_else() -> None:
    flow = json.loads((DOCS / "node-red" / "voice-daemon.json").read_text())
    (function,) = (node["func"] for node in flow if node["id"] == "voice_once")
    said: list[Any] = [
        final("s1"),
        final("s2"),
        final("s1"),
        None,
        [],
        "x",
        {"text": "x"},
        final("s2"),
    ]
    done = subprocess.run(
        [str(NODE), "-e", RUN, function, json.dumps(said)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == ["Open it.", "Open it.", *[None] * 6]


@pytest.mark.skipif(NODE is None, reason="this machine has no node")
def test_the_node_red_flow_passes_each_of_many_finals_on_once_however_often_they_come() -> None:
    flow = json.loads((DOCS / "node-red" / "voice-daemon.json").read_text())
    (function,) = (node["func"] for node in flow if node["id"] == "voice_once")
    generator = random.Random(12)  # noqa: S311 - no secret
    places = sorted(
        (n + generator.choice((0, 0.5, 3, 20)), n) for n in range(200) for _ in range(3)
    )
    said = [{**final(f"s{n}", at_s=n), "text": str(n)} for _, n in places]
    done = subprocess.run(
        [str(NODE), "-e", RUN, function, json.dumps(said)],
        check=True,
        capture_output=True,
        text=True,
    )
    passed_on = [text for text in json.loads(done.stdout) if text is not None]
    assert sorted(map(int, passed_on)) == list(range(200))
