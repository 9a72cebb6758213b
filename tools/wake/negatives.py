"""Makes `assets/wake-negatives.npz` of folders with recordings that may be used for anything.

A folder holds `manifest.jsonl`: `audio`, `license`, `source`. Only recordings in the public domain
or under licences that ask for no more than a notice are taken: CC BY, Apache, MIT, BSD. What is
written is the embeddings, 96 numbers in 8 bits for every 80 ms, from which no speech can be made
again. Each recording is there as it is and once more as in other rooms: with clean ones alone,
noise and echoes would be what tells the word. The common words are Whisper's first.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from voice_daemon.assets import WAKE_NEGATIVES
from voice_daemon.audio.file import load_audio
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.models import resolve
from voice_daemon.wake.augment import Audio, rendering
from voice_daemon.wake.own import Workshop
from voice_daemon.wake.training import Floats

FREE: Final = re.compile(
    r"CC0|CC BY 4\.0|public domain|Apache-2\.0|MIT|BSD|Open Speech Repository|CMU ARCTIC"
)
NOT_FREE: Final = re.compile(r"NC|SA|YouTube|unclear|believed")
LONGEST_S: Final = 60
"""Of one recording, so that no single speaker is most of it."""
PIECE_S: Final = 16
"""Of one room."""
BESIDE_SHARE: Final = 0.3
"""Of the pieces, with another recording behind them."""
WORDS: Final = 5000


def rows(folders: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Yield every recording that may be used, with its licence."""
    for folder in folders:
        for line in (folder / "manifest.jsonl").read_text().splitlines():
            row = json.loads(line)
            license_ = row.get("license", "")
            if FREE.search(license_) and not NOT_FREE.search(license_):
                yield folder / row["audio"], license_


def common_words(most: int) -> list[str]:
    """Give the commonest words of Whisper's vocabulary, which is ordered by how often they come."""
    vocabulary = resolve("tiny.en", models_dir=Path()) / "vocabulary.txt"
    tokens = vocabulary.read_text(encoding="utf-8").splitlines()
    return [t[1:] for t in tokens if re.fullmatch("\u0120[a-z]{3,}", t)][:most]


def main() -> int:
    """Make the file; say what went into it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=WAKE_NEGATIVES)
    args = parser.parse_args()
    workshop = Workshop()
    rng = np.random.default_rng(0)
    before: Audio | None = None
    recordings: list[Floats] = []
    seconds: Counter[str] = Counter()
    for file, license_ in rows(args.folders):
        audio = load_audio(file)[: LONGEST_S * SAMPLE_RATE]
        seconds[license_] += round(len(audio) / SAMPLE_RATE)
        recordings.append(workshop.embeddings(audio))
        for start in range(0, len(audio), PIECE_S * SAMPLE_RATE):
            piece = audio[start : start + PIECE_S * SAMPLE_RATE]
            if len(piece) < SAMPLE_RATE or not piece.any():
                continue
            beside = before if rng.random() < BESIDE_SHARE else None
            again, _ = rendering(piece, rng, lead_s=0, tail_s=0, beside=beside)
            recordings.append(workshop.embeddings(again))
            before = piece
    embeddings = np.concatenate(recordings)
    scale = (np.abs(embeddings).max(axis=0) / 127).astype(np.float32)
    np.savez_compressed(
        args.out,
        embeddings=np.round(embeddings / scale).astype(np.int8),
        scale=scale,
        lengths=np.array([len(r) for r in recordings], np.int32),
        words=" ".join(common_words(WORDS)),
    )
    sys.stdout.writelines(f"{n:6d} s  {license_}\n" for license_, n in seconds.most_common())
    hours, size_mb = sum(seconds.values()) / 3600, args.out.stat().st_size / 1e6
    sys.stdout.write(f"{hours:.2f} h, {size_mb:.1f} MB: {args.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
