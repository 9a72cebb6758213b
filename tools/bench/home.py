"""What a home's vocabulary does for its commands, and to all other speech.

    scripts/bench home FOLDER... --document home.json

Each clip is read freely, as the daemon's final, and then corrected. Judge is Home Assistant's own
parser, hassil, which the corrector's reader has no part in: a command is understood when it finds
the same intent and slots as in the transcript; where a clip has `slots` in the place of a
transcript, when it finds exactly those. Every other clip is other speech, and is to stay.
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import hassil
import numpy as np
from hassil.intents import TextSlotList
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from tools.bench.arguments import CLOCKS, add_clip_arguments, chosen_clips, model_folder
from tools.bench.clips import Clip
from tools.bench.rivals import Rival, rivals_of
from tools.bench.tables import Table, number, percent, wide_console
from voice_daemon.asr import StreamingDecoder, load_model
from voice_daemon.asr.cooperative import at_once
from voice_daemon.asr.types import FinalReading, StreamingConfig
from voice_daemon.audio.file import load_audio
from voice_daemon.vocabulary.acceptance import AcceptanceRule, Decision, Reason
from voice_daemon.vocabulary.correction import HOME_ASSISTANT, NONE, Corrector, building_vocabulary
from voice_daemon.vocabulary.document import Document
from voice_daemon.vocabulary.spoken import fold
from voice_daemon.vocabulary.store import read_file

ALWAYS: Final = AcceptanceRule(
    margin=30,
    margin_per_word=0,
    sure=30,
    farthest=9,
    distance_allowance=99,
    lead=0,
    protected=frozenset(),
)
"""Takes the best sentence of the home whenever there is one."""

Meaning = tuple[str, frozenset[tuple[str, str]]]


class Judge:
    """Home Assistant's parser with a home's names."""

    def __init__(self, document: Document, language: str, *, home_sentences: bool) -> None:
        raw: dict[str, Any] = {"language": language, "intents": {}}
        if home_sentences:
            folder = importlib.resources.files("home_assistant_intents") / "data"
            raw = json.loads((folder / f"{language}.json").read_text(encoding="utf-8"))
        for at, sentence in enumerate(document.sentences):
            raw["intents"][f"own{at}"] = {"data": [{"sentences": [sentence]}]}
        self._intents = hassil.Intents.from_dict(raw)
        self._language = language
        named: list[Any] = [
            (said, name.text, {"domain": name.domain} if name.domain else {})
            for name in document.entities
            for said in (name.text, *name.aliases)
        ]
        places = {"area": document.areas, "floor": document.floors}
        self._lists: dict[str, Any] = {
            "name": TextSlotList.from_tuples(named, allow_template=False, name="name"),
            **{
                key: TextSlotList.from_tuples(
                    [
                        (said, place.text)
                        for place in found
                        for said in (place.text, *place.aliases)
                    ],
                    allow_template=False,
                    name=key,
                )
                for key, found in places.items()
            },
            **{
                key: TextSlotList.from_strings(values, allow_template=False, name=key)
                for key, values in document.lists.items()
            },
        }
        self.meanings: Callable[[str], frozenset[Meaning]] = cache(self._meanings)

    def _meanings(self, text: str) -> frozenset[Meaning]:
        """Everything that a text may mean; empty where it is no command."""
        found = hassil.recognize_all(
            text.strip().rstrip(".?!"),
            self._intents,
            slot_lists=self._lists,
            skip_words=self._intents.skip_words,
            intent_context={"area": "Kitchen"},
            language=self._language,
        )
        return frozenset(
            (
                "own" if result.intent.name.startswith("own") else result.intent.name,
                frozenset((key, _value(e.value)) for key, e in result.entities.items()),
            )
            for result in found
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """One clip: what was wanted, heard and made of it."""

    clip: str
    folder: str
    wanted: str
    is_command: bool
    heard: str
    text: str
    always: str
    reason: str
    understood: tuple[bool, bool, bool] = (False, False, False)
    """Heard, with the vocabulary, and when the home's sentence is always taken."""
    wrong: tuple[bool, bool] = (False, False)
    """Heard and with the vocabulary: another command than was said."""
    slots_right: tuple[int, int, int] = (0, 0, 0)
    n_slots: int = 0
    n_calls: int = 0
    free_s: float = 0.0
    search_s: float = 0.0

    @property
    def changed(self) -> bool:
        """Other speech that became a command."""
        return not self.is_command and self.text != self.heard


