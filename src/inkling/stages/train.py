"""inkling train: settings, data, model and optimizers go into the loop; a run's folder comes out."""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from inkling.data.batches import BatchPlan, plan_batches
from inkling.data.mixture import Mixture, open_mixture
from inkling.errors import UserError, is_out_of_memory
from inkling.hub.weights import Weights
from inkling.model.config import GPTConfig
from inkling.model.lora import check_lora, lora_scale
from inkling.runtime import Runtime, decide, running
from inkling.settings import flatten
from inkling.stages.describe import describe, out_of_memory
from inkling.stages.learner import (
    describe_parent,
    find_parent,
    has_begun,
    inherit,
    new_learner,
    new_model,
    require_same_parent,
    restore,
    rewind,
)
from inkling.stages.train_settings import TrainSettings, compose, differing, rough_cpu_seconds, settle
from inkling.train.checkpoint import read_index, save_checkpoint, save_snapshot
from inkling.train.loop import Learner, check_loop, train
from inkling.train.optim import Muon, check_optimizer, optimizer_tensors
from inkling.train.parallel import wait_for_all
from inkling.train.progress import Progress
from inkling.train.runfolder import CommandLog, create_run, held, refuse_existing, write_resolved
from inkling.train.schedule import check_schedule, lr_factor, muon_momentum
from inkling.train.trackers import check_trackers, open_trackers
from inkling.train.validation import estimate_loss

SETTINGS = TrainSettings
DESCRIPTION = """Train a model: inkling train RECIPE [--key=value ...]

  inkling train shakespeare_char_cpu
  inkling train shakespeare_char --n_layer=4 --max_iters=500 --out_dir=runs/small
  inkling train shakespeare_char_cpu --resume
  inkling train config/train_shakespeare_char.py --device=cpu
  inkling train demo --dataset=stories:0.7,facts:0.3 --out_dir=runs/both
  torchrun --nproc_per_node=2 -m inkling train shakespeare_char

A recipe is a name (see the README), a TOML file of `key = value` lines, or one of nanoGPT's config files, which
is read and not run; flags win over it."""


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
    check_lora(settings.lora, "resume" if settings.run.resume else settings.run.init_from)
    run, resuming = Path(settings.run.out_dir), settings.run.resume
    if not run.name:
        raise UserError("out_dir is empty.", "Name the run's folder, such as runs/NAME.", status=2)
    data = open_for_training(settings)
    config = replace(settings.model, vocab_size=vocabulary(settings, data))
    parent = None if settings.run.init_from == "scratch" or has_begun(run, resuming) else find_parent(settings, data)
    if resuming and parent is not None:
        require_same_parent(run, parent)
    if parent is not None:
        config = inherit(config, parent.config, settings.run.init_from)
    data.check_length(config.block_size)
    data.check_packing(settings.data.packing, settings.data.document_mask)
    runtime = decide(settings.runtime, rough_cpu_seconds(config, settings), config.n_embd)
    plan = plan_batches(settings.data, config.block_size, runtime.rank, runtime.world_size)
    settings = settle(settings, config.filled(), runtime, plan)

    writes = runtime.is_main and not settings.loop.eval_only
    if writes:
        check_trackers(settings.trackers)
    try:
        with held(run) if writes else nullcontext():
            if writes and not resuming:
                begin_run(run, differing(settings) if given is None else given, settings, origins or {}, data, parent)
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
) -> None:
    """Make the run's folder."""
    refuse_existing(run)
    beside = parent.tokenizer().beside if parent is not None else {}  # an import keeps its chat template
    create_run(run, given, flatten(settings), origins, data.tokenizer_file, describe_parent(settings, parent), beside)


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
    data = pack(data, settings, runtime)
    model = new_model(config, settings, runtime, parent)
    learner = new_learner(model, settings, runtime)
    if settings.run.resume:
        restore(learner, run, data, runtime)
    describe(learner, settings, plan, data, runtime, origins)
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
    trackers = open_trackers(settings.trackers, run, learner.step, flatten(settings)) if runtime.is_main else None
    log = CommandLog(run, runtime) if runtime.is_main else None
    progress = Progress(
        run / "metrics.jsonl", loop.max_iters, learner.step, loop.log_interval, runtime.is_main, trackers
    )
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
        progress.close(failed=ended == "failed")
        if log is not None:
            with suppress(OSError):  # what ended the run, a full disk say, is the better message
                log.end(ended, learner.step)
    if ended != "interrupted":
        progress.say(f"{ended}: {learner.step} steps, {learner.tokens:,} tokens → {run}")
        was_taught = any(data.has_answers(part) for part in data.parts)
        progress.say(f"next: inkling {'chat' if was_taught else 'sample'} {run}")
    return ended


