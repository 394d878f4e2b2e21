"""The parts of a transformer: linear maps, norms, rotary positions, attention, MLPs.

Shapes: B batch, T time, S keys seen (T, or more with a cache), C width, H heads, K key/value heads, D head
size, V vocabulary.
"""

import math
from typing import Protocol

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from inkling.model.config import GPTConfig


class Cache(Protocol):
    """What attention and the skeleton ask of a KV cache; the class itself lives in infer/cache.py."""

    def positions(self, length: int) -> Tensor:
        """(T,) or (B, T): where in their contexts the next `length` tokens stand."""
        ...

    def mask(self, length: int, window: int) -> Tensor | None:
        """(B or 1, 1, T, S) bool, True where a query may look.

        None where causality says it all: T = S, or T = 1 and the one query stands behind all S keys.
        """
        ...

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, K, T, D) of this layer; return all keys and values so far, (B, K, S, D)."""
        ...

    def advance(self, length: int) -> None:
        """All layers have stored their `length` new tokens."""
        ...


class Linear(nn.Linear):
    """y = x Wᵀ + b in the dtype of x: the master weights stay float32 and are cast on use."""

    def reset_parameters(self) -> None:
        """Leave the memory as it is; GPT.init_weights fills it, by name."""

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias.to(x.dtype) if self.bias is not None else None
        return F.linear(x, self.weight.to(x.dtype), bias)


class Embedding(nn.Embedding):
    """A table of vectors, left unfilled until GPT.init_weights."""

    def reset_parameters(self) -> None:
        """See Linear.reset_parameters."""


class LayerNorm(nn.Module):
    """Mean 0 and variance 1 over the last axis, then a learned scale and, if wanted, a shift.

    Ba et al. 2016, "Layer Normalization". Unlike PyTorch's own class it casts its weights on use, as all layers
    here do.
    """

    def __init__(self, width: int, bias: bool, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias.to(x.dtype) if self.bias is not None else None
        return F.layer_norm(x, self.weight.shape, self.weight.to(x.dtype), bias, self.eps)


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last axis; scale by a learned weight where there is one.

    Zhang and Sennrich 2019, "Root Mean Square Layer Normalization".
    """

    def __init__(self, width: int, weight: bool, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width)) if weight else None
        self.width = width
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype) if self.weight is not None else None
        return F.rms_norm(x, (self.width,), weight, self.eps)


def make_norm(config: GPTConfig, width: int) -> nn.Module:
    """The norm that the config names, over `width` channels."""
    if config.norm == "layernorm":
        return LayerNorm(width, config.bias, config.norm_eps)
    return RMSNorm(width, config.norm == "rmsnorm", config.norm_eps)


def rotary_table(config: GPTConfig) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position's angle at every wavelength: two (block_size, D/2) tensors.

    Su et al. 2021, "RoFormer". Pair i turns by position · theta^(-2i/D): the first pairs turn fast and
    tell neighbours apart, the last turn slowly and tell paragraphs apart.
    """
    assert config.head_size is not None
    rate = config.rope_theta ** -(torch.arange(0, config.head_size, 2, dtype=torch.float32) / config.head_size)
    if config.rope_factor != 1:
        rate = stretched(rate, config)
    angle = torch.outer(torch.arange(config.block_size, dtype=torch.float32), rate)  # (block_size, D/2)
    return angle.cos(), angle.sin() * config.rope_direction


def stretched(rate: Tensor, config: GPTConfig) -> Tensor:
    """Rotary rates (D/2,) for a context longer than the original, as Llama 3.1 has them.

    Pairs that turn at least `rope_high` times in the original context tell neighbours apart and stay as they are;
    those that turn less than `rope_low` times slow down by `rope_factor`, so that no new angle occurs.
    Grattafiori et al. 2024, "The Llama 3 Herd of Models".
    """
    turns = config.rope_original * rate / (2 * math.pi)
    kept = ((turns - config.rope_low) / (config.rope_high - config.rope_low)).clamp(0, 1)
    return kept * rate + (1 - kept) * rate / config.rope_factor


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (x[i], x[i + D/2]) of (B, H, T, D) by its position's angle; cos, sin: (…, T, D/2)."""
    left, right = x.chunk(2, dim=-1)  # two (B, H, T, D/2)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


def visible(queries: Tensor, keys: Tensor, window: int) -> Tensor:
    """Which positions may be looked at: positions (…, T) and (…, S) → (…, T, S) bool, True for yes.

    A query sees itself and what came before, and in a sliding window only the last `window` of that.
    """
    distance = queries.unsqueeze(-1) - keys.unsqueeze(-2)
    seen = distance >= 0
    return seen & (distance < window) if window else seen


def within(documents: Tensor) -> Tensor:
    """Documents (B, T), equal numbers side by side → (B, T), each token's position in its own document."""
    place = torch.arange(documents.size(1), device=documents.device).expand_as(documents)  # (B, T)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return place - torch.where(begins, place, 0).cummax(dim=1).values


def same_document(documents: Tensor, window: int) -> Tensor:
    """Which tokens of packed rows see which: (B, T) → (B, 1, T, T) bool, never across a document's border."""
    place = torch.arange(documents.size(1), device=documents.device)
    same = documents.unsqueeze(2) == documents.unsqueeze(1)  # (B, T, T)
    return (same & visible(place, place, window)).unsqueeze(1)


