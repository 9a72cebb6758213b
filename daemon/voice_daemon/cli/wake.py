"""`daemonctl wake list|train|try|improve|forget`: wake words of one's own, made on this machine.

Speaks the phrase with the system's voices, records the household where it may, trains, and says
how good it is. What a word is made of lies in one folder beside its model; nothing else is kept.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from voice_daemon._lib.terminal import bar
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.cli import audio_input, wake_test
from voice_daemon.cli.context import Context
from voice_daemon.errors import EXIT_OK, AudioFileError, UsageError, VoiceDaemonError
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.wake.head import load_head, save_head
from voice_daemon.wake.models import (
    bundled_wake_words,
    own_file,
    own_folder,
    own_wake_words,
    wake_thresholds,
    wake_word_of_setting,
)
from voice_daemon.wake.own import Clip, Material, Trained, Workshop, scored_by, shipped_negatives
from voice_daemon.wake.phrases import clean_phrase, doubts, near_misses, wake_word_of_phrase
from voice_daemon.wake.training import Recipe
from voice_daemon.wake.voices import all_voices, speak, trimmed

SPOKEN: Final = 150
"""Clips of the phrase, over all voices."""
NEAR: Final = 72
"""Clips of other phrases."""
TAKES: Final = 5
"""Of each member of the household."""
TAKE_S: Final = 3.0
ROOM_S: Final = 60.0
RECIPE: Final = Recipe()
_BAR_CELLS: Final = 24
_TAKES, _ROOM, _NOT = "takes", "room", "not"
"""Folders of a word's recordings."""


def run(args: argparse.Namespace, context: Context) -> int:
    """Do one action; raises `VoiceDaemonError`."""
    actions: dict[str, Callable[[argparse.Namespace, Context], int]] = {
        "train": _train,
        "try": _try,
        "improve": _improve,
        "forget": _forget,
        "list": _list,
    }
    return actions[args.action](args, context)


def _train(args: argparse.Namespace, context: Context) -> int:
    phrase = clean_phrase(args.phrase)
    word = wake_word_of_phrase(phrase)
    if own_file(word).is_file() and not args.again:
        raise UsageError(
            "wake.there_already",
            f"there is a wake word {word} of yours already",
            remedy=f"`daemonctl wake improve {word}`, or train it from the start with --again",
        )
    for doubt in doubts(phrase, shipped_negatives().words):
        context.err.write(f"daemonctl: warning: {doubt}\n")
    takes, room = [*_sounds(args.takes)], [*_sounds(args.room)]
    if sys.stdin.isatty() and not args.no_recording:
        takes += _record_household(phrase, context)
        room += _record_room(context)
    _keep(word, _TAKES, takes)
    _keep(word, _ROOM, room)
    return _make(word, phrase, args, context)


def _improve(args: argparse.Namespace, context: Context) -> int:
    word = _known(args.name)
    _keep(word, _TAKES, [*_sounds(args.takes)])
    _keep(word, _NOT, [*_sounds(args.others), *_confirmed_false_wakes(word, context)])
    return _make(word, load_head(own_file(word)).phrase, args, context)


def _make(word: str, phrase: str, args: argparse.Namespace, context: Context) -> int:
    """Train a word by all that lies in its folder, and install it."""
    started_s = time.monotonic()
    progress = _Progress(context)
    material = _material(word, phrase, progress)
    workshop = Workshop(on_progress=lambda share: progress.show("training", share))
    trained = workshop.make(phrase, material, RECIPE)
    progress.end()
    save_head(trained.head, own_file(word))
    seconds = time.monotonic() - started_s
    if args.json:
        context.print_json(
            {
                "wake_word": word,
                "phrase": phrase,
                "file": str(own_file(word)),
                "seconds": round(seconds, 1),
                "takes": len(material.takes),
                "near_accepted": trained.near_accepted,
                **wake_test.document(
                    trained.sweep,
                    now=trained.head.threshold,
                    suggested=trained.sweep.at(trained.head.threshold),
                ),
            }
        )
    else:
        context.out.writelines(f"{line}\n" for line in report(word, trained, material, seconds))
    return EXIT_OK