# --- before the loop ---------------------------------------------------------------------------------------


def open_for_training(settings: TrainSettings) -> Mixture:
    """The data set, or the mixture of several, opened and checked."""
    if not settings.data.dataset:
        raise UserError("Which data?", "Give --dataset=NAME, after `inkling prepare NAME`.", status=2)
    return open_mixture(settings.data.dataset, answers_only=settings.data.loss_on == "answers")


def pack(data: Mixture, settings: TrainSettings, runtime: Runtime) -> Mixture:
    """The data in packed rows, where the settings ask for them. Rank 0 keeps the plans, the others wait for it."""
    mode, mask = settings.data.packing, settings.data.document_mask
    if mode == "stream":
        return data
    arguments = (settings.model.block_size, mode, mask, settings.runtime.seed)
    if runtime.is_main:
        packed = data.packed(*arguments, keep=True)
    wait_for_all(runtime)
    if not runtime.is_main:
        return data.packed(*arguments, keep=False)
    for part, plan in zip(packed.parts, packed.plans, strict=True):
        print(f"packing  {part.path}: {plan.shares.describe(settings.model.block_size)}")
    return packed


def vocabulary(settings: TrainSettings, data: Mixture) -> int:
    """V of the model: the data's; a different number in the settings is refused."""
    asked, there = settings.model.vocab_size, data.meta.vocab_size
    if asked not in (0, there):
        raise UserError(
            f"vocab_size={asked}, but the data set {data.describe} has a vocabulary of {there}.",
            "Leave vocab_size out; to round the embedding up, use --pad_vocab_to=64.",
        )
    return there


# --- what the loop calls -----------------------------------------------------------------------------------


def rates(learner: Learner, settings: TrainSettings) -> Callable[[int], float]:
    """The function that sets every group's rate for a step and returns the learning rate."""
    peak, floor = settings.optimizer.learning_rate, settings.schedule.min_lr
    assert floor is not None
    min_factor = floor / peak if peak else 1.0

    def set_rates(step: int) -> float:
        """What the optimizers use at this step; the learning rate for the log."""
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


def state_of(learner: Learner, tokenizer_sha256: str) -> dict[str, Any]:
    """What a checkpoint's state.json says, beside the losses."""
    return {
        "step": learner.step,
        "tokens": learner.tokens,
        "seconds": learner.watch.read(),
        "model": asdict(learner.model.config),
        "tokenizer_sha256": tokenizer_sha256,
        "scaler": learner.scaler.state_dict(),
        "lora_scale": lora_scale(learner.model),
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
        """A checkpoint if one is due; all ranks leave together."""
        if runtime.is_main and (final or settings.loop.always_save_checkpoint or improves(run, row)):
            state = state_of(learner, data.meta.tokenizer_sha256) | {
                key: row[key] for key in ("loss", "val_loss") if key in row
            }
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
        save_snapshot(run, state_of(learner, data.meta.tokenizer_sha256), dict(learner.model.named_parameters()))


def resume_hint(settings: TrainSettings) -> str:
    """The command that goes on with this run."""
    return f"Go on with: inkling train --out_dir={settings.run.out_dir} --resume"
