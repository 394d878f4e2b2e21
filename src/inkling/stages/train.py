"""inkling train: settings, data, model and optimizers go into the loop; a run's folder comes out."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from inkling.data.batches import BatchPlan, plan_batches
from inkling.data.mixture import Mixture, open_mixture
from inkling.errors import UserError, is_out_of_memory
from inkling.hub.weights import Weights
from inkling.model.config import GPTConfig
from inkling.model.cost import flops_per_token, parameters_by_part
from inkling.runtime import Runtime, decide, running
from inkling.settings import flatten
from inkling.stages.learner import (
    describe_parent,
    find_parent,
    inherit,
    new_learner,
    new_model,
    restore,
    rewind,
)
from inkling.stages.train_settings import TrainSettings, compose, differing, rough_cpu_seconds, settle
from inkling.train.checkpoint import read_index, save_checkpoint, save_snapshot
from inkling.train.loop import Learner, check_loop, train
from inkling.train.optim import Muon, check_optimizer, optimizer_tensors
from inkling.train.parallel import wait_for_all
from inkling.train.progress import Progress
from inkling.train.runfolder import CommandLog, create_run, refuse_existing, write_resolved
from inkling.train.schedule import check_schedule, lr_factor, muon_momentum
from inkling.train.validation import estimate_loss

SETTINGS = TrainSettings
DESCRIPTION = """Train a model: inkling train RECIPE [--key=value ...]

  inkling train shakespeare_char_cpu
  inkling train shakespeare_char --n_layer=4 --max_iters=500 --out_dir=runs/small
  inkling train shakespeare_char_cpu --resume
  torchrun --nproc_per_node=2 -m inkling train shakespeare_char

A recipe is a name (see the README) or a TOML file of `key = value` lines; flags win over it."""


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    settings, origins, given = compose(positional, flags)
    ended = main(settings, origins, given)
    if ended == "interrupted":
        raise UserError("Interrupted; the checkpoint is saved.", resume_hint(settings), status=130)


def main(settings: TrainSettings, origins: dict[str, str] | None = None, given: dict[str, Any] | None = None) -> str:
    """Train. Returns "done", "out of time" or "interrupted"; the results are in the run's folder."""
    check_loop(settings.loop)
    check_schedule(settings.schedule)
    check_optimizer(settings.optimizer)
    run, resuming = Path(settings.run.out_dir), settings.run.resume
    if not run.name:
        raise UserError("out_dir is empty.", "Name the run's folder, such as runs/NAME.", status=2)
    data = open_for_training(settings)
    config = replace(settings.model, vocab_size=vocabulary(settings, data))
    parent = None if resuming or settings.run.init_from == "scratch" else find_parent(settings, data)
    if parent is not None:
        config = inherit(config, parent.config, settings.run.init_from)
    data.check_length(config.block_size)
    runtime = decide(settings.runtime, cpu_seconds=rough_cpu_seconds(config, settings))
    plan = plan_batches(settings.data, config.block_size, runtime.rank, runtime.world_size)
    settings = settle(settings, config.filled(), runtime, plan)

    if not (resuming or settings.loop.eval_only):
        given = given if given is not None else differing(settings)
        begin_run(run, given, settings, origins or {}, data, parent, runtime)
    try:
        with running(runtime):
            return train_or_evaluate(settings, origins or {}, config, plan, data, parent, runtime)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(settings, plan) from None


def begin_run(
    run: Path,
    given: dict[str, Any],
    settings: TrainSettings,
    origins: dict[str, str],
    data: Mixture,
    parent: Weights | None,
    runtime: Runtime,
) -> None:
    """Make the run's folder, on rank 0."""
    if runtime.is_main:
        refuse_existing(run)
        create_run(run, given, flatten(settings), origins, data.tokenizer_file, describe_parent(settings, parent))


