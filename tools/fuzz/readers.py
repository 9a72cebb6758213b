"""What reads input that others wrote, one function each: bytes in, and a folder to put them in.

A reader may raise a `VoiceDaemonError`, which has to say what is wrong and what to do. Knows
nothing of where the bytes come from.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from support.whisper_files import SMALL, small_tensors, write_mlx
from voice_daemon.asr.checkpoints.byte_pairs import read_vocabulary
from voice_daemon.asr.checkpoints.load import load_weights
from voice_daemon.asr.cooperative import at_once
from voice_daemon.audio.file import decode
from voice_daemon.config import ConfigProblems, Settings, load_settings
from voice_daemon.config.persisted import SettingsStore, read_state
from voice_daemon.control.protocol import LineBuffer, decode_reply, decode_request
from voice_daemon.errors import VoiceDaemonError
from voice_daemon.logs.crashes import entries_of
from voice_daemon.logs.format import SessionTimeline, record_lines
from voice_daemon.logs.records import read_record
from voice_daemon.models.catalogue import describe
from voice_daemon.models.repo_files import check_config, vocabulary_source_of
from voice_daemon.mqtt.commands import Command, Kind
from voice_daemon.mqtt.peers import parse_claim
from voice_daemon.mqtt.router import CommandRouter
from voice_daemon.mqtt.topics import Topics
from voice_daemon.runtime.journal import PATTERN, Journal
from voice_daemon.runtime.live_settings import LiveSettings
from voice_daemon.runtime.status import Status
from voice_daemon.vocabulary.document import read_document
from voice_daemon.vocabulary.grammar import SentenceGrammar
from voice_daemon.vocabulary.reading import Reader as HomeReader
from voice_daemon.vocabulary.reading import respelled
from voice_daemon.wake.head import load_head
from voice_daemon.wake.openwakeword import _Classifier
from voice_daemon.wake.speech_embedding import EMBEDDING_SIZE
from voice_daemon.wyoming.framing import MAX_HEADER_BYTES, read_event, shown

Reader = Callable[[bytes, Path], None]

TOPICS: Final = Topics("voice", "default")
MOST_AUDIO_S: Final = 60
"""Read of a file that says it is long."""
VOCABULARIES: Final = ("tokenizer.json", "vocab.json", "vocabulary.json", "vocabulary.txt")


def put(content: bytes, path: Path) -> Path:
    """Write a file that only we can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def config(content: bytes, folder: Path) -> None:
    """A configuration file."""
    try:
        load_settings(put(content, folder / "config.toml"), {})
    except ConfigProblems as error:
        for problem in error.problems:
            assert problem.remedy
            assert str(problem).isprintable()
        raise


def mqtt_message(content: bytes, _folder: Path) -> None:
    """A message for us: its topic below ours up to a zero byte, then its payload."""
    leaf, _, payload = content.partition(b"\0")
    live = LiveSettings(Settings())

    def obey(command: Command) -> None:
        if command.kind is Kind.SETTING:
            live.keep(command.verb, live.read(command))

    reception = CommandRouter(TOPICS, obey)
    topic = f"{TOPICS.root}/{leaf.decode(errors='replace')}"
    for retain in (True, False):
        for answer in reception.receive(topic, payload, retain=retain, at=datetime.now(UTC)):
            json.loads(answer.payload)
    claim = parse_claim(payload)
    assert claim is None or 0 <= claim.score <= 1


def control_request(content: bytes, _folder: Path) -> None:
    """What a client sends over the control socket."""
    lines = LineBuffer()
    lines.feed(content)
    while (line := lines.next_line()) is not None:
        decode_request(line)
    if rest := lines.rest():
        decode_request(rest)


def control_reply(content: bytes, _folder: Path) -> None:
    """What a daemon, perhaps another version's, answers to `daemonctl status`."""
    status = Status.from_dict(decode_reply(content).result)
    json.dumps(status.to_dict())


def state_file(content: bytes, folder: Path) -> None:
    """What was remembered of earlier runs."""
    path = put(content, folder / "state" / "settings.json")
    # A store sets a damaged file aside and begins anew.
    LiveSettings(Settings(), store=SettingsStore(path))
    read_state(put(content, path))


def _plain(text: str, _colour: str) -> str:
    return text


def log_lines(content: bytes, _folder: Path) -> None:
    """The log, and launchd's files, as `daemonctl logs` reads them."""
    lines = content.decode(errors="replace").splitlines()
    for line in lines:
        record = read_record(line)
        if record is not None:
            json.dumps(record.to_dict())
            shown = [*record_lines(record, _plain), *SessionTimeline("a", _plain).lines(record)]
            # What others made us log must not steer the terminal of who reads it.
            assert all(text.isprintable() for text in shown), shown
    for crash in entries_of(lines):
        assert isinstance(crash.summary + crash.remedy, str)


