"""Exercise 6: batches and windows by their properties, the update against one big batch, the rest against inkling."""

import copy
import math
from types import ModuleType

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from inkling.data.batches import eval_windows
from inkling.learn.compare import right, same
from inkling.learn.numbers import random_ids, random_tensor
from inkling.train.schedule import ScheduleSettings, lr_factor

V = 7


class Table(nn.Module):
    """The smallest language model: a row of logits for each token; and dropout, to see whether it is switched off."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.logits = nn.Parameter(random_tensor(V, V, seed=1))
        self.dropout = nn.Dropout(dropout)
        self.lengths: list[int] = []

    def forward(self, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        self.lengths.append(ids.size(1))
        logits = self.dropout(self.logits)[ids].flatten(0, 1)
        nats = nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=-1, reduction="sum")
        return nats, (targets != -1).sum()


def check_batch(mine: ModuleType) -> None:
    """get_batch: rows of neighbours, and the targets one place further"""
    tokens = np.arange(1000, 1100, dtype=np.uint16)  # so that a token says where it stood
    ids, targets = mine.get_batch(tokens, 8, 5, seed=3, step=0)
    for name, tensor in (("ids", ids), ("targets", targets)):
        right(isinstance(tensor, Tensor), f"{name} should be a tensor, not {type(tensor).__name__}.")
        right(tuple(tensor.shape) == (5, 8), f"{name}: expected the shape (5, 8), got {tuple(tensor.shape)}.")
        right(tensor.dtype == torch.int64, f"{name}: expected torch.int64, got {tensor.dtype}.")
    same("the ids of a row", ids[0], torch.arange(8) + ids[0, 0])
    unmoved = "The targets are the ids themselves: the model would learn to copy. Move the window by one."
    same("the targets", targets, ids + 1, {unmoved: ids, "The targets stand two places further, not one.": ids + 2})


def check_batch_is_a_function(mine: ModuleType) -> None:
    """get_batch: the same for the same step, another for another step or seed"""
    tokens = np.arange(1000, dtype=np.uint16)
    first = mine.get_batch(tokens, 4, 6, seed=1, step=2)[0]
    again = mine.get_batch(tokens, 4, 6, seed=1, step=2)[0]
    state = "It draws from a generator that remembers. Make one from [seed, step] within the function."
    right(torch.equal(first, again), "The same step gave another batch.", state)
    right(not torch.equal(first, mine.get_batch(tokens, 4, 6, 1, 3)[0]), "Another step gave the same batch.")
    right(not torch.equal(first, mine.get_batch(tokens, 4, 6, 2, 2)[0]), "Another seed gave the same batch.")


def check_batch_reaches_all(mine: ModuleType) -> None:
    """get_batch: every window can come, the first and the last included, and none beyond the end"""
    tokens = np.arange(10, dtype=np.uint16)
    seen: set[int] = set()
    for step in range(60):
        ids, targets = mine.get_batch(tokens, 4, 8, 0, step)
        right(ids.shape == targets.shape == (8, 4), "A window beyond the end is too short.")
        seen |= set(ids[:, 0].tolist())
    last = "Off by one: with 10 tokens and windows of 4, the last one begins at 5 and its last target is token 9."
    same("where windows begin in 480 draws", sorted(seen), [0, 1, 2, 3, 4, 5], {last: [0, 1, 2, 3, 4]})


def check_rate(mine: ModuleType) -> None:
    """rate_at: warmup, peak, cosine, floor; equal to inkling's"""
    settings = ScheduleSettings(warmup_iters=10)
    names = {0: "the first step (it must not be 0)", 9: "the last step of the warmup", 10: "the peak", 55: "half way"}
    for step in (0, 4, 9, 10, 11, 55, 99, 100, 500):
        expected = 2.0 * lr_factor(settings, step, 100, floor=0.1)
        what = f"rate_at({step}, peak=2.0, warmup=10, max_iters=100), {names.get(step, 'on the way')}"
        zero = {"The first step would change nothing: (step + 1) / (warmup + 1).": 2.0 * step / 10}
        up = {"After max_iters the cosine rises again; stop progress at 1.": 2.0 * (0.1 + 0.9 * _cosine(step))}
        same(what, mine.rate_at(step, 2.0, 10, 100), expected, zero if step < 10 else up)
    same("rate_at(0, peak=1.0, warmup=0, max_iters=0)", mine.rate_at(0, 1.0, 0, 0), 1.0)


