"""get_batch: the batch at step s, a pure function of (data, seed, s).

One epoch cuts the tokens into windows of `block_size` and visits each once, in an order that a key
decides; the next epoch shifts the cuts and draws a new order. (Windows drawn with replacement would miss
37 % of the text in an epoch's worth of steps.) Nothing is remembered between calls, so a resumed run sees
the batches that it would have seen, and each rank takes its own rows of the same global batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from inkling.errors import UserError
from inkling.keyed import words


@dataclass(frozen=True)
class DataSettings:
    """data"""

    dataset: str = ""
    """name below ./data, or a folder made by `inkling prepare`; several with weights: a:0.7,b:0.3"""
    packing: Literal["stream", "crop", "pad"] = "stream"
    """stream: rows are windows of all text, cut anywhere. crop, pad: rows begin with a document and are filled with
    others that fit; what is left of a row gets a part of one more (crop) or nothing (pad)"""
    loss_on: Literal["answers", "all"] = "answers"
    """of conversations: answers: the assistant learns what it says, and nothing else is a target; all: they are read as
    text (midtraining)"""
    document_mask: bool = False
    """packed documents do not see each other"""
    batch_size: int = 12
    """rows in a micro-batch: what one process pushes through the model at once"""
    gradient_accumulation_steps: int | None = None
    """micro-batches in a step, over all ranks together; None: one for each rank"""
    tokens_per_step: int | None = None
    """tokens in a step, over all ranks together; another way to say the line above"""


@dataclass(frozen=True)
class BatchPlan:
    """How the rows of a step are shared out. Rows are numbered through the step, over all ranks."""

    batch_size: int
    micro_steps: int
    rank: int
    world_size: int
    block_size: int

    @property
    def rows_per_step(self) -> int:
        return self.batch_size * self.micro_steps * self.world_size

    @property
    def tokens_per_step(self) -> int:
        return self.rows_per_step * self.block_size

    def first_row(self, step: int, micro_step: int) -> int:
        """Number, counted from the start of the run, of this rank's first row in a micro-batch."""
        return step * self.rows_per_step + (micro_step * self.world_size + self.rank) * self.batch_size


def plan_batches(settings: DataSettings, block_size: int, rank: int = 0, world_size: int = 1) -> BatchPlan:
    """Reconcile batch_size, gradient_accumulation_steps, tokens_per_step and the number of ranks."""
    rows, asked = settings.batch_size, settings.gradient_accumulation_steps
    if rows < 1 or (asked is not None and asked < 1):
        raise UserError("batch_size and gradient_accumulation_steps must be at least 1.", status=2)
    micro_batches = asked if asked is not None else world_size
    if settings.tokens_per_step is not None:
        micro_batches, rest = divmod(settings.tokens_per_step, rows * block_size)
        if rest or not micro_batches:
            raise UserError(
                f"tokens_per_step={settings.tokens_per_step} is not a multiple of batch_size × block_size "
                f"= {rows} × {block_size} = {rows * block_size}.",
                "Change one of the three.",
                status=2,
            )
        if asked is not None and asked != micro_batches:
            raise UserError(
                f"gradient_accumulation_steps={asked} means {asked * rows * block_size} tokens a step, "
                f"but tokens_per_step={settings.tokens_per_step}.",
                "Give one of them, not both.",
                status=2,
            )
    if micro_batches % world_size:
        raise UserError(
            f"{micro_batches} micro-batches a step cannot be shared by {world_size} processes.",
            f"Make gradient_accumulation_steps a multiple of {world_size}; a smaller batch_size gives more of them.",
            status=2,
        )
    return BatchPlan(rows, micro_batches // world_size, rank, world_size, block_size)


def check_length(tokens: np.ndarray, block_size: int, file: str) -> None:
    """Refuse data that does not hold one window and the token after it."""
    if len(tokens) < block_size + 1:
        raise UserError(
            f"{file} has {len(tokens)} tokens, too few for one window of block_size={block_size} and its targets.",
            f"Use --block_size={max(1, len(tokens) - 1)} or less, or prepare more text.",
        )


def get_batch(
    tokens: np.ndarray, block_size: int, seed: int, first_row: int, rows: int, stream: str = "train"
) -> tuple[Tensor, Tensor]:
    """Rows first_row … first_row + rows of the endless stream of windows: (ids, targets), both (B, T) int64.

    `stream` names an independent order: the estimate of the training loss draws from another one.
    """
    starts = window_starts(len(tokens), block_size, seed, np.arange(first_row, first_row + rows), stream)
    windows = np.stack([tokens[start : start + block_size + 1] for start in starts])  # (B, T + 1)
    both = torch.from_numpy(windows.astype(np.int64))
    return both[:, :-1].contiguous(), both[:, 1:].contiguous()


def window_starts(n_tokens: int, block_size: int, seed: int, rows: np.ndarray, stream: str = "train") -> np.ndarray:
    """Where each of `rows` starts in the tokens."""
    # One window fewer than fit, where there are several, leaves room to shift the cuts from epoch to epoch.
    fit = (n_tokens - 1) // block_size
    windows = max(1, fit - 1)
    slack = min(block_size, n_tokens - 1 - windows * block_size + 1)
    starts = np.empty(len(rows), dtype=np.int64)
    epochs = rows // windows
    for epoch in np.unique(epochs):
        keys = words(5, "windows", stream, seed, int(epoch))
        chosen = epochs == epoch
        order = shuffled(rows[chosen] % windows, windows, keys[1:])
        starts[chosen] = int(keys[0] % np.uint64(slack)) + block_size * order
    return starts


def shuffled(index: np.ndarray, size: int, keys: np.ndarray) -> np.ndarray:
    """Where a keyed permutation of 0 … size-1 sends `index`, without building the permutation.

    A Feistel network of four rounds (Luby and Rackoff 1988) permutes the numbers of 2·h bits, the next power
    of four; a number that falls outside `size` is sent on until it falls inside (Black and Rogaway 2002).
    """
    half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
    low = np.uint64((1 << int(half)) - 1)
    result = index.astype(np.uint64)
    outside = np.ones(len(result), dtype=bool)
    while outside.any():
        left, right = result[outside] >> half, result[outside] & low
        for key in keys:
            left, right = right, left ^ (_mix(right ^ key) & low)
        result[outside] = left << half | right
        outside = result >= size
    return result.astype(np.int64)


def _mix(x: np.ndarray) -> np.ndarray:
    """Scatter 64 bits, by the finaliser of Steele et al. 2014, "Fast Splittable Pseudorandom Number Generators"."""
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)


def to_device(batch: Sequence[Tensor], device: str) -> list[Tensor]:
    """Copy a batch's tensors; to a GPU from pinned memory, so that the copy does not hold up the host."""
    if device.startswith("cuda"):
        return [tensor.pin_memory().to(device, non_blocking=True) for tensor in batch]
    return [tensor.to(device) for tensor in batch]


def eval_windows(tokens: np.ndarray, block_size: int, eval_tokens: int) -> list[tuple[int, int]]:
    """(start, length) of the non-overlapping windows that validation reads, the short last one included."""
    targets = min(len(tokens), eval_tokens) - 1
    return [(start, min(block_size, targets - start)) for start in range(0, targets, block_size)]