class Bench:
    """One model and one home."""

    def __init__(self, model: str, document: Document, *, language: str, sentences: str) -> None:
        self._model = load_model(model_folder(model))
        self._decoder = StreamingDecoder(
            self._model, StreamingConfig(emit_partial=False, language=language)
        )
        rule = AcceptanceRule(protected=frozenset())
        self._corrector = Corrector(self._model, logprobs=self._decoder.logprobs, rule=rule)
        self._corrector.home = at_once(
            building_vocabulary(
                document, self._model.tokenizer.encode, language=language, sentences=sentences
            )
        )
        self._rule = rule
        self._home_sentences = sentences == HOME_ASSISTANT
        self._judge = Judge(document, language, home_sentences=self._home_sentences)
        self._rivals: dict[str, Rival] = {}

    def add_rivals(self) -> None:
        """Put every clip through the rivals that are installed, too."""
        assert self._corrector.home is not None
        home = self._corrector.home
        self._rivals = rivals_of(
            home.document,
            home.language,
            home_sentences=self._home_sentences,
            understands=self._judge.meanings,
        )

    def run_rivals(
        self, clip: Clip, samples: NDArray[np.float32], ours: Outcome, clock: Callable[[], float]
    ) -> dict[str, Outcome]:
        """Put one clip through them: their outcomes by name."""
        outcomes = {}
        for name, rival in self._rivals.items():
            begun = clock()
            text = rival.hear(samples, ours.heard)
            took_s = clock() - begun
            made = replace(ours, text=text, always=text, is_command=False, search_s=took_s)
            outcomes[name] = self._judged(made, clip)
        return outcomes

    def run(
        self, clip: Clip, samples: NDArray[np.float32], *, clock: Callable[[], float], always: bool
    ) -> Outcome:
        """Put one clip through."""
        self._decoder.reset()
        begun = clock()
        self._decoder.feed(samples)
        final = self._decoder.finish()
        free_s = clock() - begun
        reading = self._decoder.final_reading(final)
        begun = clock()
        verdict = self._corrected(reading, self._rule)
        search_s = clock() - begun
        text = verdict.text if verdict else final.text
        best = self._corrected(reading, ALWAYS) if always else None
        outcome = Outcome(
            clip.name,
            clip.folder,
            clip.text or " ".join(clip.slots.values()),
            is_command=False,
            heard=final.text,
            text=text,
            always=best.text if best else text,
            reason=verdict.reason.value if verdict else Reason.NOT_SEARCHED.value,
            n_calls=verdict.n_calls if verdict else 0,
            free_s=free_s,
            search_s=search_s,
        )
        return self._judged(outcome, clip)

    def _corrected(self, reading: FinalReading | None, rule: AcceptanceRule) -> Decision | None:
        if reading is None:
            return None
        self._corrector.rule = rule
        return at_once(self._corrector.correcting(reading))

    def _judged(self, outcome: Outcome, clip: Clip) -> Outcome:
        texts = (outcome.heard, outcome.text, outcome.always)
        meanings = [self._judge.meanings(text) for text in texts]
        if clip.slots and not clip.text:
            wanted = frozenset((key, value.strip()) for key, value in clip.slots.items())
            is_command = any(self._knows(key) for key in clip.slots)
            understood = [any(slots == wanted for _, slots in found) for found in meanings]
        else:
            means = self._judge.meanings(clip.text or "") if clip.text else frozenset()
            wanted, is_command = frozenset(), bool(means)
            understood = [
                bool(found & means) or fold(text) == fold(clip.text or "")
                for found, text in zip(meanings, texts, strict=True)
            ]
        if not is_command:
            return outcome
        right = [
            max((len(slots & wanted) for _, slots in found), default=0) or _spoken(text, wanted)
            for found, text in zip(meanings, texts, strict=True)
        ]
        return replace(
            outcome,
            is_command=True,
            understood=(understood[0], understood[1], understood[2]),
            wrong=(
                bool(meanings[0]) and not understood[0],
                bool(meanings[1]) and not understood[1],
            ),
            slots_right=(right[0], right[1], right[2]),
            n_slots=len(wanted),
        )

    def _knows(self, slot: str) -> bool:
        assert self._corrector.home is not None
        return slot in self._corrector.home.document.lists


