"""The one training loop: pretraining, finetuning, SFT and RL pass it other batches.

A step is: forward and backward for each micro-batch, weighted so that the gradient is that of the mean
over all target tokens of the whole step; clip; update. Everything that a step uses (batch, dropout,
rates) is a function of its number, so that a resumed run repeats it exactly.
"""

import math
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inkling.data.batches import BatchPlan, to_device
from inkling.errors import UserError
from inkling.ids import IGNORE
from inkling.keyed import seed_for
from inkling.model.gpt import GPT
from inkling.runtime import Runtime
from inkling.train.health import HealthProbe
from inkling.train.parallel import sum_over_ranks, sync_only_if
from inkling.train.progress import Progress, Stopwatch

Batch = tuple[Tensor, ...]  # ids, targets and, where there are any, documents and weights; each (B, T)


@dataclass(frozen=True)
class LoopSettings:
    """training"""

    max_iters: int = 600000
    """steps in all"""
    max_seconds: float = 0.0
    """end the run, evaluated and saved, after this many seconds of training; 0: no limit"""
    eval_interval: int = 2000
    """steps between evaluations; each also saves a checkpoint"""
    eval_iters: int = 200
    """batches in the estimate of the training loss (validation reads fixed tokens, see eval_tokens)"""
    eval_tokens: int = 2**20
    """the validation loss is over this many tokens at most, from the start of the validation data"""
    eval_only: bool = False
    """evaluate once and stop"""
    log_interval: int = 10
    """steps between printed lines, where the output is not a terminal"""
    always_save_checkpoint: bool = True
    """False: save at an evaluation only if the validation loss is the best so far (and always at the end)"""
    keep_last: int = 2
    """how many recent checkpoints to keep, beside the best"""
    recompute: bool = False
    """keep only each block's input for the backward pass and compute the rest again: less memory, a third more work"""
    health_interval: int = 100
    """steps between measurements of gradient, weight and update norms by part (needs a copy of the weights); 0: off"""
    snapshots: int = 12
    """weights-only snapshots at logarithmic steps, to watch the run learning; 0: none"""


def check_loop(settings: LoopSettings) -> None:
    """Refuse numbers that make no training."""
    least = {"max_iters": 1, "max_seconds": 0, "eval_interval": 1, "eval_iters": 1, "eval_tokens": 2}
    least |= {"log_interval": 1, "keep_last": 1, "snapshots": 0, "health_interval": 0}
    for name, minimum in least.items():
        value = getattr(settings, name)
        if not value >= minimum:
            raise UserError(f"{name}={value:g} must be at least {minimum}.", status=2)


@dataclass
class Learner:
    """What changes while training."""

    model: GPT  # the plain module: evaluated and saved
    module: nn.Module  # the same weights, perhaps compiled, perhaps synchronised over ranks: trained
    optimizers: list[Optimizer]
    scaler: torch.amp.GradScaler  # does nothing unless the dtype is float16
    step: int = 0  # updates done
    tokens: int = 0  # tokens trained on, over all ranks
    watch: Stopwatch = field(default_factory=Stopwatch)


@dataclass(frozen=True)
class Pending:
    """A step whose numbers are still on the device."""

    step: int
    tokens: int
    seconds: float
    ms: float
    lr: float
    step_tokens: int
    n_targets: float
    nats: Tensor
    grad_norm: Tensor
    health: dict[str, Tensor]
    facts: dict[str, Any]


def train(
    learner: Learner,
    settings: LoopSettings,
    plan: BatchPlan,
    runtime: Runtime,
    seed: int,
    grad_clip: float,
    set_rates: Callable[[int], float],
    micro_batch: Callable[[int], Batch],
    evaluate: Callable[[], dict[str, float]],
    save: Callable[[dict[str, Any], bool], None],
    snapshot: Callable[[], None],
    progress: Progress,
    facts: Callable[[int], dict[str, Any]] = lambda step: {},
) -> str:
    """Train until max_iters, max_seconds or a signal; returns "done", "out of time" or "interrupted".

    `set_rates(step)` sets the optimizers' rates and returns the learning rate; `micro_batch(first_row)` gives
    this rank's rows; `save(row, final)` writes a checkpoint; `facts(step)` is what else a step's row of metrics.jsonl
    says of its batch. Raises UserError naming the step when the loss stops being finite; nothing is saved after that.
    """
    snapshot_steps = log_steps(settings.max_iters, settings.snapshots)
    pending: Pending | None = None
    ended = "done"

    learner.module.train()
    with catch_signals() as caught:
        while learner.step < settings.max_iters:
            learner.watch.run()
            seconds = learner.watch.read()
            late = 0 < settings.max_seconds <= seconds
            batches = [micro_batch(plan.first_row(learner.step, m)) for m in range(plan.micro_steps)]
            local_targets = sum(int((targets != IGNORE).sum()) for _, targets, *_ in batches)
            local: list[float] = [local_targets, sum(ids.numel() for ids, *_ in batches), bool(caught), late]
            n_targets, n_tokens, n_caught, n_late = sum_over_ranks(local, runtime)
            if n_caught or n_late:  # one rank's signal is everybody's
                ended = "interrupted" if n_caught else "out of time"
                break

            lr = set_rates(learner.step)
            probe = HealthProbe(learner.model) if is_measured(learner.step, settings.health_interval) else None
            nats, grad_norm, health = update(learner, batches, n_targets, grad_clip, plan, runtime, seed, probe)
            known, step_tokens = facts(learner.step), int(n_tokens)
            learner.step += 1
            learner.tokens += step_tokens
            # The numbers of a step are read one step late, so that a GPU always has the next one queued.
            if pending is not None:
                progress.step(read(pending, runtime))
            now = learner.watch.read()
            ms = 1000 * (now - seconds)
            pending = Pending(
                learner.step, learner.tokens, now, ms, lr, step_tokens, n_targets, nats, grad_norm, health, known
            )

            if learner.step in snapshot_steps:
                learner.watch.pause()
                snapshot()
            if learner.step % settings.eval_interval == 0 and learner.step < settings.max_iters:
                checkpoint(learner, read(pending, runtime), evaluate, save, progress, final=False)
                pending = None
        if pending is not None:
            # Whoever pressed Ctrl-C wants out: an interrupted run saves and does not evaluate.
            measure = None if ended == "interrupted" else evaluate
            checkpoint(learner, read(pending, runtime), measure, save, progress, final=True)
    return ended


