"""Carries out commands from MQTT and from the control socket.

Runs on the threads of its callers, so it never waits and never touches a model.
"""

from collections.abc import Callable, Mapping
from typing import Any

import structlog

from voice_daemon.config.persisted import Value
from voice_daemon.control.server import Handler
from voice_daemon.errors import ControlError, VoiceDaemonError
from voice_daemon.events import Event, State
from voice_daemon.mqtt.commands import Command, Kind, response_message
from voice_daemon.mqtt.messages import error_event
from voice_daemon.mqtt.publisher import Publisher
from voice_daemon.mqtt.topics import MqttMessage, Topics
from voice_daemon.runtime.live_settings import (
    AS_CONFIGURED,
    MUTE,
    WAKE_THRESHOLD,
    WAKE_WORD,
    LiveSettings,
)
from voice_daemon.runtime.status_collector import StatusCollector
from voice_daemon.runtime.worker import Worker
from voice_daemon.session.pipeline import Pipeline
from voice_daemon.sound.sounds import Sounds

log = structlog.get_logger()


class CommandHandler:
    """Handles each verb and setting. `on_change` is called when a setting has changed.

    `save_now` writes the changed settings before it returns.
    """

    def __init__(
        self,
        *,
        worker: Worker,
        publisher: Publisher,
        collector: StatusCollector,
        live: LiveSettings,
        topics: Topics,
        publish: Callable[[MqttMessage], None],
        publish_health: Callable[[], None],
        on_change: Callable[[], None],
        save_now: Callable[[], None],
        sounds: Sounds,
    ) -> None:
        self._worker = worker
        self._publisher = publisher
        self._collector = collector
        self._live = live
        self._topics = topics
        self._publish = publish
        self._publish_health = publish_health
        self._on_change = on_change
        self._save_now = save_now
        self._sounds = sounds
        self._verbs: dict[str, Callable[[Callable[[], None]], None]] = {
            "listen": self._listen,
            "cancel": self._cancel,
            "mute": lambda done: self._submit(MUTE, value=True, done=done),
            "unmute": lambda done: self._submit(MUTE, value=False, done=done),
        }

    def control_handlers(self) -> dict[str, Handler]:
        """Build the handlers of the control socket."""

        def handler(verb: str) -> Handler:
            def handle(_arguments: Mapping[str, Any]) -> Mapping[str, Any]:
                self._verbs[verb](_nothing)
                return {}

            return handle

        return {
            "status": lambda _arguments: self._collector.status().to_dict(),
            "watch": lambda _arguments: self._collector.live_snapshot().to_dict(),
            "reset-settings": lambda _arguments: {"settings": list(self.reset())},
            **{verb: handler(verb) for verb in self._verbs},
        }

    def on_command(self, command: Command) -> None:
        """Carry out an MQTT command; raises `CommandError` when it cannot be."""
        if command.kind is Kind.SETTING:
            value = self._live.read(command)
            self._submit(command.verb, value=value, done=_nothing, instead_of=command.verb)
        elif command.verb == "health":
            self._publish_health()
            self._answer(command)
        elif command.verb == "speak":
            self._say(command)
            self._answer(command)
        elif command.verb in self._verbs:
            try:
                self._verbs[command.verb](lambda: self._answer(command))
            except ControlError as error:
                raise command.refusal(error.code, error.message, remedy=error.remedy) from error
        else:
            raise command.unknown([*self._verbs, "health", "speak"])

    def restore(self) -> None:
        """Put the mute of an earlier run in force; to be called before the worker starts.

        The other changes are in the settings that the models are built from.
        """
        for name, change in self._live.restored.items():
            log.info("setting.restored", setting=name, value=change.value)
        for name, why in self._live.forgotten.items():
            log.warning("setting.forgotten", setting=name, reason=why)
        if self._live.values[MUTE]:
            log.warning("daemon.starts_muted", remedy="run `daemonctl unmute`")
            self._worker.submit(lambda pipeline: self._live.apply(pipeline, MUTE, value=True))

    def put_in_force(self, name: str, value: Value) -> None:
        """Set a value that the configuration has now, in the place of an earlier change."""
        self._submit(name, value=value, done=_nothing, instead_of=name)

    def reset(self) -> tuple[str, ...]:
        """Put every changed setting back to its configured value; return their names."""
        changed = tuple(sorted(self._live.store.state.changes))
        for name in changed:
            back = Command(name, value=AS_CONFIGURED, kind=Kind.SETTING)
            self._submit(name, value=self._live.read(back), done=_nothing, instead_of=name)
        return changed

    def _submit(
        self, name: str, *, value: Value, done: Callable[[], None], instead_of: str | None = None
    ) -> None:
        """Have a setting put in force, and tell everybody once it is."""
        faults: list[VoiceDaemonError] = []

        def act(pipeline: Pipeline) -> list[Event]:
            try:
                events = self._live.apply(pipeline, name, value=value)
            except VoiceDaemonError as fault:
                faults.append(fault)
                return []
            if name == MUTE and value:
                # Muting is told of at once, by the state: on disk before that.
                self._live.keep(name, value)
                self._save_now()
            return events

        def report() -> None:
            if faults:
                log.warning("setting.refused", setting=name, reason=faults[0].message)
                self._publisher.error(error_event(faults[0]))
            else:
                self._in_force(name, value)
            done()

        self._worker.submit(act, done=report, instead_of=instead_of)

    def _in_force(self, name: str, value: Value) -> None:
        log.debug("setting.in_force", setting=name, value=value)
        self._live.keep(name, value)
        self._save_now()  # what is said to be in force is so after a power cut
        self._on_change()
        self._publisher.setting(name, value)
        if name == WAKE_WORD:
            self._publisher.wake_words_changed(self._live.listening_for(value))
            self._publisher.setting(WAKE_THRESHOLD, self._live.values[WAKE_THRESHOLD])

    def _listen(self, done: Callable[[], None]) -> None:
        now = self._publisher.snapshot()
        if now.muted:
            raise ControlError(
                "session.muted",
                "the daemon is muted",
                remedy="run `daemonctl unmute`, then try again",
            )
        if now.state is State.STARTING:
            raise ControlError(
                "session.starting", "the daemon is still starting", remedy="try again in a moment"
            )
        if not self._worker.engine_ready:
            raise ControlError(
                "daemon.safe_mode",
                "the daemon runs without its recogniser: its start hung again and again",
                remedy="`daemonctl status` names the part; try another one, then restart",
            )
        self._worker.submit(lambda pipeline: pipeline.listen(), done=done)

    def _cancel(self, done: Callable[[], None]) -> None:
        # At once, not in the worker's turn: it may be talking.
        self._sounds.silence()
        self._worker.submit(lambda pipeline: pipeline.cancel(), done=done)

    def _say(self, command: Command) -> None:
        text = str(command.value or "").strip()
        if not text:
            raise command.refusal("command.bad_value", "there is no text", remedy="send the text")
        if not self._sounds.speak(text):
            raise command.refusal(
                "output.none", "there is no output to speak on", remedy="set audio.output"
            )

    def _answer(self, command: Command) -> None:
        self._publish(response_message(command, topics=self._topics))


def _nothing() -> None:
    """Do nothing: nobody waits for the command's end."""
