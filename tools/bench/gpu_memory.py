"""What MLX holds over many commands of random lengths: whether a GPU's memory stays flat.

Streaming gives arrays of another size at every step, which a cache without a limit keeps for ever.
Words do not matter here: the weights are random. Run on the machine that you ask about:

    python -m tools.bench.gpu_memory [--shape small] [--commands 500]
"""

from __future__ import annotations

import argparse
import json
import sys

import mlx.core as mx
import numpy as np

from tools.bench.large_models import SHAPES, Stream, noise, random_model
from voice_daemon.asr.load import held_memory_bytes

STEP_S = 0.5
SHORTEST_S, LONGEST_S = 1.0, 12.0
MIB = 2**20


def measure(shape: str, n_commands: int) -> list[float]:
    """Give the MiB that MLX holds after each command."""
    stream = Stream(random_model(shape))
    rng = np.random.default_rng(7)
    held = []
    for _ in range(n_commands):
        stream.run("", noise(rng.uniform(SHORTEST_S, LONGEST_S), rng), STEP_S)
        held.append(held_memory_bytes() / MIB)
    return held


def main() -> None:
    """Print the curve, thinned, and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--commands", type=int, default=500)
    args = parser.parse_args()
    held = measure(args.shape, args.commands)
    out = sys.stdout.write
    out(f"{args.shape}, {mx.default_device()}, {args.commands} commands\n")
    for first in range(0, len(held), max(1, len(held) // 10)):
        out(f"after {first + 1:4d} commands {held[first]:9.1f} MiB\n")
    figures = {"first": held[0], "most": max(held), "last": held[-1]}
    peak = mx.get_peak_memory() / MIB
    out(json.dumps({name: round(mib, 1) for name, mib in figures.items()} | {"peak": round(peak)}))
    out("\n")


if __name__ == "__main__":
    main()
