"""Import and load published models: seconds, and memory above what the program takes anyway. Prints a Markdown table.

    python benchmarks/hub.py                       # GPT-2 124M in float32, Qwen3 0.6B in bfloat16
    python benchmarks/hub.py --repeats 5 --models gpt2

The models have their real shapes and random weights, in one safetensors file. Each measurement is a process of its own;
memory is the process's peak, pages mapped from files included, less its peak when everything was imported and nothing
read yet (as Linux tells it). The first run after the file was written finds it in the system's cache, as all others do.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

MODELS = {
    "gpt2": {"preset": "gpt2", "vocab_size": 50257, "n_layer": 12, "n_head": 12, "n_embd": 768, "dtype": "float32"},
    "qwen3": {
        "preset": "qwen3",
        "vocab_size": 151936,
        "n_layer": 28,
        "n_head": 16,
        "n_kv_head": 8,
        "n_embd": 1024,
        "head_size": 128,
        "mlp_hidden": 3072,
        "block_size": 40960,
        "dtype": "bfloat16",
    },
}

MEASURE = """
import json, sys, time
import torch
from inkling.hub.load import load
from inkling.stages import import_
from inkling.text.tokenizer_sources import byte_tokenizer

def peak():
    # Not getrusage's ru_maxrss: a child is given its parent's, and the parent has just written the weights.
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

byte_tokenizer().encode("warm")
how, folder, out, dtype = sys.argv[1:]
before, began = peak(), time.perf_counter()
if how == "import":
    import_.main(folder, import_.ImportSettings(out_dir=out))
else:
    load(folder, dtype=dtype)
print(json.dumps({"seconds": time.perf_counter() - began, "bytes": peak() - before}))
"""


def write_model(folder: Path, preset: str, dtype: str, **shape: int) -> tuple[int, int]:
    """A published folder with random weights; returns (parameters, bytes of weights)."""
    import torch

    from inkling.hub.export import describe, write_shards
    from inkling.hub.families import FAMILIES
    from inkling.model.config import PRESETS, GPTConfig
    from inkling.model.gpt import hollow
    from inkling.text.tokenizer_sources import byte_tokenizer

    config = GPTConfig(**PRESETS[preset] | {"preset": preset} | shape).filled()
    family, kind = FAMILIES[preset], getattr(torch, dtype)
    shapes = {name: tuple(parameter.shape) for name, parameter in hollow(config).named_parameters()}

    def tensors() -> Iterator[tuple[str, torch.Tensor]]:
        for ours, theirs in family.names(config).items():
            whole = torch.randn(shapes[ours], dtype=torch.float32).mul_(0.02).to(kind)
            rows = (shapes[ours][0],)
            if len(theirs) == 3:
                assert config.n_kv_head and config.head_size
                rows = tuple(h * config.head_size for h in (config.n_head, config.n_kv_head, config.n_kv_head))
            for name, piece in zip(theirs, whole.split(rows), strict=True):
                yield name, (piece.t() if family.is_transposed(name) else piece).contiguous()

    folder.mkdir()
    stored = write_shards(tensors(), folder, 2**40)
    described = describe(config, preset, byte_tokenizer(), stored)
    (folder / "config.json").write_text(json.dumps(described), encoding="utf-8")
    byte_tokenizer().save(folder / "tokenizer.json")
    parameters = sum(torch.Size(shape).numel() for shape in shapes.values())
    return parameters, parameters * torch.empty(0, dtype=kind).element_size()


def measure(how: str, folder: Path, out: Path, dtype: str) -> dict[str, float]:
    """One import, or one load, in a process of its own."""
    words = [sys.executable, "-c", MEASURE, how, str(folder), str(out), dtype]
    done = subprocess.run(words, check=True, capture_output=True, text=True, encoding="utf-8")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="gpt2,qwen3")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print("| shape | parameters | weights | what | seconds, median (range) | peak memory | of the size |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in options.models.split(","):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / name
            parameters, size = write_model(folder, **MODELS[name])
            for how in ("import", "load"):
                found = [
                    measure(how, folder, Path(place) / f"{how}{i}", MODELS[name]["dtype"])
                    for i in range(options.repeats)
                ]
                seconds = [one["seconds"] for one in found]
                most = max(one["bytes"] for one in found)
                print(
                    f"| {name} | {parameters:,} | {size / 1e9:.2f} GB, {MODELS[name]['dtype']} | {how} | "
                    f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f}) | "
                    f"{most / 1e9:.2f} GB | {most / size:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