def _value(value: object) -> str:
    """A slot's value; 5 and 5.0 are one, as digits and words give them."""
    return f"{value:g}" if isinstance(value, (int, float)) else str(value).strip()


def _spoken(text: str, wanted: frozenset[tuple[str, str]]) -> int:
    """Slots whose words are in a text that is no command."""
    said = f" {' '.join(fold(text))} "
    return sum(f" {' '.join(fold(value))} " in said for _, value in wanted)


def mixed(
    samples: NDArray[np.float32], noise: NDArray[np.float32], *, snr_db: float, seed: int
) -> NDArray[np.float32]:
    """(n,) with a stretch of noise, by the loudest frames' energies as the published benchmark."""
    first = int(np.random.default_rng(seed).integers(0, max(1, len(noise) - len(samples))))
    part = np.resize(noise[first:], len(samples))
    scale = np.sqrt(_loudest(samples) / (_loudest(part) * 10 ** (snr_db / 10)))
    noisy = samples + scale * part
    scaled: NDArray[np.float32] = (noisy / (2 * np.abs(noisy).max())).astype(np.float32)
    return scaled


def _loudest(samples: NDArray[np.float32], frame: int = 2048) -> float:
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    return float((frames**2).sum(axis=1).max()) if len(frames) else 1.0


