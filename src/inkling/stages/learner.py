"""What trains: a model with fresh weights, a parent's, or those of the run that goes on, and its optimizers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from inkling.data.shards import Dataset
from inkling.errors import UserError
from inkling.files import sha256_of
from inkling.hub.load import fill_model, find_checkpoint, place_model
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT
from inkling.runtime import Runtime
from inkling.stages.train_settings import TrainSettings
from inkling.train.checkpoint import MODEL, Checkpoint, clear_unfinished, discard_after, load_latest
from inkling.train.loop import Learner
from inkling.train.optim import build_optimizers, load_optimizer_tensors
from inkling.train.parallel import wait_for_all, wrap
from inkling.train.progress import Stopwatch, drop_metrics_after


def find_parent(settings: TrainSettings, dataset: Dataset) -> Checkpoint:
    """The checkpoint that --init_from names; its tokenizer must be the data set's."""
    checkpoint = find_checkpoint(settings.run.init_from)
    require_tokenizer(checkpoint, dataset)
    return checkpoint


def require_tokenizer(checkpoint: Checkpoint, dataset: Dataset) -> None:
    """Ids must mean the same text to the model and in the data."""
    if checkpoint.state["tokenizer_sha256"] != dataset.meta.tokenizer_sha256:
        theirs, ours = checkpoint.state["model"]["vocab_size"], dataset.meta.vocab_size
        tokenizer = checkpoint.path.parents[1] / "tokenizer.json"
        raise UserError(
            f"The checkpoint {checkpoint.path} (vocabulary {theirs}) and the data set {dataset.path} "
            f"(vocabulary {ours}) have different tokenizers.",
            f"Prepare the data with the model's: inkling prepare NAME --input=TEXT --tokenizer={tokenizer}",
        )


def inherit(config: GPTConfig, parent: GPTConfig, source: str) -> GPTConfig:
    """The parent's architecture, with the dropout of today and, if shorter, the context of today."""
    if config.block_size > parent.block_size and parent.position == "learned":
        raise UserError(
            f"{source} has a context of {parent.block_size}; block_size={config.block_size} is longer.",
            f"Use --block_size={parent.block_size} or less.",
        )
    return replace(parent, block_size=config.block_size, dropout=config.dropout, attention=config.attention)


def describe_parent(settings: TrainSettings, parent: Checkpoint | None) -> dict[str, Any] | None:
    """What the file `parent` says."""
    if parent is None:
        return None
    return {
        "run": settings.run.init_from,
        "step": parent.step,
        "sha256": sha256_of(parent.path / MODEL),
    }


def new_model(config: GPTConfig, settings: TrainSettings, runtime: Runtime, parent: Checkpoint | None) -> GPT:
    """A model with fresh weights, or with the parent's."""
    if parent is None:
        return place_model(GPT(config, seed=settings.runtime.seed), runtime.device, runtime.torch_dtype)
    before = GPTConfig(**parent.state["model"]).block_size
    # Learned positions are weights, one for each place in the parent's context; rotary ones have none to keep.
    model = GPT(replace(config, block_size=before) if config.position == "learned" else config)
    fill_model(model, parent.model_tensors(), str(parent.path))
    if config.block_size < model.config.block_size:
        model.crop_block_size(config.block_size)
    return place_model(model, runtime.device, runtime.torch_dtype)


def new_learner(model: GPT, settings: TrainSettings, runtime: Runtime) -> Learner:
    """The model with what trains it."""
    module: Any = torch.compile(model) if runtime.compile else model
    optimizers = build_optimizers(model, settings.optimizer, runtime.torch_dtype, runtime.device_type)
    scaler = torch.amp.GradScaler(runtime.device_type, enabled=runtime.dtype == "float16")
    return Learner(model, wrap(module, runtime), optimizers, scaler)


def restore(learner: Learner, run: Path, dataset: Dataset, runtime: Runtime) -> None:
    """Bring the learner to the newest good checkpoint. Only reads."""
    say = print if runtime.is_main else lambda _: None
    checkpoint = load_latest(run, say)
    if checkpoint is not None:
        require_tokenizer(checkpoint, dataset)
        fill_model(learner.model, checkpoint.model_tensors(), str(checkpoint.path))
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
