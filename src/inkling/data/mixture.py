"""Several data sets as one: `--dataset=a:0.7,b:0.3` takes seven rows of ten from a and three from b.

Which data set a row comes from, and which of its windows that is, are functions of the row's number, as
everything about a batch is. Rows of a data set are spread evenly over a cycle, so that every batch is about
the mixture, and not only the average batch.
"""

import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from inkling.data.batches import check_length, eval_windows, get_batch
from inkling.data.packing import Mode, Plan, load_plan, make_plan, packed_batch, plan_key, rows_of_plan, save_plan
from inkling.data.shards import Dataset, Meta, open_dataset
from inkling.errors import UserError

# Rows after which the pattern of data sets repeats; a weight is rounded to a multiple of 1 / CYCLE.
CYCLE = 1024

Rows = tuple[Tensor, ...]
"""ids, targets and, with a document mask, documents; each (B, T) int64"""


@dataclass(frozen=True)
class Mixture:
    """Opened data sets of one tokenizer, with weights that sum to 1. One data set is a mixture of one."""

    parts: Sequence[Dataset]
    weights: Sequence[float]
    answers_only: bool = False
    """of conversations, only what the assistant says is a target"""
    plans: Sequence[Plan] = ()
    """how the documents of each part are packed; none: rows are windows of the stream"""
    val_plans: Sequence[Plan | None] = ()
    """the same for what validates, of the parts that are conversations"""
    document_mask: bool = False

    @property
    def meta(self) -> Meta:
        """What all parts agree on: vocabulary, dtype, tokenizer."""
        return self.parts[0].meta

    @property
    def tokenizer_file(self) -> Path:
        return self.parts[0].path / self.meta.tokenizer

    @property
    def describe(self) -> str:
        """The data sets and their shares, in words."""
        if len(self.parts) == 1:
            return str(self.parts[0].path)
        return ", ".join(f"{weight:.3g} {part.path}" for part, weight in zip(self.parts, self.weights, strict=True))

    def check_length(self, block_size: int) -> None:
        """Refuse a part that holds no window of `block_size`, or nothing to validate on."""
        for part in self.parts:
            check_length(part.train, block_size, str(part.path / "train.bin"))
            check_length(part.val, 1, str(part.path / "val.bin"))

    def has_answers(self, part: Dataset) -> bool:
        """Whether a part is of conversations whose answers alone are targets."""
        return self.answers_only and part.meta.has_mask

    def check_packing(self, mode: Mode | Literal["stream"], document_mask: bool) -> None:
        """Refuse to pack what has no marks between its documents, and to mask what is not packed."""
        for part in self.parts:
            if self.has_answers(part) and mode != "pad":
                raise UserError(
                    f"{part.path} holds conversations, which are packed whole.",
                    "Add --packing=pad; or --loss_on=all, to read them as text.",
                )
        if mode == "stream":
            if document_mask:
                raise UserError("--document_mask is for packed rows.", "Add --packing=pad or --packing=crop.", status=2)
            return
        for part in self.parts:
            if part.meta.separator == "none" and not part.meta.has_mask:  # a conversation ends with its own marks
                raise UserError(
                    f"{part.path} has nothing between its documents, so they cannot be packed.",
                    "Use --packing=stream, or prepare it with a tokenizer that has a mark for it, such as gpt2.",
                )

    def packed(self, row_length: int, mode: Mode, document_mask: bool, seed: int, keep: bool) -> "Mixture":
        """The same data in packed rows. `keep` writes plans that are new beside the data, for the next time."""
        plans = []
        val_plans: list[Plan | None] = []
        for part in self.parts:
            truncate = self.has_answers(part)
            key = plan_key(part.meta.train.idx_sha256, row_length, mode, seed, truncate)
            plan = load_plan(part.path, key)
            if plan is None:
                plan = make_plan(part.train_starts, len(part.train), row_length, mode, seed, truncate)
                if keep:
                    with suppress(OSError):  # a folder that cannot be written to costs the time of planning anew
                        save_plan(part.path, key, plan)
            plans.append(plan)
            # Not of this run's seed: all runs are measured on the same rows.
            val_plans.append(make_plan(part.val_starts, len(part.val), row_length, mode, 0, True) if truncate else None)
        return replace(self, plans=plans, val_plans=val_plans, document_mask=document_mask)

    def batch(self, block_size: int, seed: int, first_row: int, rows: int, stream: str = "train") -> Rows:
        """Rows first_row … first_row + rows: ids, targets and, with `document_mask`, documents, each (B, T)."""
        if len(self.parts) == 1:
            return self._of_part(0, block_size, seed, first_row, rows, stream)
        sources, numbers = assign(np.arange(first_row, first_row + rows), tuple(self.weights))
        whole = [torch.empty(rows, block_size, dtype=torch.int64) for _ in range(2 + self.document_mask)]
        for source in np.unique(sources):
            places = torch.from_numpy(sources == source)
            # The rows that a data set gives to a batch follow each other in its own numbering.
            first, count = int(numbers[sources == source][0]), int(places.sum())
            part = self._of_part(int(source), block_size, seed, first, count, f"{stream}/{source}")
            for tensor, rows_of_part in zip(whole, part, strict=True):
                tensor[places] = rows_of_part
        return tuple(whole)

    def _of_part(self, source: int, block_size: int, seed: int, first_row: int, rows: int, stream: str) -> Rows:
        part = self.parts[source]
        if not self.plans:
            return get_batch(part.train, block_size, seed, first_row, rows, stream)
        # After an end-of-text mark anything may follow; a beginning-of-sequence mark is what ends the text before it.
        ends_matter = part.meta.separator == "bos_before"
        plan = self.plans[source]
        mask = part.train_mask if self.has_answers(part) else None
        packed = packed_batch(part.train, plan, block_size, seed, first_row, rows, stream, ends_matter, mask)
        return packed if self.document_mask else packed[:2]

    def eval_batches(self, source: int, block_size: int, eval_tokens: int, rows: int) -> Sequence[Callable[[], Rows]]:
        """What a part is validated on, at most `eval_tokens` of it, in batches of at most `rows` rows.

        Text is read in windows that do not overlap, conversations in rows of their plan. Each entry makes its batch
        when it is called. Which tokens are read does not depend on `rows`.
        """
        part = self.parts[source]
        plan = self.val_plans[source] if self.val_plans else None
        if plan is not None:
            found = np.arange(min(len(plan), max(1, eval_tokens // block_size)))
            return [
                partial(self._eval_rows, source, block_size, found[i : i + rows]) for i in range(0, len(found), rows)
            ]
        return window_batches(part.val, block_size, eval_tokens, rows)

    def _eval_rows(self, source: int, block_size: int, numbers: np.ndarray) -> Rows:
        part, plan = self.parts[source], self.val_plans[source]
        assert plan is not None
        packed = rows_of_plan(part.val, plan, block_size, numbers, mask=part.val_mask)
        return packed if self.document_mask else packed[:2]


def window_batches(tokens: np.ndarray, block_size: int, eval_tokens: int, rows: int) -> list[Callable[[], Rows]]:
    """The first `eval_tokens` of a stream in windows that do not overlap, in batches of at most `rows`.

    The short last window is a batch of its own.
    """
    windows = eval_windows(tokens, block_size, eval_tokens)
    whole = [start for start, length in windows if length == block_size]
    batches: list[Callable[[], Rows]] = [
        partial(_windows, tokens, whole[i : i + rows], block_size) for i in range(0, len(whole), rows)
    ]
    return batches + [partial(_windows, tokens, [s], length) for s, length in windows if length < block_size]


def _windows(tokens: np.ndarray, starts: list[int], length: int) -> Rows:
    both = torch.from_numpy(np.stack([tokens[start : start + length + 1] for start in starts]).astype(np.int64))
    return both[:, :-1], both[:, 1:]


def open_mixture(text: str, answers_only: bool = False) -> Mixture:
    """What `--dataset` says, a name or path or `a:0.7,b:0.3`, opened and checked."""
    names, weights = parse_mixture(text)
    parts = [open_dataset(name) for name in names]
    for part in parts[1:]:
        if part.name in [other.name for other in parts if other is not part]:
            raise UserError(f"Two data sets of --dataset={text} are called {part.name}.", "Rename a folder.")
        if part.meta.tokenizer_sha256 != parts[0].meta.tokenizer_sha256:
            raise UserError(
                f"{parts[0].path} and {part.path} have different tokenizers, so their ids mean different text.",
                f"Prepare both with one: --tokenizer={parts[0].path / parts[0].meta.tokenizer}",
            )
    return Mixture(parts, weights, answers_only)


def parse_mixture(text: str) -> tuple[list[str], list[float]]:
    """`a:0.7,b:0.3` → (["a", "b"], [0.7, 0.3]), the weights scaled to sum to 1. No weight counts as 1."""
    names, weights = [], []
    for entry in text.split(","):
        # Only a number after the last colon is a weight: C:\texts is a path.
        found = re.fullmatch(r"(.*):([0-9.eE+-]+)", entry.strip())
        name, weight = (found[1], found[2]) if found else (entry.strip(), "1")
        try:
            value = float(weight)
        except ValueError:
            value = -1.0
        if not name or not 0 < value < math.inf:
            raise UserError(
                f"{entry.strip()!r} in --dataset={text} is no data set with a weight above 0.",
                "For example --dataset=stories:0.7,facts:0.3",
                status=2,
            )
        names.append(name)
        weights.append(value)
    if len(set(names)) < len(names):
        raise UserError(f"--dataset={text} names a data set twice.", "Add its weights up.", status=2)
    shares = [weight / sum(weights) for weight in weights]
    for name, share in zip(names, shares, strict=True):
        if share * CYCLE < 1:
            raise UserError(
                f"{name} would be {share:.2g} of --dataset={text}, less than one row in {CYCLE}.",
                "Give it a larger weight.",
                status=2,
            )
    return names, shares


def assign(rows: np.ndarray, weights: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of rows → (index of the data set, number of the row within it) for each."""
    order, rank, counts = _cycle(weights)
    turn, place = np.divmod(rows, CYCLE)
    sources = order[place]
    return sources, turn * counts[sources] + rank[place]


@lru_cache
def _cycle(weights: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The data set of each place in a cycle, its how-manieth row that is, and each data set's rows in all."""
    exact = np.array(weights) * CYCLE
    counts = np.floor(exact).astype(np.int64)
    # What rounding down left over goes to the largest remainders.
    for source in np.argsort(counts - exact, kind="stable")[: CYCLE - counts.sum()]:
        counts[source] += 1
    # Row j of n stands at (j + ½) / n of the cycle: evenly spaced, whatever the others do.
    places = [((j + 0.5) / n, source, j) for source, n in enumerate(counts.tolist()) for j in range(n)]
    places.sort()
    order = np.array([source for _, source, _ in places])
    rank = np.array([j for _, _, j in places])
    return order, rank, counts
