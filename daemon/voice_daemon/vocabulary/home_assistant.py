"""Asks Home Assistant once for the names of a home: by its WebSocket API, with a token.

Templates, which the blueprint uses, know neither aliases nor what is exposed to voice assistants;
this API does. The daemon itself never holds a token.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from voice_daemon.vocabulary.document import SCHEMA, VocabularyError

TIMEOUT_S = 20.0
MAX_ANSWER_BYTES = 16 * 2**20
NAMED_DOMAINS = frozenset(
    {
        "binary_sensor",
        "climate",
        "cover",
        "fan",
        "humidifier",
        "input_boolean",
        "lawn_mower",
        "light",
        "lock",
        "media_player",
        "scene",
        "script",
        "sensor",
        "switch",
        "todo",
        "vacuum",
        "valve",
        "water_heater",
        "weather",
    }
)
"""Kinds of entities that sentences name."""


@dataclass(frozen=True, slots=True)
class HomeAnswers:
    """Home Assistant's answers, as it gives them."""

    exposed: Mapping[str, Any]
    """Entity -> assistants that it is exposed to."""
    entries: Mapping[str, Any]
    """Entity -> its entry in the registry."""
    states: Sequence[Mapping[str, Any]]
    areas: Sequence[Mapping[str, Any]]
    floors: Sequence[Mapping[str, Any]]
    sentences: Sequence[str] = ()
    """Triggers of automations."""


def document_of(answers: HomeAnswers, *, language: str = "") -> dict[str, Any]:
    """Make a document of what is exposed to voice assistants."""
    friendly = {
        str(state.get("entity_id")): str(state.get("attributes", {}).get("friendly_name") or "")
        for state in answers.states
    }
    entities = []
    for entity, assistants in sorted(answers.exposed.items()):
        domain = entity.partition(".")[0]
        if domain in NAMED_DOMAINS and assistants.get("conversation") is True:
            entry = answers.entries.get(entity) or {}
            name, *aliases = _called(friendly.get(entity, ""), entry.get("aliases") or []) or [""]
            named = _named(name, aliases, domain=domain)
            # Two rooms may each have a "Lamp": here it is one name.
            if name and named not in entities:
                entities.append(named)
    document: dict[str, Any] = {"schema": SCHEMA}
    if language:
        document["language"] = language
    document["entities"] = entities
    document["areas"] = _places(answers.areas)
    document["floors"] = _places(answers.floors)
    if answers.sentences:
        document["sentences"] = list(answers.sentences)
    return document


def _places(found: Sequence[Mapping[str, Any]]) -> list[object]:
    named = [_called(str(p.get("name") or ""), p.get("aliases") or []) for p in found]
    return [_named(name, aliases) for name, *aliases in (names for names in named if names)]


def _called(name: str, aliases: Sequence[str | None]) -> list[str]:
    """All names, the first foremost.

    In newer versions None among the aliases stands for the name itself, which without it is not
    to be spoken.
    """
    if None in aliases or not any(aliases):
        return [text for text in (name, *sorted(a for a in aliases if a)) if text]
    spoken = sorted(alias for alias in aliases if alias)
    return [name, *spoken] if name else spoken


def _named(name: str, aliases: Sequence[str], **more: str) -> object:
    if not aliases and not more:
        return name
    document: dict[str, object] = {"name": name, **more}
    if aliases:
        document["aliases"] = list(aliases)
    return document


def socket_address(url: str) -> str:
    """The WebSocket behind a Home Assistant's web address; raises VocabularyError."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    if parts.scheme not in schemes or not parts.hostname:
        raise VocabularyError(
            "vocabulary.bad_url",
            f"{url!r} is not the address of a Home Assistant",
            remedy="give its web address, such as http://homeassistant.local:8123",
        )
    path = parts.path.rstrip("/") + "/api/websocket"
    return urlunsplit((schemes[parts.scheme], parts.netloc, path, "", ""))


def pull(url: str, token: str) -> dict[str, Any]:
    """Ask a running Home Assistant for the document of its home.

    Raises VocabularyError when it cannot be reached, does not know the token, or when the
    token's owner is no administrator.
    """
    try:
        from websockets.exceptions import WebSocketException  # noqa: PLC0415 - an extra
        from websockets.sync.client import connect  # noqa: PLC0415 - an extra
    except ImportError:
        raise VocabularyError(
            "vocabulary.not_installed",
            "asking Home Assistant needs the package websockets",
            remedy="install the extra: pip install 'voice-daemon[home]'",
        ) from None
    try:
        with connect(
            socket_address(url), open_timeout=TIMEOUT_S, max_size=MAX_ANSWER_BYTES
        ) as socket:
            return _Conversation(socket).document(token)
    except (OSError, TimeoutError, WebSocketException, ValueError) as error:
        raise VocabularyError(
            "vocabulary.unreachable",
            f"{url} does not answer as a Home Assistant: {error or type(error).__name__}",
            remedy="check the address and that Home Assistant runs",
        ) from error


class _Conversation:
    """Questions and answers over an open socket."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._n_asked = 0

    def document(self, token: str) -> dict[str, Any]:
        self._introduce(token)
        exposed = self._ask("homeassistant/expose_entity/list")["exposed_entities"]
        spoken = [entity for entity, who in exposed.items() if who.get("conversation") is True]
        entries = self._ask("config/entity_registry/get_entries", entity_ids=spoken)
        answers = HomeAnswers(
            exposed=exposed,
            entries=entries,
            states=self._ask("get_states"),
            areas=self._ask("config/area_registry/list"),
            floors=self._ask("config/floor_registry/list"),
        )
        language = self._ask("get_config").get("language", "")
        return document_of(answers, language=language)

    def _introduce(self, token: str) -> None:
        self._receive()
        self._socket.send(json.dumps({"type": "auth", "access_token": token}))
        if self._receive().get("type") != "auth_ok":
            raise VocabularyError(
                "vocabulary.token_refused",
                "Home Assistant does not know the token",
                remedy="make a long-lived one on your profile's page, under Security",
            )

    def _ask(self, kind: str, **more: object) -> Any:
        self._n_asked += 1
        self._socket.send(json.dumps({"id": self._n_asked, "type": kind, **more}))
        while (answer := self._receive()).get("id") != self._n_asked:
            pass
        if not answer.get("success"):
            code = str(answer.get("error", {}).get("code", ""))
            raise VocabularyError(
                "vocabulary.refused",
                f"Home Assistant refuses {kind}: {code}",
                remedy="use a token of an administrator",
            )
        return answer["result"]

    def _receive(self) -> dict[str, Any]:
        message = json.loads(self._socket.recv(timeout=TIMEOUT_S))
        if not isinstance(message, dict):
            raise ValueError("its answer is not a JSON object")  # noqa: TRY004 - told as any bad answer
        return message
