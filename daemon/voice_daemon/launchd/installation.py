"""The installed service of one user: what is there, and the steps to change it.

Every operation looks first and then gives steps, so that it may be repeated, repairs what is half
there, and can be shown without being done.
"""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from voice_daemon import __version__
from voice_daemon.errors import NotInstalledError, ServiceError
from voice_daemon.launchd.agent import LABEL, Agent, AgentPaths, program_of
from voice_daemon.launchd.app_bundle import AD_HOC, Bundle
from voice_daemon.launchd.launchctl import AgentState, Launchctl, NoSessionError
from voice_daemon.launchd.machine import Machine
from voice_daemon.launchd.steps import (
    Step,
    StepOutcome,
    make_folder,
    move,
    remove,
    unfinished,
    write_file,
)

_VERIFY: Final = ("--verify", "--strict")
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Installation:
    """One user's agent and app. Raises `ServiceError` on the wrong machine or for root."""

    machine: Machine
    places: AgentPaths

    def __post_init__(self) -> None:
        self.machine.check()

    @property
    def installed(self) -> bool:
        """True when launchd would find the agent at the next login."""
        return self.places.agent_file.exists()

    @property
    def loaded(self) -> bool:
        """True when launchd has the agent; where nobody is logged in, it has none."""
        try:
            return self.state() is not None
        except NoSessionError:
            return False

    def state(self) -> AgentState | None:
        """The agent's state in launchd; None when it is not loaded. Raises `NoSessionError`."""
        return self._launchctl().state(LABEL)

    def install_steps(self, agent: Agent, bundle: Bundle, *, restart: bool) -> list[Step]:
        """Give the steps that make everything as it should be and let it run.

        `restart`: stop what runs even where no file changes.
        """
        app = self.places.app
        folders = {
            self.places.log_folder: 0o700,
            self.places.agent_file.parent: 0o755,
            app.parent: 0o755,
        }
        missing = [make_folder(path, mode) for path, mode in folders.items() if not path.is_dir()]
        same_app = bundle.is_at(app) and self._is_signed(app)
        written = (
            []
            if self._agent_file_is(agent)
            else [write_file(self.places.agent_file, agent.property_list())]
        )
        loaded = self.state() is not None
        # launchd keeps what it has loaded: another file counts after a bootout alone.
        stop = loaded and (restart or bool(written) or not same_app)
        return [
            *missing,
            self._check_python(bundle),
            # While the old one still runs: the daemon is away for a moment only.
            *([] if same_app else self._build_steps(bundle)),
            *([self._bootout()] if stop else []),
            *([] if same_app else self._replace_steps(bundle)),
            *written,
            *self._load_steps(loaded=loaded and not stop),
        ]

    def uninstall_steps(self) -> list[Step]:
        """Give the steps that remove what `install_steps` made; none when there is nothing."""
        agent_file, app = self.places.agent_file, self.places.app
        files = (agent_file, unfinished(agent_file), app, self._building(), self._old())
        return [
            *([self._bootout()] if self.loaded else []),
            # Before the app has gone: macOS then knows nobody of this name.
            *([self._register(app), self._forget("All")] if app.is_dir() else []),
            *(remove(path) for path in files if path.exists() or path.is_symlink()),
        ]

    def start_steps(self) -> list[Step]:
        """Give the steps after which it runs; raises `NotInstalledError`."""
        self._require()
        return self._load_steps(loaded=self.state() is not None)

    def stop_steps(self) -> list[Step]:
        """Give the steps after which it does not run until the next login or `start`."""
        self._require()
        return [self._bootout()] if self.state() is not None else []

    def restart_steps(self) -> list[Step]:
        """Give the steps that stop it in its own time and start it anew."""
        self._require()
        return [*self.stop_steps(), *self._load_steps(loaded=False)]

    def _require(self) -> None:
        if not self.installed:
            raise NotInstalledError(
                "service.not_installed",
                f"the agent is not installed: there is no {self.places.agent_file}",
                remedy="run `daemonctl install`",
            )

    def _building(self) -> Path:
        """The place where the app is put together, beside its own: moving it is one step."""
        return self.places.app.with_name(f".{self.places.app.stem}-building.app")

    def _old(self) -> Path:
        """The place where the replaced app waits until the new one is in its place."""
        return self.places.app.with_name(f".{self.places.app.stem}-old.app")

    def _agent_file_is(self, agent: Agent) -> bool:
        path = self.places.agent_file
        if path.is_symlink() or not path.is_file():
            return False
        if path.stat().st_mode & _WRITABLE_BY_OTHERS:
            return False
        return path.read_bytes() == agent.property_list()

    def _build_steps(self, bundle: Bundle) -> list[Step]:
        built = self._building()
        leftover = [remove(built)] if built.exists() else []
        return [
            *leftover,
            *bundle.steps_into(built),
            self._sign(bundle, built),
            self._verify(built),
            self._check_launcher(bundle, built),
        ]

    def _replace_steps(self, bundle: Bundle) -> list[Step]:
        """Put the new app into its place, and have macOS ask again where it is another to it.

        An ad-hoc signature is known by its hash. A permission that other bytes were given stays
        switched on in the settings and is worth nothing: only forgetting it brings the question.
        """
        app, old = self.places.app, self._old()
        known = bundle.grants_like(app) or bundle.shares_an_identity_with(app)
        return [
            *([remove(old)] if old.exists() else []),
            *([move(app, old)] if app.exists() else []),
            move(self._building(), app),
            *([remove(old)] if app.exists() else []),
            self._register(app),
            *([] if known else [self._forget("Microphone")]),
        ]

    def _sign(self, bundle: Bundle, app: Path) -> Step:
        remedy = (
            "please report it with this message"
            if bundle.identity == AD_HOC
            else "`security find-identity -p codesigning` lists the identities that --sign can "
            "name; without --sign none is needed"
        )
        options = ("--force", "--identifier", LABEL, "--sign", bundle.identity)
        return self._program("codesign", *options, app, code="service.not_signed", remedy=remedy)

    def _verify(self, app: Path) -> Step:
        """Look at the signature as macOS will: one that does not hold is granted nothing."""
        return self._program(
            "codesign",
            *_VERIFY,
            app,
            code="service.signature_does_not_hold",
            remedy="please report it with this message",
        )

    def _is_signed(self, app: Path) -> bool:
        return self.machine.run("codesign", *_VERIFY, app).code == 0

    def _register(self, app: Path) -> Step:
        """Tell macOS of the app: tccutil knows only apps that it has been told of."""
        return self._program(
            "lsregister",
            "-f",
            app,
            code="service.not_registered",
            remedy="open the folder of the app once in the Finder",
            is_optional=True,
        )

    def _forget(self, service: str) -> Step:
        """Have macOS forget what was answered for the app."""
        return self._program(
            "tccutil",
            "reset",
            service,
            LABEL,
            code="service.permission_not_reset",
            remedy=f"run `tccutil reset {service} {LABEL}` when the app is installed",
            is_optional=True,
        )

    def _program(
        self,
        name: str,
        *arguments: str | Path,
        code: str,
        remedy: str,
        is_optional: bool = False,
    ) -> Step:
        """Run one of macOS' programs; its last two lines say what it has refused."""
        program = self.machine.program(name)
        told = " ".join(map(str, (program, *arguments)))

        def do() -> None:
            done = self.machine.run(program, *arguments)
            if done.code != 0:
                raise ServiceError(code, f"{name} failed: {_last_lines(done)}", remedy=remedy)

        return Step(f"run {told}", do, is_optional=is_optional)

    def _check_python(self, bundle: Bundle) -> Step:
        """Start Python once as the launcher will: launchd would only say that it failed."""
        code = "import voice_daemon; print(voice_daemon.__version__)"
        python = bundle.command[0]

        def do() -> None:
            done = self.machine.run(Path(python), "-E", "-P", "-c", code)
            if done.code != 0 or done.out.strip() != __version__:
                raise ServiceError(
                    "service.python_does_not_start",
                    f"{python} does not find the daemon: {_last_lines(done)}",
                    remedy="install voice-daemon into this Python again, or make its environment "
                    "anew",
                )

        return Step(f'run {python} -E -P -c "{code}"', do)

    def _check_launcher(self, bundle: Bundle, app: Path) -> Step:
        """Have the launcher show its command: that it runs here, and finds what is sealed."""
        program = program_of(app)

        def do() -> None:
            done = self.machine.run(program, "--show")
            if done.code != 0 or done.out.splitlines() != "\n".join(bundle.command).splitlines():
                raise ServiceError(
                    "service.app_does_not_start",
                    f"the app's program does not start: {_last_lines(done)}",
                    remedy="voice-daemon is for Macs with Apple Silicon and macOS 14 or newer",
                )

        return Step(f"run {program} --show", do)

    def _load_steps(self, *, loaded: bool) -> list[Step]:
        launchctl, agent_file = self._launchctl(), self.places.agent_file
        target = launchctl.target(LABEL)
        load = [
            Step(f"run launchctl enable {target}", lambda: launchctl.enable(LABEL)),
            Step(
                f"run launchctl bootstrap {launchctl.domain} {agent_file}",
                lambda: launchctl.bootstrap(LABEL, agent_file),
            ),
        ]
        kick = Step(f"run launchctl kickstart {target}", lambda: launchctl.kickstart(LABEL))
        return [kick] if loaded else [*load, kick]

    def _bootout(self) -> Step:
        launchctl = self._launchctl()
        return Step(
            f"run launchctl bootout {launchctl.target(LABEL)}", lambda: launchctl.bootout(LABEL)
        )

    def _launchctl(self) -> Launchctl:
        program = self.machine.program("launchctl")
        return Launchctl(self.machine.uid, lambda arguments: self.machine.run(program, *arguments))


def _last_lines(done: StepOutcome) -> str:
    """Give the two that matter: codesign names the fault in one and the file in the next."""
    lines = (done.err or done.out).strip().splitlines()[-2:]
    return ": ".join(line.strip().rstrip(":") for line in lines) or f"exit code {done.code}"
