"""inkling sft: teach a trained model conversation. The training loop of `inkling train`, with other defaults.

What the base run was trained with is kept unless a recipe or a flag says otherwise: its architecture, context and
optimizer, and a share of its learning rates.
"""

import math
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from inkling.data.batches import plan_batches
from inkling.data.mixture import Mixture
from inkling.errors import UserError
from inkling.hub.load import find_weights
from inkling.model.config import GPTConfig
from inkling.recipes import load_recipe
from inkling.settings import Layer, build, flatten
from inkling.stages import train
from inkling.stages.tables import show_table
from inkling.stages.train_settings import TrainSettings
from inkling.train.optim import OptimizerSettings
from inkling.train.runfolder import read_resolved


@dataclass(frozen=True)
class TeachSettings:
    """supervised finetuning"""

    epochs: float = 2.0
    """how often the conversations are read; --max_iters says it in steps"""
    rate: float = 0.5
    """the share of the base run's learning rates to begin with"""


@dataclass(frozen=True)
class SftSettings(TrainSettings):
    """Everything that `inkling sft` can be told."""

    sft: TeachSettings = TeachSettings()


SETTINGS = SftSettings
DESCRIPTION = """Teach a trained model to talk: inkling sft RUN [RECIPE] --dataset=CONVERSATIONS [--key=value ...]

  inkling prepare talk --input=talk.jsonl --tokenizer=runs/base/tokenizer.json
  inkling sft base --dataset=talk                          → runs/base-sft
  inkling sft base --dataset=almanac_chat:0.8,talk:0.2 --epochs=3
  inkling sft HuggingFaceTB/SmolLM2-135M-Instruct --dataset=talk --lora_rank=16      teach an import, in its own words
  inkling sft --out_dir=runs/base-sft --resume             go on with it

The loss falls on what the assistant says. What the base run was trained with is kept: architecture, optimizer, batch,
and a share of its learning rates; the recipe and flags win over that. Midtraining, conversations read as text before
this, is `inkling train RECIPE --init_from=base --dataset=talk --loss_on=all`."""

# What a base run hands on, beside its architecture and its learning rates.
INHERITED = {field.name for field in fields(OptimizerSettings)} | {"batch_size", "tokens_per_step", "seed"}
RATES = ("learning_rate", "embedding_lr", "head_lr", "matrix_lr")

# What finetuning does otherwise than training from nothing: whole conversations, and rates that fall to nothing.
USUAL = {"packing": "pad", "schedule": "linear", "warmup_iters": 0, "min_lr": 0.0, "momentum_warmup_iters": 0}
USUAL |= {"eval_interval": 200, "eval_iters": 5, "eval_tokens": 2**16}


# What an import is taught with, about which only the architecture is known. Some have a context of 131,072, and rows
# of that length fit into no memory here; conversations are shorter. A model that knows much is to change little,
# while LoRA's corrections begin at nothing.
IMPORTED_CONTEXT, IMPORTED_RATE, LORA_RATE = 2048, 3e-5, 2e-4


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if "resume" in flags or flags.get("init_from") == "resume":
        train.command(positional, flags)
        return
    settings, origins, given = compose(positional, flags)
    ended = main(settings, origins, given)
    if ended == "interrupted":
        hint = f"Go on with: inkling sft --out_dir={settings.run.out_dir} --resume"
        raise UserError("Interrupted; the checkpoint is saved.", hint, status=130)


def main(settings: TrainSettings, origins: dict[str, str] | None = None, given: dict[str, Any] | None = None) -> str:
    """Teach, with the settings that `compose` makes. Returns what `train.main` does."""
    return train.main(settings, origins, given)


