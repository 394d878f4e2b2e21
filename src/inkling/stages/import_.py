"""`inkling import SOURCE`: somebody's published weights become a run at step 0.

Nothing has to be imported to be used: whatever takes a RUN takes a folder or a hub name as well. A run of one's own is
for keeping the weights, and for weights that come without their tokenizer.
"""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from inkling.errors import UserError
from inkling.files import write_atomic
from inkling.hub.fetch import is_hub_name
from inkling.hub.load import find_weights
from inkling.hub.published import with_vocabulary
from inkling.hub.weights import Weights, fill_model
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT, hollow
from inkling.runtime import RuntimeSettings, decide, peak_memory_bytes
from inkling.settings import Layer, build, dump_toml
from inkling.text.conversation import can_chat
from inkling.text.tokenizer import Tokenizer
from inkling.text.tokenizer_sources import tokenizer_from_name
from inkling.train.checkpoint import disk_errors, save_checkpoint
from inkling.train.runfolder import CommandLog, refuse_existing, write_resolved


@dataclass(frozen=True)
class ImportSettings:
    """import"""

    out_dir: str = ""
    """folder of the run; empty: runs/ and the source's name"""
    tokenizer: str = ""
    """gpt2, byte or the path of a tokenizer.json, for weights that come without one"""
    dtype: Literal["source", "float32", "bfloat16", "float16"] = "source"
    """in what the weights are kept; source: as they are stored there"""


SETTINGS = ImportSettings
DESCRIPTION = """Bring a published model here: inkling import SOURCE [--key=value ...]

  inkling import gpt2                                  → runs/gpt2
  inkling import HuggingFaceTB/SmolLM2-135M-Instruct   → runs/SmolLM2-135M-Instruct
  inkling import downloads/Qwen3-0.6B --out_dir=runs/qwen
  inkling import nanoGPT/out/ckpt.pt --tokenizer=gpt2

SOURCE is a name on the Hugging Face hub, a folder with config.json and safetensors of GPT-2, Llama, Qwen3 or nanochat,
or nanoGPT's ckpt.pt. The tokenizer, its chat template and the generation settings come along."""


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if len(positional) != 1:
        raise UserError("import takes one SOURCE.", "For example: inkling import gpt2", status=2)
    settings, _ = build(ImportSettings, [Layer("flag", flags)])
    main(positional[0], settings)


def main(source: str, settings: ImportSettings) -> Path:
    """Import, and return the run's folder."""
    began = time.monotonic()
    run = Path(settings.out_dir or f"runs/{name_of(source)}")
    refuse_existing(run)
    weights, tokenizer = find_source(source, settings)
    model = hollow(weights.config)
    fill_model(
        model,
        weights.tensors(),
        str(weights.path),
        None if settings.dtype == "source" else getattr(torch, settings.dtype),
    )
    write_run(run, source, model, weights, tokenizer)
    describe(run, source, model, tokenizer, time.monotonic() - began)
    return run


def name_of(source: str) -> str:
    """What the run is called: the last part of a name or folder; of a ckpt.pt, its folder's."""
    path = Path(source)
    return path.name if is_hub_name(source) or path.is_dir() else path.absolute().parent.name


def find_source(source: str, settings: ImportSettings) -> tuple[Weights, Tokenizer]:
    """The weights and their tokenizer, which --tokenizer replaces."""
    weights = find_weights(source)
    if not settings.tokenizer:
        return weights, weights.tokenizer()
    if settings.tokenizer == "char":
        raise UserError(
            "--tokenizer=char says no alphabet.", "Give the path of the data set's tokenizer.json.", status=2
        )
    tokenizer = tokenizer_from_name(settings.tokenizer)
    if tokenizer.vocab_size > weights.config.padded_vocab_size:
        raise UserError(
            f"The tokenizer {settings.tokenizer} has {tokenizer.vocab_size} ids, and the model only "
            f"{weights.config.padded_vocab_size}.",
            "They do not belong together.",
        )
    return replace(weights, config=with_vocabulary(weights.config, tokenizer.vocab_size)), tokenizer


def write_run(run: Path, source: str, model: GPT, weights: Weights, tokenizer: Tokenizer) -> None:
    """The run's folder; what makes it a run comes last, so that half an import is none."""
    runtime = decide(RuntimeSettings(device="cpu", dtype="float32", compile=False))
    state = {
        "step": 0,
        "tokens": 0,
        "seconds": 0.0,
        "model": asdict(model.config),
        "tokenizer_sha256": tokenizer.sha256(),
        "scaler": {},
    }
    with disk_errors(f"the run to {run}", "Free some space, or choose another --out_dir."):
        run.mkdir(parents=True, exist_ok=True)
        tokenizer.save(run / "tokenizer.json")
        log = CommandLog(run, runtime)
        save_checkpoint(run, state, dict(model.named_parameters()), None, keep_last=1)
        parent = {"run": source, "step": weights.step, "sha256": weights.sha256()}
        write_atomic(run / "parent", json.dumps(parent, indent=1) + "\n")
        architecture = asdict(model.config)
        write_atomic(run / "config.toml", dump_toml({"init_from": source}))
        log.end("done", 0)
        write_resolved(run, architecture, dict.fromkeys(architecture, f"imported from {source}"))


def describe(run: Path, source: str, model: GPT, tokenizer: Tokenizer, seconds: float) -> None:
    """What has come, in three lines."""
    config: GPTConfig = model.config
    dtypes = sorted({str(parameter.dtype).removeprefix("torch.") for parameter in model.parameters()})
    padding = config.padded_vocab_size - config.vocab_size
    print(
        f"{source}: {config.preset}, {model.num_params(non_embedding=False):,} parameters in {' and '.join(dtypes)}, "
        f"context {config.block_size:,}, vocabulary {config.vocab_size:,}"
        + (f" and {padding:,} rows of padding" if padding else "")
    )
    peak = peak_memory_bytes(decide(RuntimeSettings(device="cpu", dtype="float32", compile=False)))
    print(f"imported in {seconds:.1f} s, peak memory {peak / 1e9:.2f} GB → {run}")
    print(f"next: inkling {'chat' if can_chat(tokenizer) else 'sample'} {run}")
