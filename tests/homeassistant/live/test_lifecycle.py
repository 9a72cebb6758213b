"""Home Assistant, the broker and the daemon each go away and come back."""

from __future__ import annotations

import signal
from pathlib import Path

from rigs.brokers import Mosquitto, Observer
from rigs.homeassistant.environment import StartDaemon
from rigs.homeassistant.hub import Hub, soon
from rigs.homeassistant.names import named
from rigs.homeassistant.rooms import spoken_commands

ENTITIES = 13
"""Those that are enabled from the start."""
COMMAND = "Turn on the kitchen lights."
NOT_GONE = {"not_from": "unavailable", "not_to": "unavailable"}
"""Without it, a state trigger fires when a device goes and comes."""
BIRTH_S = 60.0
"""Home Assistant's birth message comes some seconds after it runs; the daemon waits up to five."""


def usable(hub: Hub, node: str) -> list[str]:
    """Give the entities that a user could use, of those that are enabled."""
    entities = [entity.entity_id for entity in hub.entities(node) if entity.is_enabled]
    return [entity for entity in entities if hub.state(entity) not in (None, "unavailable")]


def all_usable(hub: Hub, node: str) -> bool:
    enabled = [entity for entity in hub.entities(node) if entity.is_enabled]
    return len(usable(hub, node)) == len(enabled) >= ENTITIES


def idle(hub: Hub, node: str) -> None:
    """Wait until the daemon can do its work, and Home Assistant shows all of it."""
    state = hub.entity(node, "sensor", "State")
    soon(lambda: hub.state(state) == "Ready", f"{node} is ready")
    soon(lambda: all_usable(hub, node), "every entity is there")


def announcements(listener: Observer, node: str) -> int:
    return len(listener.on(f"homeassistant/device/{node}/config"))


def test_after_a_restart_of_home_assistant_all_is_back_and_nothing_fires_again(
    hub: Hub, start_daemon: StartDaemon, listener: Observer, tmp_path: Path
) -> None:
    node = named("twice")
    fired = f"{node}/fired"
    spoken = spoken_commands(tmp_path / "one.wav", pauses_s=(3,))
    with start_daemon(node, forget=False):  # so that Home Assistant knows it, and hears it
        idle(hub, node)
        names = (("event", "Transcript"), ("event", "Wake word heard"))
        transcript, wake = hub.enable(node, *names).values()
        tell = {"action": "mqtt.publish", "data": {"topic": fired, "payload": "{{ trigger.id }}"}}
        (device_trigger,) = [
            {k: v for k, v in trigger.items() if k != "metadata"}
            for trigger in hub.triggers(node)
            if trigger["subtype"] == "Wake word"
        ]
        triggers = [
            {"trigger": "mqtt", "topic": f"voice/{node}/transcript/final", "id": "final"},
            {"trigger": "state", "entity_id": transcript, **NOT_GONE, "id": "event"},
            {**device_trigger, "id": "wake"},
        ]
        hub.automate(node, {"triggers": triggers, "actions": [tell], "mode": "queued"})

    with start_daemon(node, recording=spoken, forget=False):
        soon(lambda: len(listener.on(fired)) >= 3, "the command fires")
        idle(hub, node)
        events = {entity: hub.state(entity) for entity in (transcript, wake)}
        said = announcements(listener, node)
        assert hub.problems() == []
        hub.restart()
        soon(lambda: announcements(listener, node) > said, "announced again", within_s=BIRTH_S)
        soon(lambda: all_usable(hub, node), "every entity is back")
        assert {entity: hub.state(entity) for entity in events} == events
        assert hub.attributes(transcript)["text"] == COMMAND
        hub.mark_log()  # what a bare Home Assistant complains about when it starts

    with start_daemon(node, recording=spoken):
        soon(lambda: len(listener.on(fired)) >= 6, "the second command fires")
    hub.forget_automation(node)
    assert sorted(listener.on(fired)) == sorted([b"event", b"final", b"wake"] * 2)


def test_a_killed_daemon_is_unavailable_at_once_and_comes_back(
    hub: Hub, start_daemon: StartDaemon
) -> None:
    node = named("killed")
    with start_daemon(node, forget=False) as daemon:
        idle(hub, node)
        daemon.signal(signal.SIGKILL)
        soon(lambda: not usable(hub, node), "all are unavailable")
    with start_daemon(node):
        idle(hub, node)