def compose(positional: list[str], flags: dict[str, str]) -> tuple[TrainSettings, dict[str, str], dict[str, Any]]:
    """Base run, recipe and flags → (settings, origin of every key, what was given)."""
    if not 1 <= len(positional) <= 2:
        raise UserError("sft takes the RUN to teach, and a recipe if you like.", "For example: inkling sft base", 2)
    base = positional[0]
    _, recipe = load_recipe(positional[1]) if len(positional) == 2 else ("", Layer("no recipe", {}))
    flag_layer = Layer("flag", flags)
    wishes, _ = build(SftSettings, [recipe, flag_layer])
    handed_on = inherited(base, wishes.sft.rate, recipe.values.keys() | flags.keys(), wishes.lora.lora_rank > 0)
    settings, origins = build(SftSettings, [*handed_on, Layer("sft", USUAL), recipe, flag_layer])
    out_dir = settings.run.out_dir or f"runs/{Path(base).name}-sft"
    settings = replace(settings, run=replace(settings.run, out_dir=out_dir, init_from=base))
    origins |= {"init_from": "RUN", "out_dir": origins["out_dir"] if settings.run.out_dir else "RUN"}
    flat = flatten(settings)
    given = handed_values(handed_on) | USUAL | recipe.values | {key: flat[key] for key in flags}
    given |= {"init_from": base, "max_iters": settings.loop.max_iters}
    if "max_iters" not in recipe.values.keys() | flags.keys():
        steps, why = steps_for(settings)
        settings = replace(settings, loop=replace(settings.loop, max_iters=steps))
        origins["max_iters"], given["max_iters"] = why, steps
    describe_inherited(settings, origins, base)
    own = {field.name for field in fields(TeachSettings)}
    plain = TrainSettings(**{field.name: getattr(settings, field.name) for field in fields(TrainSettings)})
    origins = {key: origin for key, origin in origins.items() if key not in own}
    return plain, origins, {key: value for key, value in given.items() if key not in own}


def inherited(base: str, rate: float, given: set[str], by_lora: bool = False) -> list[Layer]:
    """What the run hands on, in layers that say so. Of an import only the architecture is known."""
    if not rate > 0:
        raise UserError(f"rate={rate:g} must be above 0.", status=2)
    parent = find_weights(base)
    run = parent.path.parents[1] if parent.path.parent.name == "checkpoints" else parent.path
    architecture = {field.name: getattr(parent.config, field.name) for field in fields(GPTConfig)}
    values = read_resolved(run)[0] if (run / "resolved.toml").is_file() else {}
    has_trained = "learning_rate" in values
    if not has_trained:
        architecture["block_size"] = min(parent.config.block_size, IMPORTED_CONTEXT)
    layers = [Layer(f"{run}", {key: value for key, value in architecture.items() if value is not None})]
    if not has_trained:
        return [*layers, Layer("usual for an import", {"learning_rate": LORA_RATE if by_lora else IMPORTED_RATE})]
    kept = {key: value for key, value in values.items() if key in INHERITED and key not in RATES}
    if given & {"batch_size", "gradient_accumulation_steps", "block_size"}:
        kept.pop("tokens_per_step", None)  # which would contradict them
    rates = {key: values[key] * rate for key in RATES if key in values}
    return [*layers, Layer(f"{run}", kept), Layer(f"{run} × {rate:g}", rates)]


def handed_values(layers: list[Layer]) -> dict[str, Any]:
    """What all layers together say."""
    return {key: value for layer in layers for key, value in layer.values.items()}


def steps_for(settings: SftSettings) -> tuple[int, str]:
    """How many steps the epochs are, and why."""
    epochs = settings.sft.epochs
    if not epochs > 0:
        raise UserError(f"epochs={epochs:g} must be above 0.", status=2)
    data = train.open_for_training(settings)
    block_size = settings.model.block_size
    data.check_packing(settings.data.packing, settings.data.document_mask)
    if settings.data.packing == "stream":
        rows = [max(1, (len(part.train) - 1) // block_size) for part in data.parts]
    else:
        packed = data.packed(
            block_size, settings.data.packing, settings.data.document_mask, settings.runtime.seed, keep=True
        )
        rows = [len(plan) for plan in packed.plans]
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    plan = plan_batches(settings.data, block_size, 0, world_size)
    total = epochs * sum(rows)
    if len(rows) > 1:
        show_epochs(data, rows, total)
    return max(1, math.ceil(total / plan.rows_per_step)), f"{epochs:g} epochs of {sum(rows):,} rows"


def show_epochs(data: Mixture, rows: list[int], total: float) -> None:
    """How often each data set of a mixture will be read."""
    table = [
        [part.name, f"{weight:.1%}", f"{count:,}", f"{total * weight / count:.2f}"]
        for part, weight, count in zip(data.parts, data.weights, rows, strict=True)
    ]
    show_table("the mixture", table, head=["data set", "share", "rows", "epochs"])


def describe_inherited(settings: SftSettings, origins: dict[str, str], base: str) -> None:
    """A table of what was set, and where it came from; the architecture in one line."""
    if int(os.environ.get("RANK", "0")) > 0:
        return
    flat = flatten(settings)
    architecture = {field.name for field in fields(GPTConfig)}
    rows = [
        [key, f"{flat[key]}", origin]
        for key, origin in origins.items()
        if origin != "default" and not (key in architecture and origin not in ("flag", "sft"))
    ]
    show_table(f"teaching {base}, with its architecture", sorted(rows), head=["setting", "value", "from"])
