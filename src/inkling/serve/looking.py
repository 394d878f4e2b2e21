"""A look inside a model while it reads a text: what it expects at every position, and how it comes to expect it.

Shapes: T tokens, C width, H heads, L layers, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inkling.errors import UserError
from inkling.model.gpt import GPT, Block
from inkling.model.layers import CausalSelfAttention, attend_by_hand
from inkling.text.tokenizer import Tokenizer

Choice = tuple[int, float]
"""A token and its probability."""


@dataclass(frozen=True)
class Look:
    """What was seen while the model read T tokens."""

    logits: Tensor
    """(T, V) float32: what `model(ids)` gives, to the bit where the model computes in float32"""
    streams: list[Tensor]
    """L + 1 residual streams (T, C): the embedding, then what each block has left"""
    attention: Tensor
    """(H, T, T) float32, of one layer: how much each position (row) takes from each (column); rows sum to 1"""


def look(model: GPT, ids: Sequence[int], layer: int) -> Look:
    """Read `ids` once, as the model always does, and keep what is otherwise thrown away.

    Nothing else may run the model meanwhile. Raises UserError for more tokens than the context holds, and where the
    model's output is not a number.
    """
    seen = _Notes()
    x = torch.tensor([list(ids)], device=model.lm_head.weight.device)  # (1, T)
    with torch.no_grad(), _noting_streams(model.blocks, seen), _noting_attention(model.blocks[layer].attn, seen):
        logits = model.head(model.hidden(x))[0].float()  # (T, V)
    if not logits.isfinite().all():
        raise UserError(
            "The model's output is not a number (NaN): there is nothing to show.",
            "Its weights may have diverged in training.",
        )
    return Look(logits, seen.streams, seen.attention[0])


def likeliest(shares: Tensor, count: int) -> list[list[Choice]]:
    """Probabilities (T, V) → for each position the `count` likeliest next tokens, likeliest first."""
    found = shares.topk(min(count, shares.size(-1)), dim=-1)  # two (T, count)
    return [
        list(zip(ids, values, strict=True))
        for ids, values in zip(found.indices.tolist(), found.values.tolist(), strict=True)
    ]


def surprises(logits: Tensor, ids: Sequence[int]) -> list[float | None]:
    """How many nats each token cost the model, given those before it. None for the first, which nothing foretells."""
    if len(ids) < 2:
        return [None] * len(ids)
    target = torch.tensor(ids[1:], device=logits.device).unsqueeze(1)  # (T-1, 1)
    nats = -logits[:-1].log_softmax(dim=-1).gather(1, target).squeeze(1)  # (T-1,)
    return [None, *nats.tolist()]


@dataclass(frozen=True)
class Layer:
    """What the model would say if it ended after this layer."""

    top: list[list[Choice]]
    """at each position the likeliest tokens"""
    final: list[float]
    """at each position the probability of the token that the whole model finds likeliest"""


@torch.no_grad()
def logit_lens(model: GPT, seen: Look, count: int) -> Iterator[Layer]:
    """Read every residual stream as if it were the last: L + 1 layers, the last of which is the model itself.

    nostalgebraist 2020, "interpreting GPT: the logit lens". One layer at a time: all of GPT-2's at 128 positions would
    be 330 MB.
    """
    answer = seen.logits.argmax(dim=-1, keepdim=True)  # (T, 1)
    norm = model.transformer["ln_f"]
    for stream in seen.streams:
        shares = model.head(norm(stream)).float().softmax(dim=-1)  # (T, V)
        yield Layer(likeliest(shares, count), shares.gather(1, answer).squeeze(1).tolist())


def piece(tokenizer: Tokenizer, token: int) -> str:
    """What a token stands for; bytes that are only a part of a character as \\xE2\\x82."""
    raw = tokenizer.decode_bytes([token])
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(f"\\x{byte:02X}" for byte in raw)


# --- keeping what is otherwise thrown away -------------------------------------------------------------------


@dataclass
class _Notes:
    streams: list[Tensor] = field(default_factory=list)
    attention: Tensor = field(default_factory=lambda: torch.empty(0))


@contextmanager
def _noting_streams(blocks: list[Block], seen: _Notes) -> Iterator[None]:
    """What enters the first block, and what leaves each."""

    def enters(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.streams.append(inputs[0][0])  # (T, C)

    def leaves(_: torch.nn.Module, __: object, output: Tensor) -> None:
        seen.streams.append(output[0])  # (T, C)

    hooks = [blocks[0].register_forward_pre_hook(enters)]
    hooks += [block.register_forward_hook(leaves) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _noting_attention(layer: CausalSelfAttention, seen: _Notes) -> Iterator[None]:
    """The weights of one layer's attention, which the fused kernel never writes down.

    They are what attention gives when the values are the identity matrix: weights @ I = weights.
    """
    attend = layer.attend

    def watched(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
        identity = torch.eye(k.size(2), device=k.device).expand(*k.shape[:3], -1)  # (1, K, T, T)
        seen.attention = attend_by_hand(q.float(), k.float(), identity, mask, 0.0)  # (1, H, T, T)
        return attend(q, k, v, mask, dropout)

    layer.attend = watched
    try:
        yield
    finally:
        layer.attend = attend