def main(arguments: Sequence[str]) -> int:
    """Run over all clips, show the table and write every outcome."""
    args = _parser().parse_args(arguments)
    document = read_file(args.document)
    language = document.language or "en"
    bench = Bench(args.model, document, language=language, sentences=args.sentences)
    clips = [
        clip
        for clip in chosen_clips(args, multilingual=True)
        if re.split(r"\W", clip.language)[0] == language
    ]
    noise = load_audio(args.noise) if args.noise else None
    if args.rivals:
        bench.add_rivals()
    outcomes: list[Outcome] = []
    theirs: dict[str, list[Outcome]] = {}
    clock = CLOCKS[args.clock]
    with Progress(console=Console(stderr=True)) as progress:
        for at, clip in enumerate(progress.track(clips)):
            samples = clip.samples()
            if noise is not None:
                samples = mixed(samples, noise, snr_db=args.snr_db, seed=at)
            outcomes.append(bench.run(clip, samples, clock=clock, always=args.always))
            for name, made in bench.run_rivals(clip, samples, outcomes[-1], clock).items():
                theirs.setdefault(name, []).append(made)
    console = wide_console()
    title = f"{args.model}, {args.document.name}"
    for table in tables(outcomes, title=title):
        console.print(table.for_terminal())
    if theirs:
        console.print(rivals_table(outcomes, theirs, title=title).for_terminal())
    for outcome in outcomes:
        if outcome.changed or (outcome.is_command and not outcome.understood[1]):
            told = "changed" if outcome.changed else f"not understood ({outcome.reason})"
            console.print(
                f"{told}: {outcome.wanted!r} heard as {outcome.heard!r}, taken as {outcome.text!r}",
                markup=False,
                soft_wrap=True,
            )
    args.out.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(asdict(outcome), ensure_ascii=False) for outcome in outcomes)
    (args.out / "home.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


def tables(outcomes: Sequence[Outcome], *, title: str) -> tuple[Table, Table]:
    """Commands and everything else, a row for each folder and one for all."""
    folders = sorted({outcome.folder for outcome in outcomes})
    parts = [(name, [o for o in outcomes if o.folder == name]) for name in folders]
    if len(parts) > 1:
        parts.append(("all", list(outcomes)))
    commands = Table(
        f"{title}: commands understood (heard, with the names, always a sentence of the home)",
        (
            *("folder", "commands", "heard", "names", "always"),
            *("wrong heard", "wrong names", "slots heard", "slots names", "slots always"),
        ),
        tuple(_commands(name, part) for name, part in parts),
    )
    other = Table(
        f"{title}: other speech, and what it costs",
        ("folder", "clips", "other", "changed", "searched", "calls", "extra computing"),
        tuple(_other(name, part) for name, part in parts),
    )
    return commands, other


def rivals_table(
    ours: Sequence[Outcome], theirs: Mapping[str, Sequence[Outcome]], *, title: str
) -> Table:
    """What each way to hear makes of the same clips."""
    heard = [
        replace(o, text=o.heard, understood=(o.understood[0],) * 3, wrong=(o.wrong[0],) * 2,
                slots_right=(o.slots_right[0],) * 3, search_s=0.0)
        for o in ours
    ]  # fmt: skip
    rows = []
    for name, outcomes in {"Whisper": heard, "with the names": ours, **theirs}.items():
        commands = [o for o in outcomes if o.is_command]
        other = [o for o in outcomes if not o.is_command]
        n_slots = sum(o.n_slots for o in commands)
        rows.append(
            (
                name,
                f"{sum(o.understood[1] for o in commands)} of {len(commands)}",
                _share(sum(o.slots_right[1] for o in commands), n_slots),
                str(sum(o.wrong[1] for o in commands)),
                f"{sum(o.changed and bool(o.text) for o in other)} of {len(other)}",
                number(1000 * float(np.mean([o.search_s for o in outcomes])), 0),
            )
        )
    columns = ("system", "understood", "slots", "wrong", "other speech taken", "ms beside Whisper")
    return Table(f"{title}: other ways to hear the same clips", columns, tuple(rows))


def _commands(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    commands = [o for o in outcomes if o.is_command]
    n_slots = sum(o.n_slots for o in commands)
    return (
        name,
        str(len(commands)),
        *(str(sum(o.understood[at] for o in commands)) for at in range(3)),
        *(str(sum(o.wrong[at] for o in commands)) for at in range(2)),
        *(_share(sum(o.slots_right[at] for o in commands), n_slots) for at in range(3)),
    )


def _other(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    other = [o for o in outcomes if not o.is_command]
    searched = [o.n_calls for o in outcomes if o.n_calls]
    return (
        name,
        str(len(outcomes)),
        str(len(other)),
        str(sum(o.changed for o in other)),
        str(len(searched)),
        number(float(np.mean(searched)) if searched else None, 1),
        _share(sum(o.search_s for o in outcomes), sum(o.free_s for o in outcomes)),
    )


def _share(part: float, of: float) -> str:
    return percent(100 * part / of if of else None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench home", description=__doc__)
    add_clip_arguments(parser)
    parser.add_argument("--document", type=Path, required=True, metavar="FILE")
    parser.add_argument("--sentences", choices=(HOME_ASSISTANT, NONE), default=HOME_ASSISTANT)
    parser.add_argument("--always", action="store_true", help="also take it always (costs more)")
    parser.add_argument(
        "--rivals", action="store_true", help="also run a closed grammar and text snapping"
    )
    parser.add_argument("--noise", type=Path, metavar="FILE", help="noise to mix in")
    parser.add_argument("--snr-db", type=float, default=12.0, metavar="DB", help="%(default)g")
    return parser
