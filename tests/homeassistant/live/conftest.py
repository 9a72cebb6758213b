"""A Home Assistant to test against, tied to a mosquitto of the tests' own.

`scripts/test-homeassistant` names it by `VOICE_DAEMON_HA_...`; without them nothing that needs
one is collected.
"""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rigs.brokers import HOST, Mosquitto, Observer
from rigs.homeassistant.environment import LOG, RESTART, TOKEN_FILE, URL, StartDaemon
from rigs.homeassistant.hub import Hub, soon
from rigs.homeassistant.names import OUR_DEVICES, OURS
from rigs.homeassistant.rooms import quiet_room
from rigs.virtual_microphone import DEVICE, VirtualMicrophone, why_not
from support.daemon_process import DaemonProcess

collect_ignore_glob = [] if URL in os.environ else ["test_*.py"]


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """Run the broker of these tests; it keeps its port when it is killed and started again."""
    broker = Mosquitto(tmp_path_factory.mktemp("broker")).start()
    yield broker
    broker.kill()


@pytest.fixture(scope="session")
def hub(broker: Mosquitto) -> Hub:
    """Give the Home Assistant under test, connected to the tests' broker."""
    log = os.environ.get(LOG)
    hub = Hub(
        os.environ[URL],
        Path(os.environ[TOKEN_FILE]).read_text().strip(),
        restart_command=shlex.split(os.environ.get(RESTART, "")),
        log=Path(log) if log else None,
    )
    hub.wait_until_it_runs()
    _refuse_a_home_that_is_lived_in(hub)
    _connect_to_broker(hub, broker.port)
    _forget_what_an_earlier_run_left(hub)
    return hub


@pytest.fixture(autouse=True)
def nothing_is_complained_about(hub: Hub) -> Iterator[None]:
    """Fail a test that made Home Assistant warn; one that expects it marks the log anew."""
    hub.mark_log()
    yield
    assert hub.problems() == []


@pytest.fixture
def listener(broker: Mosquitto) -> Iterator[Observer]:
    """Hear all MQTT messages of a test."""
    listener = Observer(broker.port)
    yield listener
    listener.close()


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualMicrophone]:
    """Give a microphone in a room, quiet until something is played in it."""
    why = why_not()
    if why is not None:
        pytest.skip(why)
    microphone = VirtualMicrophone().start()
    hum = microphone.begin(quiet_room(tmp_path_factory.mktemp("room") / "quiet.wav", seconds=3000))
    yield microphone
    hum.kill()
    hum.wait()
    microphone.stop()


@pytest.fixture
def start_daemon(hub: Hub, broker: Mosquitto) -> Iterator[StartDaemon]:
    """Give what runs a daemon for the length of a block, hearing a quiet room or a recording."""
    with tempfile.TemporaryDirectory(prefix="vd-") as folder:
        yield daemons(hub, broker, Path(folder))


@pytest.fixture(scope="module")
def start_module_daemon(hub: Hub, broker: Mosquitto) -> Iterator[StartDaemon]:
    """Give the same, for daemons that a whole module shares."""
    with tempfile.TemporaryDirectory(prefix="vd-") as folder:
        yield daemons(hub, broker, Path(folder))


def daemons(hub: Hub, broker: Mosquitto, folder: Path) -> StartDaemon:
    """Give what runs daemons below a folder; its path is short, as those of sockets must be."""
    quiet = quiet_room(folder / "quiet.wav")

    @contextmanager
    def start(
        node: str,
        *,
        recording: Path = quiet,
        room: VirtualMicrophone | None = None,
        home: str = "",
        forget: bool = True,
        **variables: str,
    ) -> Iterator[DaemonProcess]:
        assert node.startswith(OURS)
        place = folder / (home or node)
        place.mkdir(exist_ok=True)
        settings = {
            "VOICE_DAEMON_NODE_ID": node,
            "VOICE_DAEMON_MQTT__PORT": str(broker.port),
            "VOICE_DAEMON_MQTT__RECONNECT_MAX_S": "2",
            "VOICE_DAEMON_AUDIO__OUTPUT": "none",
            **variables,
        }
        arguments: tuple[str | Path, ...] = ("--input", recording)
        if room is not None:
            arguments = ()
            settings |= {"VOICE_DAEMON_AUDIO__DEVICE": DEVICE, **room.additions}
        with DaemonProcess(arguments, place, settings) as daemon:
            try:
                yield daemon
            finally:
                log = place / "logs" / "voice-daemon.jsonl"
                print(log.read_text() if log.exists() else "no log")  # noqa: T201 - pytest shows it of a failed test
        if forget:
            forget_device(hub, broker, node)

    return start