def report(word: str, trained: Trained, material: Material, seconds: float) -> Iterator[str]:
    """Tell how good a word is: the curve, the point that was chosen, and what it leaves open."""
    sweep, threshold = trained.sweep, trained.head.threshold
    yield f"threshold  missed of {sweep.n_said}  false accepts in {sweep.other_hours:.2f} h"
    for point in sweep.points:
        missed = sweep.miss_rate(point) or 0.0
        mark = "  <- chosen" if point == sweep.at(threshold) else ""
        yield (
            f"{point.threshold:9.2f}  ▕{bar(missed, _BAR_CELLS)}▏ {missed:6.1%}"
            f"  {point.false_accepts:4d}{mark}"
        )
    yield ""
    yield wake_test.bounds_text(sweep, sweep.at(threshold))
    yield "by the score alone: what scores less is read by the recogniser (wake.verify_from),"
    yield "and most of it is heard after all"
    yield (
        f"of {len(material.near)} phrases that are not it, {trained.near_accepted:.0%} would wake"
    )
    yield "counted on voices and recordings that were left out of training; synthesised voices are"
    yield "not people: `daemonctl test-wake` with your own recordings says more"
    yield ""
    yield f"{word} is installed ({seconds:.0f} s): {own_file(word)}"
    yield (
        f'listen for it: wake.models = ["{word}"], then run `daemonctl reload`; '
        "or choose it in Home Assistant"
    )
    yield f"try it: `daemonctl wake try {word}`"


def _material(word: str, phrase: str, progress: _Progress) -> Material:
    """Gather what a word is made from: the system's voices, its folder, and what is shipped."""
    shipped = shipped_negatives()
    voices = all_voices(most=SPOKEN)
    if not voices:
        raise VoiceDaemonError(
            "wake.no_voices",
            "this system has no voice to say it with",
            remedy="macOS has `say`; on Linux: apt-get install espeak-ng flite festival",
        )
    near = near_misses(phrase, shipped.words, most=NEAR)
    texts = [*((phrase, v) for v in voices), *zip(near, voices, strict=False)]
    clips = []
    for number, (text, voice) in enumerate(texts):
        clips.append(Clip(voice.speaker, speak(text, voice), voice.is_formant))
        progress.show("speaking", number / len(texts))
    folder = own_folder() / word
    return Material(
        spoken=tuple(clips[: len(voices)]),
        takes=tuple(Clip(file.stem, trimmed(load_audio(file))) for file in _files(folder / _TAKES)),
        near=tuple(clips[len(voices) :]),
        other=shipped.recordings,
        room=tuple(load_audio(file) for kind in (_ROOM, _NOT) for file in _files(folder / kind)),
    )


def _try(args: argparse.Namespace, context: Context) -> int:
    args.wake_word, args.files, args.others, args.picture = _known(args.name), [], [], None
    return wake_test.run(args, context)


def _forget(args: argparse.Namespace, context: Context) -> int:
    word = _known(args.name)
    places = [own_file(word), *sorted((own_folder() / word).rglob("*.wav"))]
    own_file(word).unlink()
    if (own_folder() / word).is_dir():
        shutil.rmtree(own_folder() / word)
    if args.json:
        context.print_json({"wake_word": word, "removed": [str(place) for place in places]})
    else:
        context.out.writelines(f"removed {place}\n" for place in places)
    if word in map(wake_word_of_setting, context.settings().wake.models):
        context.err.write(
            f"daemonctl: warning: wake.models still names {word}\n"
            "  -> take it out, then run `daemonctl reload`\n"
        )
    return EXIT_OK


def _list(args: argparse.Namespace, context: Context) -> int:
    settings = context.settings().wake
    listens = {wake_word_of_setting(model) for model in settings.models}
    own = own_wake_words()
    words = (*own, *(word for word in bundled_wake_words() if word not in own))
    thresholds = wake_thresholds(settings, words)
    rows = [
        {
            "wake_word": word,
            "own": word in own,
            "configured": word in listens,
            "threshold": thresholds[word],
            "recordings": len([*(own_folder() / word).rglob("*.wav")]) if word in own else 0,
        }
        for word in words
    ]
    if args.json:
        context.print_json({"wake_words": rows, "folder": str(own_folder())})
        return EXIT_OK
    width = max(map(len, words))
    for row in rows:
        kept = f"  {row['recordings']} recordings kept" if row["recordings"] else ""
        context.out.write(
            f"{'*' if row['configured'] else ' '} {row['wake_word']:{width}}  "
            f"{row['threshold']:.2f}  {'your own' if row['own'] else 'bundled'}{kept}\n"
        )
    return EXIT_OK


