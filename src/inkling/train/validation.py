"""Losses while training, over fixed tokens: the same whatever the batch size and the number of ranks."""

from collections.abc import Callable, Sequence

import torch

from inkling.data.batches import BatchPlan, to_device
from inkling.data.mixture import Mixture, Rows
from inkling.model.gpt import GPT
from inkling.runtime import Runtime
from inkling.train.parallel import sum_over_ranks


def estimate_loss(
    model: GPT,
    data: Mixture,
    plan: BatchPlan,
    runtime: Runtime,
    seed: int,
    eval_iters: int,
    eval_tokens: int,
) -> dict[str, float]:
    """Nats per token: `val_loss` over fixed windows, `train_loss` estimated over eval_iters batches.

    Of a mixture, `val_loss` weights the losses of its data sets as training does, and `val_loss/NAME` are
    those losses. Takes the plain module, not the compiled one: evaluation has shapes of its own (the short
    last window), and compiling for each of them would cost more than it gains.
    """
    model.eval()
    losses = {
        part.name: validation_loss(
            model, data.eval_batches(source, plan.block_size, eval_tokens, plan.batch_size), runtime
        )
        for source, part in enumerate(data.parts)
    }
    val_loss = sum(weight * loss for weight, loss in zip(data.weights, losses.values(), strict=True))
    nats, count = 0.0, 0.0
    for i in range(runtime.rank, eval_iters, runtime.world_size):
        batch = data.batch(plan.block_size, seed, i * plan.batch_size, plan.batch_size, stream="estimate")
        micro_nats, micro_count = batch_nats(model, batch, runtime)
        nats, count = nats + micro_nats, count + micro_count
    nats, count = sum_over_ranks([nats, count], runtime)
    found = {"train_loss": nats / max(1.0, count), "val_loss": val_loss}
    return found | {f"val_loss/{name}": loss for name, loss in losses.items() if len(losses) > 1}


def validation_loss(model: GPT, batches: Sequence[Callable[[], Rows]], runtime: Runtime) -> float:
    """Mean nats over all batches, weighted by tokens. Each rank takes its share."""
    nats, count = 0.0, 0.0
    for make_batch in batches[runtime.rank :: runtime.world_size]:
        job_nats, job_count = batch_nats(model, make_batch(), runtime)
        nats, count = nats + job_nats, count + job_count
    nats, count = sum_over_ranks([nats, count], runtime)
    return nats / max(1.0, count)


@torch.no_grad()
def batch_nats(model: GPT, batch: tuple[torch.Tensor, ...], runtime: Runtime) -> tuple[float, int]:
    """(sum of nats, number of targets) of one batch."""
    nats, count = model(*to_device(batch, runtime.device))
    return nats.item(), int(count)
