"""Exercise 3: the block, and the whole GPT around it, as GPT-2 has them.

Shapes: B rows, T positions, C channels, V vocabulary. A stream of C numbers runs past every position from the first
layer to the last; each part reads it through a norm and adds to it.
"""

import math

import torch
import torch.nn as nn
from torch import Tensor

# Yours will do as well, when exercise 2 is done: from attention import CausalSelfAttention
from inkling.learn.solutions.attention import CausalSelfAttention


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(…, C) → (…, C): mean 0 and variance 1 over the last axis, then times `weight`, plus `bias`, both (C,).

    The variance is the mean of the squares (divided by C, not by C − 1), and 1e-5 is added to it below the root.
    """
    mean = x.mean(dim=-1, keepdim=True)  # (…, 1)
    variance = (x - mean).square().mean(dim=-1, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def gelu(x: Tensor) -> Tensor:
    """x · Φ(x), where Φ(x) = (1 + erf(x / √2)) / 2 is the share of a normal distribution below x."""
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


class LayerNorm(nn.Module):
    """`layer_norm` with a weight and a bias of its own."""

    def __init__(self, n_embd: int) -> None:
        """It begins as the plain norm."""
        # given
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_embd))
        self.bias = nn.Parameter(torch.zeros(n_embd))

    def forward(self, x: Tensor) -> Tensor:
        """(…, C) → (…, C)."""
        # given
        return layer_norm(x, self.weight, self.bias)


class MLP(nn.Module):
    """Each position thinks for itself: widen to 4 C, bend, narrow to C."""

    def __init__(self, n_embd: int) -> None:
        """The two matrices."""
        # given
        super().__init__()
        self.c_fc = nn.Linear(n_embd, 4 * n_embd)
        self.c_proj = nn.Linear(4 * n_embd, n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        return self.c_proj(gelu(self.c_fc(x)))


class Block(nn.Module):
    """Attention, then the MLP; each sees the stream through its own norm, and what it says is added to the stream."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        """The four parts."""
        # given
        super().__init__()
        self.ln_1 = LayerNorm(n_embd)
        self.attn = CausalSelfAttention(n_embd, n_head)
        self.ln_2 = LayerNorm(n_embd)
        self.mlp = MLP(n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C). The norm is before each part, never on the stream itself (pre-norm)."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """Token and position embeddings, the blocks, a last norm, and the head, which is the token embedding again."""

    def __init__(self, vocab_size: int, block_size: int, n_layer: int, n_head: int, n_embd: int) -> None:
        """All parameters, with small random weights."""
        # given
        super().__init__()
        self.wte = nn.Embedding(vocab_size, n_embd)
        self.wpe = nn.Embedding(block_size, n_embd)
        self.h = nn.ModuleList(Block(n_embd, n_head) for _ in range(n_layer))
        self.ln_f = LayerNorm(n_embd)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (B, T) → logits (B, T, V). The head's matrix is `self.wte.weight`, (V, C)."""
        positions = torch.arange(ids.size(1))
        x = self.wte(ids) + self.wpe(positions)  # (B, T, C)
        for block in self.h:
            x = block(x)
        return self.ln_f(x) @ self.wte.weight.T
