"""`inkling export RUN --to hf --out DIR`: the model as a folder that other tools load."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from inkling.errors import UserError
from inkling.files import write_atomic
from inkling.hub.card import model_card
from inkling.hub.export import export_hf
from inkling.hub.load import find_weights
from inkling.settings import Layer, build
from inkling.train.checkpoint import disk_errors


@dataclass(frozen=True)
class ExportSettings:
    """export"""

    to: str = "hf"
    """the form; hf: config.json, safetensors and tokenizer.json, as Hugging Face's transformers loads them"""
    out: str = ""
    """the folder to write"""
    dtype: Literal["source", "float32", "bfloat16", "float16"] = "source"
    """in what the weights are written; source: as the run has them"""


SETTINGS = ExportSettings
DESCRIPTION = """Write a model for other tools: inkling export RUN --to=hf --out=DIR [--key=value ...]

  inkling export runs/shakespeare_char --out=published/shakespeare
  inkling export Qwen3-0.6B --to=hf --out=published/qwen --dtype=bfloat16

The folder loads with transformers' AutoModelForCausalLM and AutoTokenizer as it is, chat template included, and
README.md in it is a model card. A model with switches that no family there has (value embeddings, residual scalars)
is refused, and they are named. GGUF is not supported."""


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if len(positional) != 1:
        raise UserError("export takes one RUN.", "For example: inkling export demo --out=published/demo", status=2)
    settings, _ = build(ExportSettings, [Layer("flag", flags)])
    main(positional[0], settings)


def main(run: str, settings: ExportSettings) -> Path:
    """Export, and return the folder."""
    out = check(settings)
    weights = find_weights(run)
    dtype = None if settings.dtype == "source" else getattr(torch, settings.dtype)
    with disk_errors(f"the model to {out}", "Free some space, or choose another --out."):
        family = export_hf(weights, out, dtype)
        written = "the run's own dtype" if dtype is None else settings.dtype
        write_atomic(out / "README.md", model_card(out.name, weights, family, written))
    size = sum(file.stat().st_size for file in out.iterdir())
    print(f"{run} → {out}: as {family}, {size / 1e6:,.1f} MB")
    print(f'next: AutoModelForCausalLM.from_pretrained("{out.as_posix()}") in transformers; see {out / "README.md"}')
    return out


def check(settings: ExportSettings) -> Path:
    """The folder to write, which must be new or empty."""
    if settings.to == "gguf":
        raise UserError(
            "--to=gguf is not supported.", "Export with --to=hf, and convert that folder with llama.cpp's own tool."
        )
    if settings.to != "hf":
        raise UserError(f"--to does not take {settings.to!r}.", "It wants hf.", status=2)
    if not settings.out:
        raise UserError("Where to?", "Give --out=DIR.", status=2)
    out = Path(settings.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already.", "Choose another --out, or remove it first.")
    return out