def train_or_evaluate(
    settings: TrainSettings,
    origins: dict[str, str],
    config: GPTConfig,
    plan: BatchPlan,
    data: Mixture,
    parent: Weights | None,
    runtime: Runtime,
) -> str:
    """Build the model and what trains it, bring it to where the run stands, and go."""
    run = Path(settings.run.out_dir)
    model = new_model(config, settings, runtime, parent)
    learner = new_learner(model, settings, runtime)
    if settings.run.resume:
        restore(learner, run, data, runtime)
    describe(learner, settings, plan, data, runtime)
    if settings.loop.eval_only:
        return evaluate_once(learner, settings, plan, data, runtime)
    if settings.run.resume and runtime.is_main:
        rewind(run, learner.step)
        write_resolved(run, flatten(settings), origins)
    return run_loop(learner, settings, plan, data, runtime, run)


def run_loop(
    learner: Learner, settings: TrainSettings, plan: BatchPlan, data: Mixture, runtime: Runtime, run: Path
) -> str:
    """Hand the loop its plain functions, and keep the run's books around it."""
    loop, seed = settings.loop, settings.runtime.seed
    if learner.step >= loop.max_iters:
        if runtime.is_main:
            print(f"The run {run} has already done its {learner.step} steps. A larger --max_iters goes on.")
        return "done"
    log = CommandLog(run, runtime) if runtime.is_main else None
    progress = Progress(run / "metrics.jsonl", loop.max_iters, learner.step, loop.log_interval, runtime.is_main)
    ended = "failed"
    try:
        ended = train(
            learner,
            loop,
            plan,
            runtime,
            seed,
            settings.optimizer.grad_clip,
            set_rates=rates(learner, settings),
            micro_batch=lambda first_row: data.batch(plan.block_size, seed, first_row, plan.batch_size),
            evaluate=lambda: losses(learner, settings, plan, data, runtime),
            save=saver(learner, settings, data, runtime, run, progress),
            snapshot=lambda: snapshot(learner, data, runtime, run),
            progress=progress,
        )
    finally:
        progress.close()
        if log is not None:
            with suppress(OSError):  # what ended the run, a full disk say, is the better message
                log.end(ended, learner.step)
    if ended != "interrupted":
        progress.say(f"{ended}: {learner.step} steps, {learner.tokens:,} tokens → {run}")
        progress.say(f"next: inkling sample {run}")
    return ended


def out_of_memory(settings: TrainSettings, plan: BatchPlan) -> UserError:
    """What to lower, the gentlest first: the same steps in smaller pieces, then more work, then less model."""
    advice = []
    if plan.batch_size > 1:
        half, pieces = plan.batch_size // 2, -(-plan.rows_per_step // (plan.batch_size // 2))
        advice.append(f"--batch_size={half} --gradient_accumulation_steps={pieces} (the same step in smaller pieces)")
    if not settings.loop.recompute:
        advice.append("--recompute (a third more work)")
    if settings.runtime.dtype == "float32" and settings.runtime.device != "cpu":
        advice.append("--dtype=bfloat16")
    advice.append(f"--block_size={max(1, plan.block_size // 2)}")
    advice.append(f"a smaller model (n_embd={settings.model.n_embd}, n_layer={settings.model.n_layer})")
    return UserError(
        f"There is not enough memory to train with batch_size={plan.batch_size}, block_size={plan.block_size}.",
        "In this order: " + "; ".join(advice) + ".",
    )


# --- before the loop ---------------------------------------------------------------------------------------


def open_for_training(settings: TrainSettings) -> Mixture:
    """The data set, or the mixture of several, opened and checked."""
    if not settings.data.dataset:
        raise UserError("Which data?", "Give --dataset=NAME, after `inkling prepare NAME`.", status=2)
    return open_mixture(settings.data.dataset)


def vocabulary(settings: TrainSettings, data: Mixture) -> int:
    """V of the model: the data's; a different number in the settings is refused."""
    asked, there = settings.model.vocab_size, data.meta.vocab_size
    if asked not in (0, there):
        raise UserError(
            f"vocab_size={asked}, but the data set {data.describe} has a vocabulary of {there}.",
            "Leave vocab_size out; to round the embedding up, use --pad_vocab_to=64.",
        )
    return there