def test_after_a_broker_that_forgot_everything_all_is_back_and_works(
    hub: Hub, broker: Mosquitto, start_daemon: StartDaemon
) -> None:
    node = named("forgetful")
    with start_daemon(node):
        idle(hub, node)
        assert hub.problems() == []
        broker.kill()
        soon(lambda: not usable(hub, node), "all are unavailable")
        broker.start()
        observer = Observer(broker.port)
        observer.wait(f"homeassistant/device/{node}/config")
        observer.wait(f"voice/{node}/availability", b"online")
        observer.wait(f"voice/{node}/state", b"idle")
        observer.close()
        soon(lambda: all_usable(hub, node), "every entity is back")
        mute = hub.entity(node, "switch", "Mute")
        hub.act("switch.turn_on", mute)
        soon(lambda: hub.state(mute) == "on", "it can be muted")
        hub.mark_log()  # a lost broker is worth a warning


def test_a_renamed_node_is_the_device_that_it_was(
    hub: Hub, broker: Mosquitto, start_daemon: StartDaemon
) -> None:
    old, new = named("old-name"), named("new-name")
    with start_daemon(old, home="renamed", forget=False):
        idle(hub, old)
        before = hub.device(old)
        assert before is not None
        area = hub.ask("config/area_registry/create", name=f"{old} room")["area_id"]
        hub.ask("config/device_registry/update", device_id=before["id"], area_id=area)
        last = hub.entity(old, "sensor", "Last command")
        hub.ask("config/entity_registry/update", entity_id=last, name="What was said")
        entities = {(e.entity_id, e.unique_id) for e in hub.entities(old)}
        trigger = {k: v for k, v in hub.triggers(old)[0].items() if k != "metadata"}
        automation = hub.automate(old, {"triggers": [trigger], "actions": [{"event": old}]})
    with start_daemon(new, home="renamed"):
        idle(hub, new)
        after = hub.device(new)
        assert after is not None
        assert (after["id"], after["area_id"]) == (before["id"], area)
        assert {(e.entity_id, e.unique_id) for e in hub.entities(new)} == entities
        kept = hub.ask("config/entity_registry/get", entity_id=last)
        assert kept["name"] == "What was said"
        listener = Observer(broker.port)
        with hub.watch(old) as fired:
            listener.publish(f"voice/{new}/wake", b'{"event_type":"detected"}')
            listener.publish(
                f"voice/{new}/transcript/final", b'{"event_type":"final","text":"hello"}'
            )
            soon(fired.data, f"{automation} still runs")
        listener.close()
        hub.forget_automation(old)
        hub.ask("config/area_registry/delete", area_id=area)
        left = Observer(broker.port)
        left.wait(f"voice/{new}/availability")
        assert not [message.topic for message in left.seen if f"/{old}/" in message.topic]
        left.close()


def test_another_device_of_the_same_node_has_triggers_too(
    hub: Hub, start_daemon: StartDaemon
) -> None:
    node = named("reinstalled")
    ids = set()
    for home in ("first-disk", "second-disk"):
        with start_daemon(node, home=home):
            soon(lambda: len(hub.triggers(node)) == 2, f"the triggers are there, with the {home}")
            device = hub.device(node)
            assert device is not None
            ids.add(device["id"])
    assert len(ids) == 2


def test_without_discovery_the_device_is_taken_away(hub: Hub, start_daemon: StartDaemon) -> None:
    node = named("unwanted")
    with start_daemon(node, forget=False):
        idle(hub, node)
    off = {"VOICE_DAEMON_HOMEASSISTANT__DISCOVERY": "false"}
    with start_daemon(node, **off):
        soon(lambda: hub.device(node) is None, "the device is gone")


def test_a_device_that_never_was_announced_is_not_taken_away_either(
    hub: Hub, start_daemon: StartDaemon, listener: Observer
) -> None:
    node = named("private")
    off = {"VOICE_DAEMON_HOMEASSISTANT__DISCOVERY": "false"}
    with start_daemon(node, **off):
        soon(lambda: b"idle" in listener.on(f"voice/{node}/state"), "the daemon is idle")
        assert announcements(listener, node) == 0
    assert hub.device(node) is None
