"""What `inkling train` is told: recipe, preset, the run that goes on and flags become TrainSettings."""

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from inkling.data.batches import BatchPlan, DataSettings
from inkling.errors import UserError
from inkling.model.config import PRESETS, GPTConfig
from inkling.model.cost import flops_per_token
from inkling.model.lora import LoRASettings
from inkling.recipes import load_recipe
from inkling.runtime import Dtype, Runtime, RuntimeSettings
from inkling.settings import Layer, build, flatten
from inkling.stages.vocabulary import vocabulary_for
from inkling.train.dial import DialSettings, check_dial, turn
from inkling.train.loop import LoopSettings
from inkling.train.optim import OptimizerSettings
from inkling.train.runfolder import read_resolved
from inkling.train.schedule import ScheduleSettings
from inkling.train.trackers import TrackerSettings

DIAL = "dial: "  # with what the origins of the dial's keys begin


@dataclass(frozen=True)
class RunSettings:
    """input and output"""

    out_dir: str = ""
    """folder of the run; empty: runs/RECIPE"""
    init_from: str = "scratch"
    """scratch, resume, or a run whose weights to begin from (finetuning)"""
    resume: bool = False
    """go on with the run in out_dir from its newest checkpoint; the same as --init_from=resume"""


@dataclass(frozen=True)
class TrainSettings:
    """Everything that `inkling train` can be told."""

    run: RunSettings = RunSettings()
    data: DataSettings = DataSettings()
    model: GPTConfig = GPTConfig()
    dial: DialSettings = DialSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    loop: LoopSettings = LoopSettings()
    lora: LoRASettings = LoRASettings()
    trackers: TrackerSettings = TrackerSettings()
    runtime: RuntimeSettings = RuntimeSettings()


def compose(positional: list[str], flags: dict[str, str]) -> tuple[TrainSettings, dict[str, str], dict[str, Any]]:
    """Recipe and flags → (settings, origin of every key, what was given)."""
    if len(positional) > 1:
        raise UserError(f"train takes one recipe, not {' '.join(positional)}.", status=2)
    name, recipe = load_recipe(positional[0]) if positional else ("", Layer("no recipe", {}))
    flag_layer = Layer("flag", flags)
    wishes, _ = build(TrainSettings, [recipe, flag_layer])
    run = wishes.run.out_dir or (f"runs/{name}" if name else "")
    if wishes.run.resume or wishes.run.init_from == "resume":
        if not run:
            raise UserError("Which run shall go on?", "Name the recipe, or --out_dir=runs/NAME.", status=2)
        return (*_compose_resume(Path(run), flags), {})
    if not name:
        raise UserError("Which recipe?", "For example: inkling train shakespeare_char_cpu", status=2)
    preset = Layer(f"preset {wishes.model.preset}", PRESETS[wishes.model.preset])
    settings, origins = build(TrainSettings, [preset, recipe, flag_layer])
    check_dial(settings.dial)
    if settings.dial.depth is not None:
        flat = flatten(settings)
        given = {key: flat[key] for key in (*recipe.values, *flags)}
        settings, origins = build(TrainSettings, [preset, *dial_layers(settings, given), recipe, flag_layer])
    settings = replace(settings, run=replace(settings.run, out_dir=run))
    flat = flatten(settings)
    return settings, origins, recipe.values | {key: flat[key] for key in flags}


def dial_layers(settings: TrainSettings, given: dict[str, Any]) -> list[Layer]:
    """What follows from --depth, a layer for each key, so that its origin can say why it has this value."""
    vocab_size, _ = vocabulary_for(settings.data.dataset, settings.model.vocab_size)
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    at_once = settings.data.batch_size * settings.model.block_size * ranks
    turned = turn(settings.dial, replace(settings.model, vocab_size=vocab_size), at_once, given)
    return [Layer(DIAL + value.why, {key: value.value}) for key, value in turned.items()]


