"""Is torch.compile worth it? Four sizes, on and off, with what the compilation itself costs. Prints Markdown.

    python benchmarks/learning/compiling.py > benchmarks/learning/compiling.md

Each run is a process of its own with an empty cache of compiled code, as the first run on a machine is. What the
compilation costs is the first step less an ordinary one. Run it on a quiet machine with a C++ compiler.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import parse, prepared, show_heading, show_table, workplace

from inkling.train.progress import read_metrics

# Name → recipe, what is other than in the recipe, and steps to time.
SIZES: dict[str, tuple[str, dict[str, Any], int]] = {
    "0.3 M": ("shakespeare_char_cpu", {}, 60),
    "2.5 M": ("almanac", {"loss_on": "all"}, 60),
    "11 M": ("laptop", {"batch_size": 4}, 20),
    "85 M": ("gpt2_124m", {"batch_size": 1, "gradient_accumulation_steps": 1, "block_size": 256}, 10),
}
QUICK: dict[str, Any] = {"n_layer": 1, "n_embd": 16, "n_head": 2, "n_kv_head": 2, "mlp_hidden": 16, "block_size": 16}


def milliseconds(recipe: str, settings: dict[str, Any], steps: int, compiled: bool) -> tuple[float, float]:
    """(the first step, the median of the later ones) of a short training."""
    settings = settings | {"dataset": "bundled", "compile": compiled, "max_iters": steps, "eval_interval": steps}
    settings |= {"eval_iters": 1, "eval_tokens": 512, "snapshots": 0, "health_interval": 0, "device": "cpu"}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        flags = [f"--{key}={value}" for key, value in settings.items()]
        command = [sys.executable, "-m", "inkling", "train", recipe, f"--out_dir={run}", *flags]
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(Path(folder) / "cache")}
        print(*command[2:], file=sys.stderr)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        ms = [row["ms"] for row in read_metrics(run / "metrics.jsonl")]
    return ms[0], statistics.median(ms[1:])


def row(name: str, recipe: str, settings: dict[str, Any], steps: int) -> list[str]:
    """A size's line of the table."""
    _, eager = milliseconds(recipe, settings, steps, compiled=False)
    first, later = milliseconds(recipe, settings, steps, compiled=True)
    cost, gain = (first - later) / 1000, (eager - later) / 1000
    repaid, after = (f"{cost / gain:,.0f}", f"{cost / gain * eager / 60_000:,.1f}") if gain > 0 else ("never", "never")
    return [name, recipe, f"{eager:,.1f}", f"{later:,.1f}", f"{eager / later:.2f}", f"{cost:.0f}", repaid, after]


def main(argv: Sequence[str] | None = None) -> None:
    """Time everything and print the table."""
    arguments = parse(__doc__ or "", argv)
    sizes = {"tiny": ("shakespeare_char_cpu", QUICK, 3)} if arguments.quick else SIZES
    with workplace(arguments.folder):
        prepared("bundled")
        what = "`python benchmarks/learning/compiling.py`: a training step eager and compiled, and compiling."
        show_heading("Compiling, on and off", what, arguments.quick)
        rows = [row(name, *size) for name, size in sizes.items()]
    head = ["size", "form", "eager ms", "compiled ms", "times as fast", "compiling s", "repaid after steps", "minutes"]
    show_table(head, rows)


if __name__ == "__main__":
    main()
