"""The one skeleton: embed, L blocks around a residual stream, norm, head, loss."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from inkling.errors import UserError
from inkling.ids import IGNORE
from inkling.keyed import seed_for
from inkling.model.config import GPTConfig
from inkling.model.layers import (
    MLP,
    Cache,
    CausalSelfAttention,
    Embedding,
    Linear,
    make_norm,
    rotary_table,
    same_document,
    visible,
    within,
)


class Block(nn.Module):
    """Attention, then the MLP, each behind a norm and added to the stream (pre-norm)."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.ln_1 = make_norm(config, config.n_embd)
        self.attn = CausalSelfAttention(config, layer)
        self.ln_2 = make_norm(config, config.n_embd)
        self.mlp = MLP(config)

    def forward(
        self,
        x: Tensor,
        ids: Tensor,
        rotary: tuple[Tensor, Tensor] | None,
        mask: Tensor | None,
        cache: Cache | None = None,
    ) -> Tensor:
        """The stream (B, T, C) → the stream, with what both parts have added."""
        x = x + self.attn(self.ln_1(x), ids, rotary, mask, cache)
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """A decoder-only transformer. `seed` fills the weights; None leaves them for a checkpoint to fill."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: GPTConfig, seed: int | None = None) -> None:
        super().__init__()
        self.config = config = config.filled()
        self.compute_dtype = torch.float32
        self.recompute = False
        self.transformer = nn.ModuleDict({"wte": Embedding(config.padded_vocab_size, config.n_embd)})
        if config.position == "learned":
            self.transformer["wpe"] = Embedding(config.block_size, config.n_embd)
        else:
            cos, sin = rotary_table(config)
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)
        if config.embed_norm:
            self.transformer["ln_e"] = make_norm(config, config.n_embd)
        self.transformer["h"] = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.transformer["ln_f"] = make_norm(config, config.n_embd)
        self.lm_head = Linear(config.n_embd, config.padded_vocab_size, bias=False)
        if config.tie_weights:  # Press and Wolf 2017, "Using the Output Embedding to Improve Language Models"
            self.lm_head.weight = cast(nn.Parameter, self.transformer["wte"].weight)
        if config.residual_scalars:
            self.stream_scale = nn.Parameter(torch.ones(config.n_layer))
            self.embedding_scale = nn.Parameter(torch.zeros(config.n_layer))
        if seed is not None:
            self.init_weights(seed)

    @property
    def blocks(self) -> list[Block]:
        """The L blocks, in order."""
        return list(cast(nn.ModuleList, self.transformer["h"]))  # type: ignore[arg-type]

    # --- ids → logits, ids and targets → loss ------------------------------------------------------------

    def forward(
        self,
        ids: Tensor,
        targets: Tensor | None = None,
        documents: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """ids (B, T) → logits (B, T, V). With targets (B, T) → (sum of nats, number of targets).

        A sum and a count, because micro-batches and ranks hold different numbers of targets and a mean of
        means would weigh their tokens unequally. Targets equal to IGNORE are not counted. `documents` (B, T)
        says of packed rows which document a token belongs to; none then sees another. `weights` (B, T) multiply
        the nats of their targets; the number stays the same.
        """
        x = self.hidden(ids, documents=documents)
        if targets is None:
            return self.head(x)
        x, targets = x.flatten(0, 1), targets.flatten()  # (B·T, C), (B·T,)
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            # In a conversation half of the places have no target: no logits for them. (A GPU would have to wait for
            # the number of places, and compiled code for each number anew.)
            places = (targets != IGNORE).nonzero().squeeze(1)
            x, targets = x.index_select(0, places), targets[places]  # (targets, C), (targets,)
            weights = weights.flatten()[places] if weights is not None else None  # (targets,)
        logits = self.head(x)  # (B·T or targets, V)
        if logits.dtype != torch.float64:
            logits = logits.float()  # a sum of exponentials needs more than bfloat16's 8 bits
        if weights is None:
            nats = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")
        else:
            each = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none")
            nats = (each * weights.flatten()).sum()
        return nats, (targets != IGNORE).sum()

    def hidden(self, ids: Tensor, cache: Cache | None = None, documents: Tensor | None = None) -> Tensor:
        """ids (B, T) → the normalised residual stream after the last block, (B, T, C)."""
        _, T = ids.shape
        if self.config.block_size < T:
            raise UserError(f"{T} tokens do not fit into a context of {self.config.block_size}.", "Shorten the text.")
        positions = torch.arange(T, device=ids.device) if cache is None else cache.positions(T)
        masks = self._masks(positions, T, cache)
        if documents is not None:
            positions = within(documents)  # (B, T)
            masks = {window: same_document(documents, window) for window in masks}
        x = self.transformer["wte"](ids).to(self.compute_dtype)  # (B, T, C)
        rotary = None
        if self.config.position == "learned":
            x = x + self.transformer["wpe"](positions).to(self.compute_dtype)
        else:
            rotary = self._rotary(positions)
        if self.config.embed_norm:
            x = self.transformer["ln_e"](x)
        x = embedded = F.dropout(x, self.config.dropout, self.training)
        for layer, block in enumerate(self.blocks):
            if self.config.residual_scalars:
                x = self.stream_scale[layer].to(x.dtype) * x
                x = x + self.embedding_scale[layer].to(x.dtype) * embedded
            mask = masks[self.config.layer_window(layer)]
            if self.recompute and self.training:  # Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"
                x = checkpoint(block, x, ids, rotary, mask, use_reentrant=False)
            else:
                x = block(x, ids, rotary, mask, cache)
        if cache is not None:
            cache.advance(T)
        return self.transformer["ln_f"](x)

    def head(self, x: Tensor) -> Tensor:
        """(..., C) → logits (..., V). Padded rows of the head are cut off: those ids do not exist."""
        logits = self.lm_head(x)[..., : self.config.vocab_size]
        if self.config.softcap:
            logits = self.config.softcap * torch.tanh(logits / self.config.softcap)
        return logits

    def _masks(self, positions: Tensor, T: int, cache: Cache | None) -> dict[int, Tensor | None]:
        """One mask for each window size in use; None lets the kernel do the plain causal case itself."""
        windows = {self.config.layer_window(layer) for layer in range(self.config.n_layer)}
        if cache is not None:
            return {window: cache.mask(T, window) for window in windows}
        return {window: visible(positions, positions, window) if window else None for window in windows}

    def _rotary(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = self.cos[positions], self.sin[positions]  # (T, D/2) or (B, T, D/2)
        if positions.ndim == 2:
            cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)  # (B, 1, T, D/2), the same for all heads
        return cos.to(self.compute_dtype), sin.to(self.compute_dtype)

    # --- weights -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Fill every parameter from (seed, its name), so that no part's weights depend on another's."""
        for name, parameter in self.named_parameters():
            generator = torch.Generator().manual_seed(seed_for("weights", seed, name))
            kind, scale = _initial(self.config, name, parameter)
            fresh = torch.empty(parameter.shape, dtype=torch.float32)
            if kind == "normal":
                fresh.normal_(0.0, scale, generator=generator)
            elif kind == "uniform":
                fresh.uniform_(-scale, scale, generator=generator)
            else:
                fresh.fill_(scale)
            parameter.copy_(fresh)

    def crop_block_size(self, block_size: int) -> None:
        """Shorten the context, for finetuning on shorter texts: learned positions beyond it are dropped.

        Rotary tables keep their length: they are computed, and cost no parameter.
        """
        if block_size > self.config.block_size:
            raise UserError(
                f"A context of {self.config.block_size} cannot be cropped to {block_size}.",
                f"Use --block_size={self.config.block_size} or less.",
            )
        self.config = replace(self.config, block_size=block_size)
        if self.config.position == "learned":
            wpe = cast(Embedding, self.transformer["wpe"])
            wpe.weight = nn.Parameter(wpe.weight[:block_size].detach().clone())
            wpe.num_embeddings = block_size

    def num_params(self, non_embedding: bool = True) -> int:
        """Parameters held; without learned position embeddings by default, as papers count."""
        total = sum(parameter.numel() for parameter in self.parameters())
        if non_embedding and self.config.position == "learned":
            total -= cast(Tensor, self.transformer["wpe"].weight).numel()
        return total

    # --- the short, uncached way to text -----------------------------------------------------------------

    @torch.no_grad()
    def generate(
        self, ids: Sequence[int], max_new_tokens: int, temperature: float = 1.0, top_k: int = 0, seed: int = 1337
    ) -> list[int]:
        """Continue `ids`, the whole context computed anew for every token: the twin of infer/engine.py."""
        generator = torch.Generator().manual_seed(seed)
        device = self.lm_head.weight.device
        was_training = self.training
        self.eval()  # no dropout while generating
        window, new = list(ids), []
        for _ in range(max_new_tokens):
            window = fit_context(window, self.config.block_size)
            x = self.hidden(torch.tensor([window], device=device))  # (1, T, C)
            logits = self.head(x[:, -1]).float().cpu()  # (1, V)
            if temperature == 0:
                token = int(logits.argmax())
            else:
                if top_k:
                    kth = logits.topk(min(top_k, logits.size(-1))).values[:, -1:]
                    logits = logits.masked_fill(logits < kth, float("-inf"))
                token = int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator))
            window.append(token)
            new.append(token)
        self.train(was_training)
        return new