# What a resumed run may not change: it would no longer be the same run.
FIXED = {field.name for field in fields(GPTConfig)} - {"dropout", "attention"}
FIXED |= {field.name for field in fields(LoRASettings)}
FIXED |= {"dataset", "packing", "loss_on", "document_mask", "optimizer", "seed"}


def _compose_resume(run: Path, flags: dict[str, str]) -> tuple[TrainSettings, dict[str, str]]:
    """A run's own settings, with the flags of today on top."""
    stored, stored_origins = read_resolved(run)
    if "samples" in stored:
        raise UserError(
            f"{run} practises by trial.", f"Go on with it by: inkling rl --out_dir={run.as_posix()} --resume"
        )
    if "dataset" not in stored:  # which only an import lacks
        raise UserError(
            f"{run} was imported: there is no training to go on with.",
            f"Begin a run of its own from it: --init_from={run.as_posix()} and another --out_dir.",
        )
    if flags.keys() & {"batch_size", "gradient_accumulation_steps"}:
        # The tokens of a step define the run; how they are cut into micro-batches may change.
        stored.pop("gradient_accumulation_steps", None)
    if "max_iters" in flags and stored_origins.get("lr_decay_iters", "default") == "default":
        # The decay ends with the run. If it ended where the run was to end, added steps would run at the lowest rate.
        stored.pop("lr_decay_iters", None)
    before, _ = build(TrainSettings, [Layer(f"{run}/resolved.toml", stored)])
    settings, _ = build(TrainSettings, [Layer(f"{run}/resolved.toml", stored), Layer("flag", flags)])
    old, new = flatten(before), flatten(settings)
    for key in sorted(FIXED & flags.keys()):
        if old[key] != new[key]:
            raise UserError(
                f"--{key} cannot change from {old[key]} to {new[key]} when a run is resumed.",
                "Leave it out, or begin a new run with --out_dir.",
                status=2,
            )
    settings = replace(settings, run=RunSettings(str(run), before.run.init_from, resume=True))
    return settings, stored_origins | dict.fromkeys(flags, "flag, on resume")


def differing(settings: TrainSettings) -> dict[str, Any]:
    """The settings that are not the default: what was given, when Python and not a command line gave it."""
    default = flatten(TrainSettings())
    return {key: value for key, value in flatten(settings).items() if value != default[key]}


def rough_cpu_seconds(config: GPTConfig, settings: TrainSettings) -> float:
    """How long the work would take at 100 GFLOP/s, for the question whether compiling repays."""
    data = settings.data
    rows = data.batch_size * (data.gradient_accumulation_steps or 1)
    tokens = (data.tokens_per_step or rows * config.block_size) * settings.loop.max_iters
    return min(tokens * flops_per_token(config) / 1e11, settings.loop.max_seconds or float("inf"))


def settle(settings: TrainSettings, config: GPTConfig, runtime: Runtime, plan: BatchPlan) -> TrainSettings:
    """The settings with every `auto` and None replaced by what was decided, as resolved.toml keeps them."""
    loop, schedule, optimizer = settings.loop, settings.schedule, settings.optimizer
    device = settings.runtime.device if settings.runtime.device != "auto" else runtime.device_type
    return replace(
        settings,
        data=replace(
            settings.data,
            gradient_accumulation_steps=plan.micro_steps * plan.world_size,
            tokens_per_step=plan.tokens_per_step,
        ),
        model=config,
        optimizer=optimizer,
        schedule=replace(
            schedule,
            lr_decay_iters=schedule.lr_decay_iters or loop.max_iters,
            min_lr=schedule.min_lr if schedule.min_lr is not None else optimizer.learning_rate / 10,
        ),
        runtime=replace(
            settings.runtime,
            device=device,
            dtype=cast(Dtype, runtime.dtype),
            compile=runtime.compile,
            threads=runtime.threads,
        ),
    )
