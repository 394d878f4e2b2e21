"""Losses while training, over fixed tokens: the same whatever the batch size and the number of ranks."""

import numpy as np
import torch

from inkling.data.batches import BatchPlan, eval_windows, to_device
from inkling.data.mixture import Mixture
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
        part.name: validation_loss(model, part.val, plan.block_size, eval_tokens, plan.batch_size, runtime)
        for part in data.parts
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


def validation_loss(
    model: GPT, tokens: np.ndarray, block_size: int, eval_tokens: int, rows: int, runtime: Runtime
) -> float:
    """Mean nats over non-overlapping windows of the first `eval_tokens` tokens, weighted by tokens."""
    windows = eval_windows(tokens, block_size, eval_tokens)
    whole = [start for start, length in windows if length == block_size]
    groups = [whole[i : i + rows] for i in range(0, len(whole), rows)]
    jobs = [(group, block_size) for group in groups]
    jobs += [([start], length) for start, length in windows if length < block_size]
    nats, count = 0.0, 0.0
    for starts, length in jobs[runtime.rank :: runtime.world_size]:
        both = torch.from_numpy(np.stack([tokens[s : s + length + 1] for s in starts]).astype(np.int64))
        job_nats, job_count = batch_nats(model, (both[:, :-1], both[:, 1:]), runtime)
        nats, count = nats + job_nats, count + job_count
    nats, count = sum_over_ranks([nats, count], runtime)
    return nats / max(1.0, count)


@torch.no_grad()
def batch_nats(model: GPT, batch: tuple[torch.Tensor, ...], runtime: Runtime) -> tuple[float, int]:
    """(sum of nats, number of targets) of one batch."""
    nats, count = model(*to_device(batch, runtime.device))
    return nats.item(), int(count)
