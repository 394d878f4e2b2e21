"""Exercise 2: causal self-attention with several heads. Each position gathers from itself and from what came before.

Shapes: B rows, T positions, C channels, H heads, D channels of one head; C = H · D.
"""

import math

import torch
import torch.nn as nn
from torch import Tensor


def causal_mask(T: int) -> Tensor:
    """(T, T) of bool: mask[i, j] is True where position i may look at position j, itself included."""
    return torch.ones(T, T, dtype=torch.bool).tril()


def split_heads(x: Tensor, n_head: int) -> Tensor:
    """(B, T, C) → (B, H, T, D): head h has the channels h·D to (h + 1)·D of every position."""
    B, T, C = x.shape
    return x.view(B, T, n_head, C // n_head).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(B, H, T, D) → (B, T, C): the inverse of `split_heads`."""
    B, H, T, D = x.shape
    return x.transpose(1, 2).reshape(B, T, H * D)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of queries, keys and values, all (B, H, T, D) → (B, H, T, D).

    Scores are the products of queries and keys over √D. What may not be seen gets −∞ before the softmax, which runs
    over the keys; the result is the mean of the values with those weights.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (B, H, T, T)
    scores = scores.masked_fill(~causal_mask(q.size(2)), float("-inf"))
    return scores.softmax(dim=-1) @ v


class CausalSelfAttention(nn.Module):
    """One matrix makes queries, keys and values of all heads; another brings the heads' findings together."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        """The two matrices, with biases."""
        # given
        super().__init__()
        self.n_head = n_head
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C). The output of c_attn is queries, keys, values, side by side, C channels each."""
        q, k, v = self.c_attn(x).chunk(3, dim=-1)  # (B, T, C) each
        y = attend(*(split_heads(part, self.n_head) for part in (q, k, v)))  # (B, H, T, D)
        return self.c_proj(join_heads(y))
