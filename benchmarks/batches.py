"""How fast batches are read: windows of the stream, and packed rows, from 200 million tokens on disk.

    python benchmarks/batches.py

Prints a Markdown table of tokens a second, the median of 200 batches of 16 rows, by one process.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from inkling.data.batches import get_batch
from inkling.data.packing import make_plan, packed_batch

TOKENS = 200_000_000
ROWS = 16


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.bin"
        rng = np.random.default_rng(1)
        rng.integers(0, 50257, TOKENS, dtype=np.uint16).tofile(file)
        tokens = np.memmap(file, dtype="<u2", mode="r")
        lengths = (rng.lognormal(6.2, 1.0, TOKENS // 700)).astype(np.int64) + 20  # as of web pages
        starts = np.cumsum(lengths) - lengths
        starts = starts[starts < TOKENS]
        print("| rows of | windows, M tokens/s | packed, M tokens/s | making the plan |")
        print("| --- | --- | --- | --- |")
        for length in (256, 1024, 2048):
            began = time.perf_counter()
            plan = make_plan(starts, TOKENS, length, "pad", seed=1)
            planning = time.perf_counter() - began
            windows = speed(lambda i, n=length: get_batch(tokens, n, 1, i * ROWS, ROWS), length)
            packed = speed(lambda i, n=length, p=plan: packed_batch(tokens, p, n, 1, i * ROWS, ROWS), length)
            print(
                f"| {length} | {windows:.1f} | {packed:.1f} | {planning:.1f} s, {len(starts):,} documents |", flush=True
            )


def speed(read, length: int) -> float:
    """Million tokens a second."""
    seconds = []
    for i in range(200):
        began = time.perf_counter()
        read(i)
        seconds.append(time.perf_counter() - began)
    return ROWS * length / statistics.median(seconds) / 1e6


if __name__ == "__main__":
    main()
