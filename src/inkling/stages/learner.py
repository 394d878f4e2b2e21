"""What trains: a model with fresh weights, a parent's, or those of the run that goes on, and its optimizers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from inkling.data.mixture import Mixture
from inkling.errors import UserError
from inkling.hub.load import find_weights, place_model
from inkling.hub.weights import Weights, fill_model, same_ids
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT, hollow
from inkling.model.lora import add_lora, describe_lora, narrow_frozen
from inkling.runtime import Runtime
from inkling.stages.train_settings import TrainSettings
from inkling.text.tokenizer_sources import load_tokenizer
from inkling.train.checkpoint import Checkpoint, clear_unfinished, discard_after, load_latest, read_index
from inkling.train.loop import Learner
from inkling.train.optim import build_optimizers, load_optimizer_tensors
from inkling.train.parallel import wait_for_all, wrap
from inkling.train.progress import Stopwatch, drop_metrics_after


def find_parent(settings: TrainSettings, data: Mixture) -> Weights:
    """The weights that --init_from names; their tokenizer must be the data's."""
    parent = find_weights(settings.run.init_from)
    theirs, file = parent.tokenizer(), data.tokenizer_file
    if not same_ids(theirs, load_tokenizer(file)):
        raise _other_tokenizer(parent.path, theirs.vocab_size, data)
    return parent


def has_begun(run: Path, resuming: bool) -> bool:
    """Whether a run that goes on has a checkpoint to go on from. One killed before its first begins as it began."""
    return resuming and bool(read_index(run)["kept"])


def require_same_parent(run: Path, parent: Weights) -> None:
    """A run that begins once more must begin from the same weights."""
    if json.loads((run / "parent").read_text(encoding="utf-8"))["sha256"] != parent.sha256():
        raise UserError(
            f"{run} has no checkpoint yet, and its parent {parent.path} is not what it was when {run} began.",
            f"Delete {run} and begin it anew.",
        )


def require_tokenizer(checkpoint: Checkpoint, data: Mixture) -> None:
    """Ids must mean the same text to the run that goes on and in the data."""
    if checkpoint.state["tokenizer_sha256"] != data.meta.tokenizer_sha256:
        raise _other_tokenizer(checkpoint.path, checkpoint.state["model"]["vocab_size"], data)


def _other_tokenizer(path: Path, vocab_size: int, data: Mixture) -> UserError:
    own = path / "tokenizer.json" if (path / "tokenizer.json").is_file() else path.parents[1] / "tokenizer.json"
    return UserError(
        f"{path} (vocabulary {vocab_size}) and the data set {data.describe} (vocabulary {data.meta.vocab_size}) "
        "have different tokenizers.",
        "Prepare the data with the model's: inkling prepare NAME --input=TEXT --tokenizer="
        + (str(own) if own.is_file() else "gpt2"),
    )


def inherit(config: GPTConfig, parent: GPTConfig, source: str) -> GPTConfig:
    """The parent's architecture, with the dropout of today and, if shorter, the context of today."""
    if config.block_size > parent.block_size and parent.position == "learned":
        raise UserError(
            f"{source} has a context of {parent.block_size}; block_size={config.block_size} is longer.",
            f"Use --block_size={parent.block_size} or less.",
        )
    return replace(parent, block_size=config.block_size, dropout=config.dropout, attention=config.attention)


def describe_parent(settings: TrainSettings, parent: Weights | None) -> dict[str, Any] | None:
    """What the file `parent` says."""
    if parent is None:
        return None
    return {
        "run": settings.run.init_from,
        "step": parent.step,
        "sha256": parent.sha256(),
    }


def new_model(config: GPTConfig, settings: TrainSettings, runtime: Runtime, parent: Weights | None) -> GPT:
    """A model with fresh weights, or with the parent's."""
    if parent is None:
        model = GPT(config, seed=settings.runtime.seed)
    else:
        # Learned positions are weights, one for each place in the parent's context; rotary ones have none to keep.
        before = parent.config.block_size if config.position == "learned" else config.block_size
        model = hollow(replace(config, block_size=before))
        fill_model(model, parent.tensors(), str(parent.path), torch.float32)
        model.crop_block_size(config.block_size)
    model.recompute = settings.loop.recompute
    if settings.lora.lora_rank:
        add_lora(model, settings.lora, settings.runtime.seed)
    model = place_model(model, runtime.device, runtime.torch_dtype)
    if settings.lora.lora_rank:
        narrow_frozen(model, runtime.torch_dtype)
        if runtime.is_main:
            print(f"LoRA     {describe_lora(model)}")
    return model


def new_learner(model: GPT, settings: TrainSettings, runtime: Runtime) -> Learner:
    """The model with what trains it."""
    module: Any = torch.compile(model) if runtime.compile else model
    optimizers = build_optimizers(model, settings.optimizer, runtime.torch_dtype, runtime.device_type)
    scaler = torch.amp.GradScaler(runtime.device_type, enabled=runtime.dtype == "float16")
    return Learner(model, wrap(module, runtime), optimizers, scaler)


def restore(learner: Learner, run: Path, data: Mixture | None, runtime: Runtime) -> None:
    """Bring the learner to the newest good checkpoint. Only reads. `data`, where there is any, must speak its ids."""
    say = print if runtime.is_main else lambda _: None
    checkpoint = load_latest(run, say)
    if checkpoint is not None:
        if data is not None:
            require_tokenizer(checkpoint, data)
        fill_model(learner.model, checkpoint.model_tensors().items(), str(checkpoint.path))
        load_optimizer_tensors(learner.model, learner.optimizers, checkpoint.optimizer_tensors())
        learner.scaler.load_state_dict(checkpoint.state["scaler"])
        learner.step, learner.tokens = checkpoint.step, checkpoint.state["tokens"]
        learner.watch = Stopwatch(checkpoint.state["seconds"])
    wait_for_all(runtime)  # nobody changes the folder while another still reads
    step = learner.step
    say(f"resuming {run} at step {step}" if step else f"{run} has no checkpoint yet: beginning at step 0")


def rewind(run: Path, step: int) -> None:
    """Drop what lies beyond the step from which the run goes on: it was damaged, or will be done again."""
    clear_unfinished(run)
    discard_after(run, step)
    drop_metrics_after(run / "metrics.jsonl", step)