def hollow(config: GPTConfig) -> GPT:
    """A model whose parameters take no memory yet: they are on PyTorch's meta device, to be filled one by one."""
    with torch.device("meta"):
        model = GPT(config)
    if config.position == "rotary":
        model.cos, model.sin = rotary_table(model.config)
    return model


def fit_context(ids: list[int], block_size: int) -> list[int]:
    """What remains of `ids` when they outgrow the context: the first token and the last half.

    The first token, because a model leans on it (it is the beginning-of-sequence mark in most); half and
    not all of the rest, so that a cache is refilled once in block_size/2 tokens and not at each.
    """
    if len(ids) <= block_size:
        return ids
    half = block_size // 2
    return [ids[0], *ids[-half:]] if half else ids[-1:]


def _initial(config: GPTConfig, name: str, parameter: Tensor) -> tuple[str, float]:
    """How a parameter starts: ("normal", std), ("uniform", bound) or ("constant", value)."""
    if name == "stream_scale":
        return "constant", 1.0
    if name == "embedding_scale":
        return "constant", 0.0
    if parameter.ndim < 2:  # norms start as the identity, biases at nothing
        return "constant", 0.0 if name.endswith("bias") else 1.0
    if name.endswith("value_gate.weight"):
        return "constant", 0.0
    is_residual = name.endswith("c_proj.weight")
    if config.init == "gpt2":
        # Each of the 2L residual additions adds variance; the scale keeps the sum where one would be.
        return "normal", 0.02 / math.sqrt(2 * config.n_layer) if is_residual else 0.02
    if is_residual:  # every block starts as the identity
        return "constant", 0.0
    if name.endswith("wte.weight") and not config.tie_weights:
        return "normal", 1.0
    if name.endswith("lm_head.weight"):
        return "normal", 0.001
    if name.endswith(("wte.weight", "wpe.weight")):
        return "normal", 0.02
    return "uniform", math.sqrt(3 / config.n_embd)  # standard deviation 1/√C