def _known(name: str) -> str:
    """Return a wake word of one's own by its name or phrase; raises `UsageError`."""
    word = wake_word_of_setting(name)
    if not own_file(word).is_file():
        raise UsageError(
            "wake.not_yours",
            f"there is no wake word {word} of yours",
            remedy=f"yours are: {', '.join(own_wake_words()) or 'none yet'}",
        )
    return word


# --- recordings ------------------------------------------------------------------------------

Sound = tuple[str, NDArray[np.int16]]
"""A recording's name, and (n,) samples at 16 kHz."""


def _sounds(places: Iterable[Path]) -> Iterator[Sound]:
    """Read every recording in these places."""
    for file in wake_test.sound_files(places):
        try:
            yield f"{file.parent.name}-{file.stem}", to_int16(load_audio(file))
        except AudioFileError as error:
            raise UsageError(error.code, error.message, remedy=error.remedy) from error


def _files(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob("*.wav"))


def _keep(word: str, kind: str, sounds: Sequence[Sound]) -> None:
    """Write recordings into a word's folder, for its owner alone."""
    folder = own_folder() / word / kind
    for name, samples in sounds:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        soundfile.write(folder / f"{name}.wav", samples, SAMPLE_RATE, subtype="PCM_16")


def _record_household(phrase: str, context: Context) -> Iterator[Sound]:
    """Ask each member of the household for some takes."""
    err = context.err
    err.write(
        f'{TAKES} recordings by everybody who will say "{phrase}" make it hear them better.\n'
        "They stay on this machine; `daemonctl wake forget` removes them.\n"
    )
    while name := _answer("name of the first or next person (Enter: nobody): ", context):
        for number in range(1, TAKES + 1):
            _answer(f'{name}, take {number} of {TAKES}: press Enter, then say "{phrase}" ', context)
            yield f"{name}-{number}", _record(TAKE_S, context)


def _record_room(context: Context) -> Iterator[Sound]:
    """Record what is heard when nobody calls."""
    asked = f"record {ROOM_S:.0f} s of the room as it usually sounds, television and talk? [y/N] "
    if _answer(asked, context).lower() in {"y", "yes"}:
        yield "room", _record(ROOM_S, context)


def _record(seconds: float, context: Context) -> NDArray[np.int16]:
    with audio_input.listening(audio_input.open_microphone(context)) as source:
        heard = [b.samples for b in audio_input.blocks(source, seconds) if b is not None]
    return np.concatenate(heard) if heard else np.zeros(0, np.int16)


def _answer(question: str, context: Context) -> str:
    context.err.write(question)
    context.err.flush()
    return "".join(c for c in sys.stdin.readline().strip() if c.isalnum() or c in " -_")


def _confirmed_false_wakes(word: str, context: Context) -> Iterator[Sound]:
    """Ask about the sessions of the last days that this word opened, where their sound is kept."""
    if not sys.stdin.isatty():
        return
    workshop, head = Workshop(), load_head(own_file(word))
    for file in _files(context.paths().audio_dir):
        audio = load_audio(file)[: 3 * SAMPLE_RATE]
        _, score = scored_by(head, workshop.embeddings(audio)).best()
        if score < head.threshold:
            continue
        _play(file)
        asked = f"{file.stem}: score {score:.2f}; did nobody call there? [y/N] "
        if _answer(asked, context).lower() in {"y", "yes"}:
            yield file.stem, to_int16(audio)


def _play(file: Path) -> None:
    player = shutil.which("afplay") or shutil.which("aplay")
    if player:
        subprocess.run([player, str(file)], check=False, capture_output=True)


class _Progress:
    """A bar on a terminal; nothing elsewhere."""

    def __init__(self, context: Context) -> None:
        self._err = context.err
        self._is_shown = context.err.isatty()

    def show(self, what: str, share: float) -> None:
        """Draw the share, 0..1, that is done."""
        if self._is_shown:
            self._err.write(f"\r\x1b[K{what:9} ▕{bar(share, _BAR_CELLS)}▏")
            self._err.flush()

    def end(self) -> None:
        """Take the bar away."""
        if self._is_shown:
            self._err.write("\r\x1b[K")