def checkpoint(
    learner: Learner,
    row: dict[str, Any],
    evaluate: Callable[[], dict[str, float]] | None,
    save: Callable[[dict[str, Any], bool], None],
    progress: Progress,
    final: bool,
) -> None:
    """Evaluate, report and save one step, off the clock. `row` is the step's numbers."""
    learner.watch.pause()
    if evaluate is not None:
        losses = evaluate()
        refuse_divergence(learner.step, losses.values())  # so that no such weights are saved
        row |= losses
    progress.step(row)
    save(row, final)
    learner.module.train()


def update(
    learner: Learner,
    batches: Sequence[Batch],
    n_targets: float,
    grad_clip: float,
    plan: BatchPlan,
    runtime: Runtime,
    seed: int,
    probe: HealthProbe | None = None,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """One optimizer step over this rank's micro-batches → (sum of nats of this rank, gradient norm, health)."""
    total = torch.zeros((), device=runtime.device)
    for micro_step, batch in enumerate(batches):
        # Dropout is keyed by the rows it falls on, not by how many draws came before.
        torch.manual_seed(seed_for("dropout", seed, plan.first_row(learner.step, micro_step)))
        with sync_only_if(micro_step == len(batches) - 1, learner.module):
            nats, _ = learner.module(*to_device(batch, runtime.device))
            # The mean over the targets of all ranks and micro-batches. Synchronising averages over the ranks,
            # hence their number.
            loss = nats * (runtime.world_size / max(1.0, n_targets))
            learner.scaler.scale(loss).backward()
        total = total + nats.detach()
    for optimizer in learner.optimizers:
        learner.scaler.unscale_(optimizer)
    if probe is not None:
        probe.before()
    grad_norm = nn.utils.clip_grad_norm_(learner.model.parameters(), grad_clip or math.inf)
    # In float16 a gradient may overflow. The clipping has then spread it over all parameters, so no optimizer may
    # use it; each by itself the scaler would hold back only the one whose gradient it was.
    if not learner.scaler.is_enabled() or torch.isfinite(grad_norm):
        for optimizer in learner.optimizers:
            learner.scaler.step(optimizer)
    learner.scaler.update()
    for optimizer in learner.optimizers:
        optimizer.zero_grad(set_to_none=True)
    return total, grad_norm, probe.after() if probe is not None else {}


def read(pending: Pending, runtime: Runtime) -> dict[str, Any]:
    """Wait for a step's numbers → its row of metrics.jsonl. A loss that is not finite ends the run."""
    (nats,) = sum_over_ranks([pending.nats.item()], runtime)
    loss = nats / max(1.0, pending.n_targets)
    refuse_divergence(pending.step, [loss])
    return {
        "step": pending.step,
        "tokens": pending.tokens,
        "seconds": round(pending.seconds, 4),
        "loss": loss,
        "lr": pending.lr,
        "grad_norm": pending.grad_norm.item(),
        "ms": round(pending.ms, 3),
        "tokens_per_second": round(pending.step_tokens / max(pending.ms / 1000, 1e-9), 1),
        **pending.facts,
    } | {name: norm.item() for name, norm in pending.health.items()}


def refuse_divergence(step: int, losses: Iterable[float]) -> None:
    """End the run when a loss is no number any more."""
    for loss in losses:
        if not math.isfinite(loss):
            raise UserError(
                f"The loss of step {step} is {loss}: training has diverged.",
                "The last checkpoint before it is kept. Lower learning_rate (or matrix_lr), lengthen warmup_iters, "
                "or use --dtype=float32; then train anew, or go on from the checkpoint with --resume.",
            )


def is_measured(step: int, interval: int) -> bool:
    """Whether health is taken at this step: the first, so that want of memory shows at once, and each interval-th."""
    return interval > 0 and (step == 0 or (step + 1) % interval == 0)


def log_steps(max_iters: int, count: int) -> set[int]:
    """About `count` steps from 1 to max_iters, each the same factor after the one before."""
    if count < 1:
        return set()
    return {round(max_iters ** (i / max(1, count - 1))) for i in range(count)}


@contextmanager
def catch_signals() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM are written down, so that the loop can end between two steps. The second one kills."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers only there
        yield caught
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: Any) -> None:
        caught.append(number)
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
