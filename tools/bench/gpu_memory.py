"""What MLX holds over many commands of random lengths: whether a GPU's memory stays flat.

Streaming gives arrays of another size at every step, which a cache without a limit keeps for ever.
Words do not matter here: the weights are random. Run on the machine that you ask about:

    python -m tools.bench.gpu_memory [--shape small] [--commands 500] [--no-limit]
"""

from __future__ import annotations

import argparse
import json
import sys

import mlx.core as mx
import numpy as np

from tools.bench.large_models import RATE, SHAPES, random_model, streamed_times
from voice_daemon.asr.load import free_unused_memory, held_memory_bytes, limit_unused_memory

STEP_S = 0.5
SHORTEST_S, LONGEST_S = 1.0, 12.0
MIB = 2**20


def measure(shape: str, n_commands: int, *, limited: bool) -> list[float]:
    """Give the MiB that MLX holds after each command, the most while it ran where that is more."""
    if limited:
        limit_unused_memory()
    model = random_model(shape)
    rng = np.random.default_rng(7)
    held = []
    for _ in range(n_commands):
        seconds = rng.uniform(SHORTEST_S, LONGEST_S)
        audio = (0.1 * rng.standard_normal(round(seconds * RATE))).astype(np.float32)
        streamed_times(model, audio, STEP_S)
        if limited:
            free_unused_memory()
        held.append(held_memory_bytes() / MIB)
    return held


def main() -> None:
    """Print the curve, thinned, and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--commands", type=int, default=500)
    parser.add_argument("--no-limit", action="store_true", help="as MLX is by itself")
    args = parser.parse_args()
    held = measure(args.shape, args.commands, limited=not args.no_limit)
    out = sys.stdout.write
    how = "by itself" if args.no_limit else "limited"
    out(f"{args.shape}, {mx.default_device()}, {args.commands} commands, MLX {how}\n")
    for first in range(0, len(held), max(1, len(held) // 10)):
        out(f"after {first + 1:4d} commands {held[first]:9.1f} MiB\n")
    figures = {"first": held[0], "most": max(held), "last": held[-1]}
    peak = mx.get_peak_memory() / MIB
    out(json.dumps({name: round(mib, 1) for name, mib in figures.items()} | {"peak": round(peak)}))
    out("\n")


if __name__ == "__main__":
    main()