def check_accumulation(mine: ModuleType) -> None:
    """train_step: micro-batches with different numbers of targets do what one big batch does"""
    batches = _uneven()
    model = Table()
    start = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    loss = mine.train_step(model, optimizer, batches, clip=1e9)
    n_targets = sum(int((targets != -1).sum()) for _, targets in batches)
    nats = [start(*batch) for batch in batches]
    means = sum(part / count for part, count in nats) / len(nats)
    whole = sum(part for part, _ in nats) / n_targets
    weighed = "The mean of means: weigh by targets. Divide each micro-batch's nats by the number of targets of all."
    rows = sum(part / batch[0].numel() for (part, _), batch in zip(nats, batches, strict=True))
    mistakes = {
        weighed: _after(start, means),
        "The micro-batches' means were added up; nothing divides by their number.": _after(start, means * len(nats)),
        "The gradient was not divided by the number of targets.": _after(start, whole * n_targets),
        "Targets of −1 do not count.": _after(start, rows),
        "Only the last micro-batch was used: do not set the gradients to zero between them.": _after(
            start, nats[-1][0] / n_targets
        ),
        "Nothing was updated: optimizer.step() is missing.": start.logits,
    }
    same("the weights after a step", model.logits, _after(start, whole), mistakes)
    same("the returned loss", loss, whole.item(), {weighed: means.item()})


def check_old_gradients(mine: ModuleType) -> None:
    """train_step: nothing is left of an earlier step's gradient"""
    batches = _uneven()
    model, expected = Table(), Table()
    for each in (model, expected):
        optimizer = torch.optim.SGD(each.parameters(), lr=1.0)
        if each is model:
            each.logits.grad = torch.ones(V, V)
        mine.train_step(each, optimizer, batches, 1e9)
    left = "An old gradient was left in it: optimizer.zero_grad() before the first backward."
    same("the weights", model.logits, expected.logits, {left: expected.logits - 1})


def check_clip(mine: ModuleType) -> None:
    """train_step: a gradient longer than `clip` is shortened to it, after all micro-batches"""
    model = Table()
    before = model.logits.detach().clone()
    mine.train_step(model, torch.optim.SGD(model.parameters(), lr=1.0), _uneven(), clip=0.01)
    moved = float((model.logits.detach() - before).norm())
    same("how far SGD with rate 1 and clip=0.01 moved the weights", moved, 0.01)


def check_evaluate(mine: ModuleType) -> None:
    """evaluate: every token but the first is a target once, the short last window included"""
    tokens = random_ids(23, below=V, seed=9).numpy().astype(np.uint16)
    model = Table()
    got = mine.evaluate(model, tokens, 5)
    lengths, model.lengths = model.lengths, []
    parts = []
    for start, length in eval_windows(tokens, 5, len(tokens)):
        window = torch.from_numpy(tokens[start : start + length + 1].astype(np.int64)).unsqueeze(0)
        nats, count = model(window[:, :-1], window[:, 1:])
        parts.append((nats.item(), int(count)))
    expected = sum(nats for nats, _ in parts) / sum(count for _, count in parts)
    mistakes = {
        "The mean of the windows' means: the short last one weighs too much.": sum(n / c for n, c in parts)
        / len(parts),
        "The short last window is missing.": sum(n for n, _ in parts[:-1]) / sum(c for _, c in parts[:-1]),
    }
    same(f"evaluate on 23 tokens (windows seen: {lengths})", got, expected, mistakes)
    right(model.logits.grad is None, "evaluate left a gradient behind.")


def check_evaluate_without_dropout(mine: ModuleType) -> None:
    """evaluate: dropout is off meanwhile, and the mode is as it was afterwards"""
    tokens = random_ids(40, below=V, seed=10).numpy().astype(np.uint16)
    plain, model = Table(), Table(dropout=0.5)
    model.train()
    same("the loss of a model with dropout", mine.evaluate(model, tokens, 8), mine.evaluate(plain, tokens, 8))
    right(model.training, "The model was training before, and is not any more.", "Put back model.train().")
    model.eval()
    mine.evaluate(model, tokens, 8)
    right(not model.training, "The model was not training before, and now it is.", "Put back the mode it had.")


def _uneven() -> list[tuple[Tensor, Tensor]]:
    """Two micro-batches: one full of targets, one with few."""
    ids, targets = random_ids(4, 3, 5, below=V, seed=11).unbind(0)[:2], random_ids(2, 3, 5, below=V, seed=12)
    few = targets[1].clone()
    few[:, 1:] = -1
    return [(ids[0], targets[0]), (ids[1], few)]


def _after(model: Table, loss: Tensor) -> Tensor:
    """The weights after a step of SGD with rate 1 on `loss`."""
    (gradient,) = torch.autograd.grad(loss, model.logits, retain_graph=True)
    return model.logits.detach() - gradient


def _cosine(step: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * (step - 10) / 90))
