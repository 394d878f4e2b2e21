"""Exercise 2: against PyTorch's kernel, against inkling's own attention with the same weights, and for causality."""

import math
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from inkling.learn.compare import right, same
from inkling.learn.numbers import random_tensor
from inkling.model.config import GPTConfig
from inkling.model.layers import CausalSelfAttention


def check_causal_mask(mine: ModuleType) -> None:
    """causal_mask: who may look at whom"""
    expected = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 1]], dtype=torch.bool)
    mistakes = {
        "Off by one: a position may look at itself too.": torch.ones(3, 3, dtype=torch.bool).tril(-1),
        "Off by one: a position may not look at the next one, or it reads the answer.": torch.ones(
            3, 3, dtype=torch.bool
        ).tril(1),
        "Turned round: this hides the past and shows the future.": expected.T,
        "Inverted: True is where a position may look.": ~expected,
    }
    same("causal_mask(3)", mine.causal_mask(3), expected, mistakes)


def check_split_heads(mine: ModuleType) -> None:
    """split_heads: (B, T, C) → (B, H, T, D)"""
    x = torch.arange(2 * 3 * 8.0).view(2, 3, 8)
    expected = torch.stack([x[..., :2], x[..., 2:4], x[..., 4:6], x[..., 6:]], dim=1)
    mixed = "`view(B, H, T, D)` alone mixes positions and channels: view as (B, T, H, D), then transpose."
    same("split_heads of (2, 3, 8) into 4", mine.split_heads(x, 4), expected, {mixed: x.reshape(2, 4, 3, 2)})


def check_join_heads(mine: ModuleType) -> None:
    """join_heads: the inverse"""
    x = torch.arange(2 * 4 * 3 * 2.0).view(2, 4, 3, 2)
    expected = torch.cat(list(x.unbind(1)), dim=-1)
    mixed = "Transpose to (B, T, H, D) before the last two become one, or the heads' numbers get mixed."
    same("join_heads of (2, 4, 3, 2)", mine.join_heads(x), expected, {mixed: x.reshape(2, 3, 8)})


def check_attend(mine: ModuleType) -> None:
    """attend: equal to scaled_dot_product_attention"""
    q, k, v = (3 * random_tensor(2, 3, 5, 4, seed=i) for i in range(3))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    same("attend of (2, 3, 5, 4)", mine.attend(q, k, v), expected, _mistakes(q, k, v))


def check_attend_far_scores(mine: ModuleType) -> None:
    """attend: scores of a thousand do not overflow"""
    q, k, v = (random_tensor(1, 1, 4, 4, seed=i) for i in range(3))
    expected = F.scaled_dot_product_attention(1000 * q, k, v, is_causal=True)
    naive = "Not a number: exp() overflowed. Use .softmax, which takes the largest score off first."
    powers = (500 * q @ k.mT).masked_fill(~torch.ones(4, 4, dtype=torch.bool).tril(), -math.inf).exp()
    same(
        "attend with large queries",
        mine.attend(1000 * q, k, v),
        expected,
        {naive: powers / powers.sum(-1, keepdim=True) @ v},
    )


def check_layer(mine: ModuleType) -> None:
    """CausalSelfAttention: equal to inkling's own with the same weights"""
    torch.manual_seed(1)
    layer = mine.CausalSelfAttention(12, 3)
    reference = CausalSelfAttention(GPTConfig(vocab_size=1, n_embd=12, n_head=3).filled(), layer=0)
    reference.load_state_dict(layer.state_dict())
    x = random_tensor(2, 5, 12, seed=4)
    expected = reference(x, torch.zeros(2, 5, dtype=torch.int64), None, None)
    without = F.linear(expected - layer.c_proj.bias, torch.linalg.inv(layer.c_proj.weight))
    same("the layer's output", layer(x), expected, {"The last step is missing: c_proj.": without})


def check_causality(mine: ModuleType) -> None:
    """CausalSelfAttention: what comes later changes nothing that came before"""
    torch.manual_seed(2)
    layer = mine.CausalSelfAttention(8, 2)
    x = random_tensor(1, 6, 8, seed=5)
    changed = x.clone()
    changed[:, 4:] += 1.0
    before, after = layer(x), layer(changed)
    same("the first four positions, after the fifth was changed", after[:, :4], before[:, :4])
    right(not torch.allclose(before[:, 4:], after[:, 4:]), "The changed positions give what they gave before.")


def _mistakes(q: Tensor, k: Tensor, v: Tensor) -> dict[str, Tensor]:
    """What the usual mistakes give."""
    T, D = q.shape[-2:]
    scores, below = q @ k.mT / math.sqrt(D), torch.ones(T, T, dtype=torch.bool).tril()

    def mean(scores: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
        return scores.masked_fill(~mask, -math.inf).softmax(dim) @ v

    return {
        "The mask is missing: positions see what comes after them.": scores.softmax(-1) @ v,
        "The mask is off by one: it lets each position see the next.": mean(scores, torch.ones_like(below).tril(1)),
        "The mask is off by one: the first position sees nothing, and its softmax is not a number.": mean(
            scores, below.tril(-1)
        ),
        "The mask is turned round: it shows the future.": mean(scores, below.T),
        "Divide the scores by √D.": mean(scores * math.sqrt(D), below),
        "Divide by the root of D, not by D.": mean(scores / math.sqrt(D), below),
        "Divide by √D, the size of one head, not by √C.": mean(scores / math.sqrt(q.size(1)), below),
        "The softmax runs over the keys, the last axis.": mean(scores, below, dim=-2),
        "Mask before the softmax with −∞; zeros afterwards leave weights that do not add up to 1.": scores.softmax(
            -1
        ).masked_fill(~below, 0)
        @ v,
        "A hidden score must be −∞. 0 is a score like others.": scores.masked_fill(~below, 0).softmax(-1) @ v,
    }