def wyoming_frames(content: bytes, _folder: Path) -> None:
    """What a Wyoming client sends."""

    async def read_all() -> None:
        reader = asyncio.StreamReader(limit=MAX_HEADER_BYTES)
        reader.feed_data(content)
        reader.feed_eof()
        while (event := await read_event(reader)) is not None:
            assert shown(event.type).isprintable()

    asyncio.run(read_all())


@cache
def _small_model() -> tuple[tuple[str, bytes], ...]:
    """The files of a model that is whole."""
    with tempfile.TemporaryDirectory() as name:
        write_mlx(Path(name), small_tensors(), SMALL)
        return tuple((path.name, path.read_bytes()) for path in Path(name).iterdir())


def _model(
    folder: Path,
    name: str,
    content: bytes,
    *,
    without: tuple[str, ...] = (),
    shard: str | None = None,
) -> None:
    """A whole model but for one file, read as the daemon and as `daemonctl models list` do."""
    model = folder / "model"
    shutil.rmtree(model, ignore_errors=True)
    for other, whole in _small_model():
        if other not in without:
            put(whole, model / other)
        elif shard is not None:
            put(whole, model / shard)
    put(content, model / name)
    describe(model)
    load_weights(model)


def model_config(content: bytes, folder: Path) -> None:
    """A model's config.json, from the hub or on disk."""
    _model_document(content)
    _model(folder, "config.json", content)


def _model_document(content: bytes) -> None:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return
    if isinstance(document, dict):
        check_config("them/model", document, ("weights.safetensors",))
        vocabulary_source_of("them/model", document, ("weights.safetensors",))


def generation_config(content: bytes, folder: Path) -> None:
    """A model's generation_config.json."""
    _model(folder, "generation_config.json", content)


def shard_index(content: bytes, folder: Path) -> None:
    """A model's index of shards, whose names may try to lead elsewhere."""
    _model(
        folder,
        "model.safetensors.index.json",
        content,
        without=("weights.safetensors",),
        shard="model-00001-of-00001.safetensors",
    )


def vocabulary(content: bytes, folder: Path) -> None:
    """A vocabulary in any of its forms; the first byte says which."""
    shutil.rmtree(folder / "words", ignore_errors=True)
    name = VOCABULARIES[content[0] % len(VOCABULARIES)] if content else VOCABULARIES[0]
    read_vocabulary(put(content[1:], folder / "words" / name).parent)


def home_names(content: bytes, _folder: Path) -> None:
    """A home's names, as they are published or in a file: the first byte says which.

    What is read is used: the grammar of its own sentences is walked, and a text read by it.
    """
    document = read_document(content[1:], toml=bool(content) and content[0] % 2 == 1)
    grammar = at_once(SentenceGrammar.building(document, "en", home_sentences=False))
    home = HomeReader(grammar)
    for text in (*document.sentences[:3], "turn on the light", "a b c"):
        for reading in home.read(text):
            respelled(text, reading, exact=True)
        home.understood(text)


def safetensors(content: bytes, folder: Path) -> None:
    """Weights in safetensors."""
    _model(folder, "weights.safetensors", content)


def npz(content: bytes, folder: Path) -> None:
    """Weights in numpy's archive."""
    _model(folder, "weights.npz", content, without=("weights.safetensors",))


def ctranslate2(content: bytes, folder: Path) -> None:
    """CTranslate2's model.bin."""
    _model(folder, "model.bin", content, without=("weights.safetensors", "config.json"))


def ggml(content: bytes, folder: Path) -> None:
    """whisper.cpp's file."""
    path = put(content, folder / "ggml" / "ggml-small.bin")
    describe(path.parent)
    load_weights(path)


def audio(content: bytes, folder: Path) -> None:
    """A sound file of any format."""
    n_samples = 0
    for piece in decode(put(content, folder / "sound.wav")):
        assert np.isfinite(piece).all()
        n_samples += len(piece)
        if n_samples > MOST_AUDIO_S * 16_000:
            return


def wake_model(content: bytes, folder: Path) -> None:
    """A wake word of the user's, as an ONNX graph."""
    path = put(content, folder / "word.onnx")
    _, classifier = _Classifier.load(str(path), backend="onnx")
    zeros = np.zeros((classifier.n_embeddings, EMBEDDING_SIZE), np.float32)
    assert isinstance(classifier.score(zeros), float)


def wake_head(content: bytes, folder: Path) -> None:
    """A wake word of the owner's own, as numpy's archive."""
    load_head(put(content, folder / "word.npz"))


def journal(content: bytes, folder: Path) -> None:
    """The identifiers that a killed process left."""
    place = folder / "state"
    shutil.rmtree(place, ignore_errors=True)
    put(content, place / PATTERN.replace("*", "0"))
    book = Journal(place, TOPICS)
    list(book.begin().events())
    book.close()


def check(reader: Reader, content: bytes, folder: Path) -> VoiceDaemonError | None:
    """Have bytes read; give the error that says what is wrong with them."""
    try:
        reader(content, folder)
    except VoiceDaemonError as error:
        refusal = error
    else:
        return None
    assert refusal.message
    assert refusal.code
    return refusal