def describe(learner: Learner, settings: TrainSettings, plan: BatchPlan, data: Mixture, runtime: Runtime) -> None:
    """What is about to happen, in a few lines."""
    if not runtime.is_main:
        return
    config = learner.model.config
    parts = {name: n for name, n in parameters_by_part(config).items() if n}
    print(
        f"data     {data.describe}: {sum(len(part.train) for part in data.parts):,} training and "
        f"{sum(len(part.val) for part in data.parts):,} validation tokens, vocabulary {config.vocab_size:,}"
    )
    print(
        f"model    {config.preset}, {learner.model.num_params(False):,} parameters: "
        + ", ".join(f"{name} {n:,}" for name, n in parts.items())
    )
    print(
        f"batch    {plan.tokens_per_step:,} tokens a step = {plan.batch_size} rows × {plan.block_size} tokens "
        f"× {plan.micro_steps} micro-steps × {plan.world_size} processes"
    )
    flops = flops_per_token(config) * plan.tokens_per_step
    print(f"work     {settings.loop.max_iters:,} steps of {flops / 1e9:,.1f} GFLOP")
    for reason in runtime.reasons:
        print(f"machine  {reason}")


# --- what the loop calls -----------------------------------------------------------------------------------


def rates(learner: Learner, settings: TrainSettings) -> Callable[[int], float]:
    """The function that sets every group's rate for a step and returns the learning rate."""
    peak, floor = settings.optimizer.learning_rate, settings.schedule.min_lr
    assert floor is not None
    min_factor = floor / peak if peak else 1.0

    def set_rates(step: int) -> float:
        factor = lr_factor(settings.schedule, step, settings.loop.max_iters, min_factor)
        for optimizer in learner.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
                if isinstance(optimizer, Muon):
                    group["momentum"] = muon_momentum(settings.schedule, step, settings.optimizer.momentum)
        return peak * factor

    return set_rates


def losses(
    learner: Learner, settings: TrainSettings, plan: BatchPlan, data: Mixture, runtime: Runtime
) -> dict[str, float]:
    """train_loss and val_loss of the model as it is now."""
    loop, seed = settings.loop, settings.runtime.seed
    return estimate_loss(learner.model, data, plan, runtime, seed, loop.eval_iters, loop.eval_tokens)


def evaluate_once(learner: Learner, settings: TrainSettings, plan: BatchPlan, data: Mixture, runtime: Runtime) -> str:
    """--eval_only: print the losses and write nothing."""
    found = losses(learner, settings, plan, data, runtime)
    if runtime.is_main:
        print(f"step {learner.step}: train loss {found['train_loss']:.4f}, val loss {found['val_loss']:.4f}")
    return "done"


def state_of(learner: Learner, data: Mixture) -> dict[str, Any]:
    """What a checkpoint's state.json says, beside the losses."""
    return {
        "step": learner.step,
        "tokens": learner.tokens,
        "seconds": learner.watch.read(),
        "model": asdict(learner.model.config),
        "tokenizer_sha256": data.meta.tokenizer_sha256,
        "scaler": learner.scaler.state_dict(),
    }


def saver(
    learner: Learner,
    settings: TrainSettings,
    data: Mixture,
    runtime: Runtime,
    run: Path,
    progress: Progress,
) -> Callable[[dict[str, Any], bool], None]:
    """The function that saves a checkpoint, on rank 0, while the others wait."""

    def save(row: dict[str, Any], final: bool) -> None:
        if runtime.is_main and (final or settings.loop.always_save_checkpoint or improves(run, row)):
            state = state_of(learner, data) | {key: row[key] for key in ("loss", "val_loss") if key in row}
            weights = dict(learner.model.named_parameters())
            moments = optimizer_tensors(learner.model, learner.optimizers)
            path = save_checkpoint(run, state, weights, moments, settings.loop.keep_last)
            progress.say(f"saved {path}")
        wait_for_all(runtime)

    return save


def improves(run: Path, row: dict[str, Any]) -> bool:
    """Whether this validation loss is the lowest of those kept."""
    best = read_index(run)["best_val_loss"]
    return best is None or row["val_loss"] < best


def snapshot(learner: Learner, data: Mixture, runtime: Runtime, run: Path) -> None:
    """Weights alone, on rank 0."""
    if runtime.is_main:
        save_snapshot(run, state_of(learner, data), dict(learner.model.named_parameters()))


def resume_hint(settings: TrainSettings) -> str:
    """The command that goes on with this run."""
    return f"Go on with: inkling train --out_dir={settings.run.out_dir} --resume"
