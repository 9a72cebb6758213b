"""The verbs that others may give the daemon, by MQTT and by the control socket.

Checks an order, puts it into the worker's queue and says that it was accepted. Runs on the
threads of its callers, so it never waits and never touches a model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from voice_daemon.errors import ControlError
from voice_daemon.events import State
from voice_daemon.mqtt.messages import Command, Kind, Topics, response_message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from voice_daemon.announcer import Announcer
    from voice_daemon.control.server import Handler
    from voice_daemon.health import Reporter
    from voice_daemon.mqtt.messages import MqttMessage
    from voice_daemon.worker import Worker

THRESHOLD_RANGE: Final = (0.01, 0.99)
"""As in the configuration."""


class Orders:
    """What can be asked of a running daemon."""

    def __init__(
        self,
        *,
        worker: Worker,
        announcer: Announcer,
        reporter: Reporter,
        topics: Topics,
        publish: Callable[[MqttMessage], None],
        publish_health: Callable[[], None],
    ) -> None:
        self._worker = worker
        self._announcer = announcer
        self._reporter = reporter
        self._topics = topics
        self._publish = publish
        self._publish_health = publish_health
        self._verbs: dict[str, Callable[[Callable[[], None]], None]] = {
            "listen": self._listen,
            "cancel": lambda done: worker.submit(lambda pipeline: pipeline.cancel(), done=done),
            "mute": lambda done: self._mute(on=True, done=done),
            "unmute": lambda done: self._mute(on=False, done=done),
        }

    def control_handlers(self) -> dict[str, Handler]:
        """Give the handlers of the control socket."""

        def handler(verb: str) -> Handler:
            def handle(_arguments: Mapping[str, Any]) -> Mapping[str, Any]:
                self._verbs[verb](_nothing)
                return {}

            return handle

        def status(_arguments: Mapping[str, Any]) -> Mapping[str, Any]:
            return self._reporter.status().to_dict()

        return {"status": status, **{verb: handler(verb) for verb in self._verbs}}

    def on_command(self, command: Command) -> None:
        """Carry out an MQTT command; raises `CommandError` when it cannot be."""
        if command.kind is Kind.SETTING:
            self._set(command)
        elif command.verb == "health":
            self._publish_health()
            self._answer(command)
        elif command.verb in self._verbs:
            try:
                self._verbs[command.verb](lambda: self._answer(command))
            except ControlError as error:
                raise command.refusal(error.code, error.message, remedy=error.remedy) from error
        else:
            raise command.unknown([*self._verbs, "health"])

    def _set(self, command: Command) -> None:
        match command.verb:
            case "mute":
                self._mute(on=command.flag(), done=_nothing)
            case "wake_threshold":
                self._set_threshold(command)
            case _:
                raise command.unknown(["mute", "wake_threshold"])

    def _set_threshold(self, command: Command) -> None:
        threshold = command.number()
        lowest, highest = THRESHOLD_RANGE
        if not lowest <= threshold <= highest:
            raise command.refusal(
                "command.out_of_range", f"{threshold:g} is not within {lowest:g} to {highest:g}"
            )
        self._worker.submit(
            lambda pipeline: pipeline.set_threshold(threshold),
            done=lambda: self._announcer.setting("wake_threshold", threshold),
        )

    def _listen(self, done: Callable[[], None]) -> None:
        picture = self._announcer.picture()
        if picture.muted:
            raise ControlError(
                "session.muted", "the daemon is muted", remedy="daemonctl unmute, then listen"
            )
        if picture.state is State.STARTING:
            raise ControlError(
                "session.starting", "the daemon is still starting", remedy="try again in a moment"
            )
        self._worker.submit(lambda pipeline: pipeline.listen(), done=done)

    def _mute(self, *, on: bool, done: Callable[[], None]) -> None:
        def muted() -> None:
            self._announcer.setting("mute", on)
            done()

        self._worker.submit(
            lambda pipeline: pipeline.mute() if on else pipeline.unmute(), done=muted
        )

    def _answer(self, command: Command) -> None:
        self._publish(response_message(command, topics=self._topics))


def _nothing() -> None:
    """Be the answer to an order that nobody waits for."""