def attend_by_hand(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Attention in five readable lines: (B, H, T, D) queries over (B, K, S, D) keys and values.

    Vaswani et al. 2017, "Attention Is All You Need". The twin of `attend_sdpa`. `mask` None means causal, the
    queries being the last T of the S positions.
    """
    repeat = q.size(1) // k.size(1)
    k, v = k.repeat_interleave(repeat, dim=1), v.repeat_interleave(repeat, dim=1)  # (B, H, S, D)
    if mask is None:
        position = torch.arange(k.size(2), device=k.device)
        mask = visible(position[-q.size(2) :], position, 0)  # (T, S)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (B, H, T, S)
    weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)
    return F.dropout(weights, dropout, training=dropout > 0) @ v  # (B, H, T, D)


def attend_sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """The same by PyTorch's fused kernel, which never writes the (T, S) scores to memory.

    Dao et al. 2022, "FlashAttention".
    """
    # The kernel's causal mask puts query 0 at key 0. A single query with a cache stands at the last key and
    # sees all of them, so for it the flag must be off.
    is_causal = mask is None and q.size(2) > 1
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=is_causal, enable_gqa=q.size(1) != k.size(1)
    )


class CausalSelfAttention(nn.Module):
    """Each position gathers from itself and the positions before it."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        assert config.n_kv_head and config.head_size
        self.layer = layer
        self.n_head, self.n_kv_head, self.head_size = config.n_head, config.n_kv_head, config.head_size
        self.dropout = config.dropout
        self.qk_norm = config.qk_norm
        self.attend = attend_sdpa if config.attention == "sdpa" else attend_by_hand
        # One product for queries, keys and values of all heads. Rows: H·D of q, K·D of k, K·D of v.
        self.c_attn = Linear(config.n_embd, sum(self.qkv_rows), bias=config.bias)
        self.c_proj = Linear(self.n_head * self.head_size, config.n_embd, bias=config.bias)
        if config.qk_norm != "none":
            self.q_norm = make_norm(config, self.head_size)
            self.k_norm = make_norm(config, self.head_size)
        # Alternate layers, the last one among them. The gate starts at 1 (twice the sigmoid of 0).
        if config.value_embeddings and layer % 2 == (config.n_layer - 1) % 2:
            self.value_embedding = Embedding(config.padded_vocab_size, self.n_kv_head * self.head_size)
            self.value_gate = Linear(min(32, config.n_embd), self.n_kv_head, bias=False)

    @property
    def qkv_rows(self) -> tuple[int, int, int]:
        """How many rows of c_attn make queries, keys and values."""
        return self.n_head * self.head_size, self.n_kv_head * self.head_size, self.n_kv_head * self.head_size

    def forward(
        self,
        x: Tensor,
        ids: Tensor,
        rotary: tuple[Tensor, Tensor] | None,
        mask: Tensor | None,
        cache: Cache | None = None,
    ) -> Tensor:
        """(B, T, C) → (B, T, C). `ids` (B, T) are for value embeddings; `mask` None means plain causality."""
        B, T, _ = x.shape
        q, k, v = self.c_attn(x).split(self.qkv_rows, dim=-1)
        q = q.view(B, T, self.n_head, self.head_size).transpose(1, 2)  # (B, H, T, D)
        k = k.view(B, T, self.n_kv_head, self.head_size).transpose(1, 2)  # (B, K, T, D)
        v = v.view(B, T, self.n_kv_head, self.head_size).transpose(1, 2)  # (B, K, T, D)
        if hasattr(self, "value_embedding"):
            v = v + self._token_values(x, ids)

        if self.qk_norm == "before":
            q, k = self.q_norm(q), self.k_norm(k)
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        if self.qk_norm == "after":
            q, k = self.q_norm(q), self.k_norm(k)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)  # (B, K, S, D)

        y = self.attend(q, k, v, mask, self.dropout if self.training else 0.0)  # (B, H, T, D)
        y = y.transpose(1, 2).reshape(B, T, self.n_head * self.head_size)  # (B, T, H·D)
        return F.dropout(self.c_proj(y), self.dropout, self.training)

    def _token_values(self, x: Tensor, ids: Tensor) -> Tensor:
        """What the token itself adds to the values, gated by head. Zhou et al. 2024, "Value Residual Learning"."""
        gate = 2 * self.value_gate(x[..., : self.value_gate.in_features]).sigmoid()  # (B, T, K)
        values = self.value_embedding(ids).to(x.dtype).unflatten(-1, (self.n_kv_head, self.head_size))
        return (gate.unsqueeze(-1) * values).transpose(1, 2)  # (B, K, T, D)


class MLP(nn.Module):
    """Each position thinks for itself: widen, bend, narrow."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        assert config.mlp_hidden
        self.kind = config.mlp
        self.dropout = config.dropout
        if config.mlp == "swiglu":
            self.c_gate = Linear(config.n_embd, config.mlp_hidden, bias=config.bias)
        self.c_fc = Linear(config.n_embd, config.mlp_hidden, bias=config.bias)
        self.c_proj = Linear(config.mlp_hidden, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C), each position by itself."""
        if self.kind == "swiglu":  # Shazeer 2020, "GLU Variants Improve Transformer"
            x = F.silu(self.c_gate(x)) * self.c_fc(x)
        elif self.kind == "relu2":  # So et al. 2021, "Primer"
            x = F.relu(self.c_fc(x)).square()
        else:  # Hendrycks and Gimpel 2016, "Gaussian Error Linear Units"
            x = F.gelu(self.c_fc(x), approximate="tanh" if self.kind == "gelu_tanh" else "none")
        return F.dropout(self.c_proj(x), self.dropout, self.training)
