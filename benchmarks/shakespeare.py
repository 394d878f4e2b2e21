"""How long the two Shakespeare runs take here, and how far they get. Prints a Markdown table.

    python benchmarks/shakespeare.py --input ../shared/data/tinyshakespeare.txt --seeds 1337 1338 1339

Each run is the command as a person types it, in a process and a folder of its own. `wall` counts from the start of
the process, `peak` is the best of a few square float32 products on all threads right before the run: on a shared
machine it tells how fast the machine was at that moment.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

NANOGPT_LINE = {
    "device": "cpu",
    "compile": False,
    "eval_iters": 20,
    "log_interval": 100,
    "block_size": 64,
    "batch_size": 12,
    "n_layer": 4,
    "n_head": 4,
    "n_embd": 128,
    "max_iters": 2000,
    "lr_decay_iters": 2000,
    "dropout": 0.0,
}


def peak_gflops(size: int = 2048, tries: int = 8) -> float:
    """The best of `tries` products of two square float32 matrices, in GFLOP/s."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = float("inf")
    for _ in range(tries):
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best / 1e9


def inkling(*words: str, folder: str) -> None:
    subprocess.run([sys.executable, "-m", "inkling", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, help="the tiny Shakespeare text")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1337, 1338, 1339])
    parser.add_argument("--runs", nargs="+", default=["shakespeare_char_cpu", "shakespeare_char"])
    arguments = parser.parse_args()
    source = str(Path(arguments.input).resolve())
    print("| run | seed | peak GFLOP/s | steps | wall s → val loss | seconds in steps |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        inkling("prepare", "shakespeare_char", f"--input={source}", folder=folder)
        for seed in arguments.seeds:
            for recipe in arguments.runs:
                peak = peak_gflops()
                out = f"runs/{recipe}-{seed}"
                line = NANOGPT_LINE if recipe == "shakespeare_char" else {}
                extra = [f"--{key}={value}" for key, value in line.items()]
                inkling("train", recipe, f"--out_dir={out}", f"--seed={seed}", *extra, folder=folder)
                lines = (Path(folder) / out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
                rows = [json.loads(line) for line in lines]
                curve = ", ".join(f"{r['wall']:.1f} → {r['val_loss']:.3f}" for r in rows if "val_loss" in r)
                name = "nanoGPT's line" if extra else recipe
                last = rows[-1]
                print(
                    f"| {name} | {seed} | {peak:.0f} | {last['step']} | {curve} | {last['seconds']:.1f} |", flush=True
                )


if __name__ == "__main__":
    main()
