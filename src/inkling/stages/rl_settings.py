"""What `inkling rl` is told: the run to practise with and flags become RLSettings."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from inkling.errors import UserError
from inkling.runtime import RuntimeSettings
from inkling.settings import Layer, build, flatten, leaves
from inkling.stages import sft
from inkling.stages.train_settings import RunSettings, TrainSettings
from inkling.stages.trials import TrialSettings
from inkling.tasks import TaskSettings
from inkling.train.loop import LoopSettings
from inkling.train.optim import OptimizerSettings
from inkling.train.runfolder import read_resolved
from inkling.train.schedule import ScheduleSettings
from inkling.train.trackers import TrackerSettings


@dataclass(frozen=True)
class StepSettings:
    """training"""

    max_iters: int = 100
    """steps in all"""
    max_seconds: float = 0.0
    """end the run, examined and saved, after this many seconds of sampling and learning; 0: no limit"""
    eval_interval: int = 10
    """steps between exams; each also saves a checkpoint"""
    log_interval: int = 1
    """steps between printed lines, where the output is not a terminal"""
    keep_last: int = 2
    """how many recent checkpoints to keep"""
    health_interval: int = 0
    """steps between measurements of gradient, weight and update norms by part (needs a copy of the weights); 0: off"""
    snapshots: int = 0
    """weights-only snapshots at logarithmic steps, to watch the run learning; 0: none"""
    rate: float = 0.1
    """the share of RUN's learning rates to begin with"""


@dataclass(frozen=True)
class RLSettings:
    """Everything that `inkling rl` can be told."""

    run: RunSettings = RunSettings()
    trials: TrialSettings = TrialSettings()
    tasks: TaskSettings = TaskSettings()
    steps: StepSettings = StepSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    trackers: TrackerSettings = TrackerSettings()
    runtime: RuntimeSettings = RuntimeSettings()


# Steps are small and few: the rates stay what they are to the end, and there is nothing to warm up.
USUAL: dict[str, Any] = {"decay_lr": False, "warmup_iters": 0, "momentum_warmup_iters": 0, "min_lr": 0.0}
# What a resumed run may not change: it would no longer be the same run.
FIXED = {"task", "kinds", "questions", "samples", "max_new_tokens", "divide_by_std", "optimizer", "seed", "tables"}


def compose(positional: list[str], flags: dict[str, str]) -> tuple[RLSettings, dict[str, str], dict[str, Any]]:
    """RUN and flags → (settings, origin of every key, what was given)."""
    wishes, _ = build(RLSettings, [Layer("flag", flags)])
    if wishes.run.resume or wishes.run.init_from == "resume":
        return (*_compose_resume(wishes, flags), {})
    if len(positional) != 1:
        raise UserError("rl takes the RUN that shall practise.", "For example: inkling rl chatbot", status=2)
    base = positional[0]
    known = leaves(RLSettings).keys() - {"init_from"}
    handed_on = [
        Layer(layer.origin, {key: value for key, value in layer.values.items() if key in known})
        for layer in sft.inherited(base, wishes.steps.rate, set(flags))
    ]
    settings, origins = build(RLSettings, [*handed_on, Layer("rl", USUAL), Layer("flag", flags)])
    out_dir = settings.run.out_dir or f"runs/{Path(base).name}-rl"
    settings = replace(settings, run=replace(settings.run, out_dir=out_dir, init_from=base))
    origins |= {"init_from": "RUN", "out_dir": origins["out_dir"] if "out_dir" in flags else "RUN"}
    flat = flatten(settings)
    given = sft.handed_values(handed_on) | USUAL | {key: flat[key] for key in flags} | {"init_from": base}
    return settings, origins, given


def _compose_resume(wishes: RLSettings, flags: dict[str, str]) -> tuple[RLSettings, dict[str, str]]:
    """A run's own settings, with the flags of today on top."""
    if not wishes.run.out_dir:
        raise UserError("Which run shall go on?", "Name it: --out_dir=runs/NAME.", status=2)
    run = Path(wishes.run.out_dir)
    stored, origins = read_resolved(run)
    if "samples" not in stored:
        raise UserError(
            f"{run} does not practise by trial.", f"Begin a run that does: inkling rl {run.as_posix()}", status=2
        )
    known = leaves(RLSettings)
    layer = Layer(f"{run}/resolved.toml", {key: value for key, value in stored.items() if key in known})
    before, _ = build(RLSettings, [layer])
    settings, _ = build(RLSettings, [layer, Layer("flag", flags)])
    old, new = flatten(before), flatten(settings)
    for key in sorted(FIXED & flags.keys()):
        if old[key] != new[key]:
            raise UserError(
                f"--{key} cannot change from {old[key]} to {new[key]} when a run is resumed.",
                "Leave it out, or begin a new run with --out_dir.",
                status=2,
            )
    settings = replace(settings, run=RunSettings(str(run), before.run.init_from, resume=True))
    return settings, origins | dict.fromkeys(flags, "flag, on resume")


def as_training(settings: RLSettings) -> TrainSettings:
    """The same, as the functions of training take it."""
    steps = {field.name: getattr(settings.steps, field.name) for field in fields(StepSettings) if field.name != "rate"}
    return TrainSettings(
        run=settings.run,
        optimizer=settings.optimizer,
        schedule=settings.schedule,
        loop=LoopSettings(**steps),
        trackers=settings.trackers,
        runtime=settings.runtime,
    )
