"""A running Home Assistant as its owner uses it: REST, the WebSocket, its log.

Speaks only the public APIs. Knows nothing of voice-daemon or of brokers.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.connection import Connection

PATIENCE_S = 90.0
"""For what comes true in seconds, a daemon's start among them."""
START_S = 180.0
REQUEST_S = 20.0
NOT_FOUND = 404
ENABLE_S = 90.0
"""Home Assistant waits half a minute before it loads what was enabled."""

_PROBLEM = re.compile(
    r" (?:WARNING|ERROR|CRITICAL) .*\[homeassistant\.(?:components\.(?:mqtt|automation|script|"
    r"template|blueprint|conversation|sensor|binary_sensor|event|switch|button|select|number|"
    r"text|device_automation)|helpers\.(?:entity|template|script|service|event))\b"
)
_ITS_OWN = "No device components to cleanup for "
"""It clears the topic of a device that goes once more for each disabled entity, and wonders."""

T = TypeVar("T")


def soon(look: Callable[[], T | None], what: str, *, within_s: float = PATIENCE_S) -> T:
    """Look until there is something; fail with `what` and what was seen last."""
    give_up_s = time.monotonic() + within_s
    while not (seen := look()):
        if time.monotonic() > give_up_s:
            pytest.fail(f"never came true: {what}; last seen: {seen!r}")
        time.sleep(0.1)
    return seen


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity of the registry."""

    entity_id: str
    name: str
    unique_id: str
    category: str | None
    is_enabled: bool

    @property
    def domain(self) -> str:
        return self.entity_id.partition(".")[0]


@dataclass
class Watch:
    """Events of the bus, oldest first, as they come in."""

    _events: list[dict[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, event: dict[str, Any]) -> None:
        with self._lock:
            self._events.append(event)

    def data(self) -> list[dict[str, Any]]:
        with self._lock:
            return [event["data"] for event in self._events]

    def states(self, entity_id: str) -> list[dict[str, Any]]:
        """Give every new state of an entity, attributes included."""
        return [
            data["new_state"]
            for data in self.data()
            if data.get("entity_id") == entity_id and data.get("new_state")
        ]


class Hub:
    """One Home Assistant, by its address and a long-lived token."""

    def __init__(
        self, url: str, token: str, *, restart_command: Sequence[str], log: Path | None
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._restart_command = restart_command
        self._log = log
        self._log_mark = 0

    # REST

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Give the answer, JSON decoded if it is any."""
        request = urllib.request.Request(  # noqa: S310 - the address is the caller's own
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_S) as answer:  # noqa: S310 - as above
                text = answer.read().decode(errors="replace")
                is_json = answer.headers.get_content_type() == "application/json"
        except urllib.error.HTTPError as error:
            error.add_note(f"{method} {path}: {error.read().decode(errors='replace')}")
            raise
        return json.loads(text) if is_json else text

    def version(self) -> str:
        return str(self.request("GET", "/api/config")["version"])

    def is_since(self, year: int, month: int) -> bool:
        """Tell whether it is of this version or a newer one."""
        return tuple(int(part) for part in self.version().split(".")[:2]) >= (year, month)

    def state(self, entity_id: str) -> str | None:
        """Give the state; None for an entity that has none."""
        found = self.full_state(entity_id)
        return None if found is None else str(found["state"])

    def attributes(self, entity_id: str) -> dict[str, Any]:
        found = self.full_state(entity_id)
        return {} if found is None else dict(found["attributes"])

    def full_state(self, entity_id: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.request("GET", f"/api/states/{entity_id}")
        except urllib.error.HTTPError as error:
            if error.code == NOT_FOUND:
                return None
            raise
        return found

    def act(self, action: str, entity_id: str, **data: object) -> None:
        """Carry out an action such as `switch.turn_on` on an entity."""
        domain, _, name = action.partition(".")
        self.request("POST", f"/api/services/{domain}/{name}", {"entity_id": entity_id, **data})

    def render(self, template: str) -> str:
        """Render a template as a dashboard would."""
        return str(self.request("POST", "/api/template", {"template": template}))

    def automate(self, key: str, configuration: dict[str, Any]) -> str:
        """Create an automation as the user interface does; its entity."""
        self.request(
            "POST", f"/api/config/automation/config/{key}", {"alias": key, **configuration}
        )
        return soon(lambda: self._automation(key), f"the automation {key} exists")

    @contextmanager
    def automated(self, key: str, configuration: dict[str, Any]) -> Iterator[str]:
        """Have an automation for the length of a block."""
        entity = self.automate(key, configuration)
        try:
            yield entity
        finally:
            self.forget_automation(key)

    def forget_automation(self, key: str) -> None:
        with suppress(urllib.error.HTTPError):
            self.request("DELETE", f"/api/config/automation/config/{key}")

    def _automation(self, key: str) -> str:
        for state in self.request("GET", "/api/states"):
            if state["attributes"].get("id") == key and state["state"] == "on":
                return str(state["entity_id"])
        return ""

    def has(self, *components: str) -> bool:
        """True when these are set up."""
        return set(components) <= set(self.request("GET", "/api/config")["components"])

    # WebSocket

    def ask(self, kind: str, **fields: object) -> Any:
        """Give the result of one WebSocket command."""
        with self._line() as line:
            return _result(line, 1, {"type": kind, **fields})

    @contextmanager
    def watch(self, event_type: str = "state_changed") -> Iterator[Watch]:
        """Collect the events of the bus within the block."""
        watch = Watch()
        with self._line() as line:
            _result(line, 1, {"type": "subscribe_events", "event_type": event_type})
            reader = threading.Thread(target=_read_events, args=(line, watch), daemon=True)
            reader.start()
            yield watch
        reader.join(REQUEST_S)

    @contextmanager
    def _line(self) -> Iterator[Connection]:
        address = "ws" + self.url.removeprefix("http") + "/api/websocket"
        with connect(address, max_size=None, open_timeout=REQUEST_S, proxy=None) as line:
            line.recv(REQUEST_S)
            line.send(json.dumps({"type": "auth", "access_token": self._token}))
            assert json.loads(line.recv(REQUEST_S))["type"] == "auth_ok", "the token is refused"
            yield line

    def browser_login(self) -> str:
        """Give what a browser that is logged in keeps."""
        hour_s = 3600
        login = {"access_token": self._token, "token_type": "Bearer", "refresh_token": ""}
        times = {"expires_in": hour_s, "expires": (time.time() + hour_s) * 1000}
        return json.dumps({**login, **times, "hassUrl": self.url, "clientId": f"{self.url}/"})

    # Devices

    def device(self, node: str) -> dict[str, Any] | None:
        """Give the device that a node has announced."""
        devices: list[dict[str, Any]] = self.ask("config/device_registry/list")
        wanted = (f"Voice {node.replace('-', ' ').title()}", "voice-daemon")
        return next((d for d in devices if (d["name"], d["manufacturer"]) == wanted), None)

    def entities(self, node: str) -> tuple[Entity, ...]:
        """Give the entities of a node's device; none while there is no device."""
        device = self.device(node)
        if device is None:
            return ()
        return tuple(
            Entity(
                entity_id=entry["entity_id"],
                name=entry["original_name"] or "",
                unique_id=entry["unique_id"],
                category=entry["entity_category"],
                is_enabled=entry["disabled_by"] is None,
            )
            for entry in self.ask("config/entity_registry/list")
            if entry["device_id"] == device["id"]
        )

    def entity(self, node: str, domain: str, name: str) -> str:
        """Give the id of an entity by its name; fails when it does not appear."""

        def look() -> str:
            found = [e for e in self.entities(node) if (e.domain, e.name) == (domain, name)]
            return found[0].entity_id if found else ""

        return soon(look, f"{node} has a {domain} {name!r}")

    def enable(self, node: str, *names: tuple[str, str]) -> dict[str, str]:
        """Enable entities by domain and name; give their ids by name, once they are there."""
        ids = {name: self.entity(node, domain, name) for domain, name in names}
        for entity in ids.values():
            self.ask("config/entity_registry/update", entity_id=entity, disabled_by=None)
        for entity in ids.values():
            soon(lambda: self.state(entity), f"{entity} is enabled", within_s=ENABLE_S)  # noqa: B023 - within the turn
        self.mark_log()  # it complains about its own reload
        return ids

    def rows(self, node: str, since: str) -> list[dict[str, Any]]:
        """Give the rows of the logbook of a node's device since a time."""
        device = self.device(node)
        assert device is not None
        found: list[dict[str, Any]] = self.ask(
            "logbook/get_events",
            start_time=since,
            device_ids=[device["id"]],
            entity_ids=[entity.entity_id for entity in self.entities(node)],
        )
        return found

    def triggers(self, node: str) -> list[dict[str, Any]]:
        """Give the device triggers that MQTT announced for a node."""
        device = self.device(node)
        if device is None:
            return []
        known: list[dict[str, Any]] = self.ask(
            "device_automation/trigger/list", device_id=device["id"]
        )
        return [trigger for trigger in known if trigger["domain"] == "mqtt"]

    # Its life

    def restart(self) -> None:
        """Restart it, and wait until it runs with MQTT set up."""
        if self._restart_command:
            subprocess.run(
                self._restart_command,
                check=True,
                stdout=subprocess.DEVNULL,
                timeout=START_S,
            )
        else:
            self.request("POST", "/api/services/homeassistant/restart", {})
            soon(lambda: not self._runs(), "Home Assistant goes down")
        self.wait_until_it_runs()
        self._log_mark = 0

    def wait_until_it_runs(self) -> None:
        soon(self._runs, f"Home Assistant runs at {self.url}", within_s=START_S)

    def _runs(self) -> bool:
        try:
            config = self.request("GET", "/api/config")
        except (OSError, urllib.error.HTTPError):
            return False
        return bool(config["state"] == "RUNNING" and not config.get("recovery_mode"))

    def mark_log(self) -> None:
        """Problems from before are not reported any more."""
        self._log_mark = len(self._log_text())

    def problems(self) -> list[str]:
        """Give the warnings and errors around MQTT that were logged since the mark."""
        text = self._log_text()
        new = text[self._log_mark :] if len(text) >= self._log_mark else text
        lines = [line for line in new.splitlines() if _PROBLEM.search(line)]
        return [line for line in lines if _ITS_OWN not in line]

    def _log_text(self) -> str:
        if self._log is not None:
            return self._log.read_text(errors="replace")
        return str(self.request("GET", "/api/error_log"))


def _result(line: Connection, number: int, command: dict[str, Any]) -> Any:
    line.send(json.dumps({"id": number, **command}))
    while True:
        message = json.loads(line.recv(REQUEST_S))
        if message.get("id") == number and message["type"] == "result":
            assert message["success"], f"{command}: {message.get('error')}"
            return message["result"]


def _read_events(line: Connection, watch: Watch) -> None:
    with suppress(ConnectionClosed):
        while True:
            message = json.loads(line.recv())
            if message["type"] == "event":
                watch.add(message["event"])