def forget_device(hub: Hub, broker: Mosquitto, node: str) -> None:
    """Take a device of ours out of Home Assistant."""
    if hub.device(node) is None:
        return
    topic = f"homeassistant/device/{node}/config"
    publisher = Observer(broker.port, topic_filter=topic)

    def is_gone() -> bool:
        # Once is not enough: after a broker was killed Home Assistant is away for some seconds.
        publisher.publish(topic, b"", retain=True)
        time.sleep(0.5)
        return hub.device(node) is None

    soon(is_gone, f"{node} is gone")
    publisher.close()


def _refuse_a_home_that_is_lived_in(hub: Hub) -> None:
    """These tests take over the MQTT integration: not where somebody uses it."""
    strangers = [
        device["name"]
        for device in hub.ask("config/device_registry/list")
        for domain, value in device["identifiers"]
        if domain == "mqtt" and not (OURS in value or device["name"].startswith(OUR_DEVICES))
    ]
    if strangers:
        pytest.exit(f"{hub.url} has MQTT devices of its own ({strangers[0]}): use one for tests")


def _forget_what_an_earlier_run_left(hub: Hub) -> None:
    for device in hub.ask("config/device_registry/list"):
        if device["name"].startswith(OUR_DEVICES):
            for entry in device["config_entries"]:
                hub.ask(
                    "config/device_registry/remove_config_entry",
                    device_id=device["id"],
                    config_entry_id=entry,
                )
    for state in hub.request("GET", "/api/states"):
        key = str(state["attributes"].get("id", ""))
        if state["entity_id"].startswith("automation.") and key.startswith(OURS):
            hub.forget_automation(key)


def _connect_to_broker(hub: Hub, port: int) -> None:
    """Set up the MQTT integration as its dialogue does, or point it to our broker."""
    entries = hub.request("GET", "/api/config/config_entries/entry?domain=mqtt")
    start: dict[str, Any] = {"handler": "mqtt"}
    if entries:
        start["entry_id"] = entries[0]["entry_id"]
    flows = "/api/config/config_entries/flow"
    form = hub.request("POST", flows, start)
    given = {**_as_proposed(form["data_schema"]), "broker": HOST, "port": port}
    done = hub.request("POST", f"{flows}/{form['flow_id']}", given)
    ended_well = done["type"] == "create_entry" or done.get("reason") == "reconfigure_successful"
    assert ended_well, f"Home Assistant cannot use a broker on {HOST}:{port}: {done}"

    def is_loaded() -> bool:
        entries = hub.request("GET", "/api/config/config_entries/entry?domain=mqtt")
        return bool(entries and entries[0]["state"] == "loaded")

    soon(is_loaded, "the MQTT integration is loaded")


def _as_proposed(schema: list[dict[str, Any]]) -> dict[str, Any]:
    """Fill in what a form demands, as a user does who changes nothing."""
    filled: dict[str, Any] = {}
    for item in schema:
        proposal = {**item.get("description", {}), **item}
        if item.get("type") == "expandable":
            filled[item["name"]] = _as_proposed(item["schema"])
        elif item.get("required") and "default" in proposal:
            filled[item["name"]] = proposal["default"]
        elif item.get("required") and "suggested_value" in proposal:
            filled[item["name"]] = proposal["suggested_value"]
    return filled
