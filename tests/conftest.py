"""What many tests share: a real broker, a subscriber, a private home, the bundled clip.

Nothing here starts unless a test asks for it.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from rigs.brokers import Mosquitto
from support.silence import FOLDER_VARIABLE, shared_silence
from support.subscriber import Subscriber
from voice_daemon.assets import DEMO_CLIP

settings.register_profile("voice-daemon", deadline=None, print_blob=True)
settings.load_profile("voice-daemon")


TEST_DATA = os.environ.get("VOICE_DAEMON_TEST_DATA")
TEST_MODEL = os.environ.get("VOICE_DAEMON_TEST_MODEL")


@pytest.fixture(autouse=True, scope="session")
def no_settings_of_the_users_own() -> Iterator[None]:
    """Whatever the user has in the environment for a daemon is not for the tests' daemons."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("VOICE_DAEMON_")]:
            if not name.startswith("VOICE_DAEMON_HA_"):  # where a Home Assistant is
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True, scope="session")
def children_can_be_interrupted() -> None:
    """A run in the background ignores Ctrl-C, and so would every process that it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def silence_is_encoded_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All processes of one run share it; the folder above a worker's own is the run's."""
    own = tmp_path_factory.getbasetemp()
    run = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(run / "silence"))
        patch.setattr("voice_daemon.asr.streaming.silent_window", shared_silence)
        yield


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Undo what a command under test sets up for its process."""
    root = logging.getLogger()
    level = root.level
    yield
    for handler in list(root.handlers):
        if (handler.get_name() or "").startswith("voice-daemon."):
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def mosquitto_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run one mosquitto on loopback for all tests that do not hurt it; its port."""
    broker = Mosquitto(tmp_path_factory.mktemp("mosquitto")).start()
    yield broker.port
    broker.kill()


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Make a broker of the test's own, not started; the arguments are lines for its listener."""
    made: list[Mosquitto] = []

    def make(*settings: str) -> Mosquitto:
        made.append(Mosquitto(tmp_path, settings or ("allow_anonymous true",)))
        return made[-1]

    yield make
    for mosquitto in made:
        mosquitto.kill()


@pytest.fixture
def broker(make_broker: Callable[..., Mosquitto]) -> Mosquitto:
    """A broker of the test's own: it may be hurt, and nothing is retained on it but by the test."""
    return make_broker().start()


@pytest.fixture
def subscriber(mosquitto_port: int) -> Iterator[Subscriber]:
    """A subscriber to everything from now on; what other tests left retained is not for it."""
    client = Subscriber(mosquitto_port, hears_retained=False)
    yield client
    client.close()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for Unix sockets, whose paths must be short: on macOS pytest's own are too long."""
    with tempfile.TemporaryDirectory(prefix="vd-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def voice_home(short_folder: Path) -> Path:
    """A folder for `VOICE_DAEMON_HOME`, whose control socket has a path that every system takes."""
    home = short_folder / "home"
    home.mkdir()
    return home


@pytest.fixture(scope="session")
def demo_clip() -> Path:
    """The bundled recording: the wake word, then a command."""
    return DEMO_CLIP


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The recordings named by `VOICE_DAEMON_TEST_DATA`; skips without them."""
    if TEST_DATA is None:
        pytest.skip("VOICE_DAEMON_TEST_DATA is not set: no recordings to transcribe")
    return Path(TEST_DATA)


@pytest.fixture(scope="session")
def multilingual_folder() -> str:
    """The model named by `VOICE_DAEMON_TEST_MODEL`; skips without it."""
    if TEST_MODEL is None:
        pytest.skip("VOICE_DAEMON_TEST_MODEL is not set: no multilingual model to read with")
    return TEST_MODEL
