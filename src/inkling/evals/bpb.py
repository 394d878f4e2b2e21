"""Bits per byte: how many bits a model needs, on average, for each byte of a text.

A loss in nats per token cannot be compared between vocabularies: longer tokens are harder, and fewer. Per byte the
vocabulary cancels out. Counted is what the model predicts of the text: every token but the first of the stream, which
nothing stands before (a beginning-of-sequence mark, where there is one, is that first token, so all of the text is
counted). A special token is no text: where it is the target, neither its nats nor its bytes count.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from inkling.data.mixture import window_batches
from inkling.errors import UserError
from inkling.evals.likelihood import beginning
from inkling.ids import IGNORE
from inkling.model.gpt import GPT
from inkling.runtime import Runtime
from inkling.text.tokenizer import Tokenizer
from inkling.train.parallel import sum_over_ranks
from inkling.train.validation import batch_nats


@dataclass(frozen=True)
class Counted:
    """Sums over the tokens of a text that were predicted."""

    nats: float
    tokens: int
    bytes: int
    """of UTF-8"""

    @property
    def bits_per_byte(self) -> float:
        return self.nats / (math.log(2) * self.bytes)

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.tokens


def count_tokens(
    model: GPT, tokenizer: Tokenizer, stream: np.ndarray, batch_size: int, runtime: Runtime, eval_tokens: int = 0
) -> Counted:
    """The first `eval_tokens` of a stream of ids (tokens,), 0: all, in windows of block_size that do not overlap.

    These are the windows of val_loss. Each rank reads its share; the sums are the same whatever the batch size and the
    number of ranks. Raises UserError where nothing is left to count.
    """
    lengths = byte_lengths(tokenizer)  # (V,)
    is_special = torch.zeros(len(lengths), dtype=torch.bool)
    is_special[list(tokenizer.special_tokens.values())] = True
    nats, tokens, size = 0.0, 0, 0
    batches = window_batches(stream, model.config.block_size, eval_tokens or len(stream), batch_size)
    for make_batch in batches[runtime.rank :: runtime.world_size]:
        ids, targets = make_batch()  # (B, T) each
        size += int(lengths[targets][~is_special[targets]].sum())
        batch, count = batch_nats(model, (ids, targets.masked_fill(is_special[targets], IGNORE)), runtime)
        nats, tokens = nats + batch, tokens + count
    total_nats, total_tokens, total_bytes = sum_over_ranks([nats, float(tokens), float(size)], runtime)
    if not total_bytes:
        raise UserError("There is nothing to predict in this text.", "Give it at least two tokens.")
    return Counted(total_nats, int(total_tokens), int(total_bytes))


def count_text(model: GPT, tokenizer: Tokenizer, text: str, batch_size: int, runtime: Runtime) -> Counted:
    """The same of one text, as one document: behind a beginning-of-sequence or end-of-text mark, where there is one.

    Its bytes are the file's own, whatever the tokenizer makes of them (Llama 2's adds a space, some compose accents).
    """
    before, ids = beginning(tokenizer), tokenizer.encode_array(text)
    counted = count_tokens(model, tokenizer, np.concatenate([before, ids]).astype(np.uint32), batch_size, runtime)
    unpredicted = b"" if before else tokenizer.decode_bytes(ids[:1].tolist())
    return replace(counted, bytes=len(text.encode("utf-8")) - len(unpredicted))


def byte_lengths(tokenizer: Tokenizer) -> Tensor:
    """(V,) int64: the bytes of text that each id stands for; 0 for special tokens."""
    special = set(tokenizer.special_tokens.values())
    return torch.tensor([0 if i in special else len(tokenizer.decode_bytes([i])) for i in range(tokenizer.vocab_size)])


def weighted(counts: Sequence[Counted], weights: Sequence[float]) -> float:
    """Bits per byte of a mixture: weighted as training weights its data sets, as val_loss is."""
    return sum(weight * counted.bits_per_byte for weight, counted in zip(weights, counts, strict=True))
