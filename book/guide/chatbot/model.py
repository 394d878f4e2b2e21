"""The model: a small GPT with rotary positions. B rows, T positions, C channels, H heads, D of each, V vocabulary."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor


@dataclass(frozen=True)
class Config:
    """How large it is."""

    vocab_size: int
    block_size: int = 96
    n_layer: int = 3
    n_head: int = 4
    n_embd: int = 128


def rotary(T: int, D: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each position's angles, (T, D/2)."""
    rate = 10000.0 ** -(torch.arange(0, D, 2) / D)
    angle = torch.outer(torch.arange(T), rate)
    return angle.cos(), angle.sin()


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of channels of (B, H, T, D) by its position's angle."""
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


class Block(nn.Module):
    """Attention and MLP, each behind a norm, each added to the stream."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        C = config.n_embd
        self.n_head = config.n_head
        self.norm_1, self.norm_2 = nn.RMSNorm(C), nn.RMSNorm(C)
        self.c_attn = nn.Linear(C, 3 * C, bias=False)
        self.c_proj = nn.Linear(C, C, bias=False)
        self.c_fc = nn.Linear(C, 4 * C, bias=False)
        self.c_out = nn.Linear(4 * C, C, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        B, T, C = x.shape
        q, k, v = (
            part.view(B, T, self.n_head, -1).transpose(1, 2) for part in self.c_attn(self.norm_1(x)).chunk(3, dim=-1)
        )  # each (B, H, T, D)
        y = F.scaled_dot_product_attention(turn(q, cos, sin), turn(k, cos, sin), v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).reshape(B, T, C))
        return x + self.c_out(F.relu(self.c_fc(self.norm_2(x))).square())


class GPT(nn.Module):
    """Embedding, blocks, norm, head."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = nn.RMSNorm(config.n_embd)
        for name, parameter in self.named_parameters():
            if name.endswith(("c_proj.weight", "c_out.weight")):
                nn.init.zeros_(parameter)  # what adds to the stream begins at zero: each block begins as nothing
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02 if "wte" in name else config.n_embd**-0.5)

    def forward(self, ids: Tensor, targets: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Ids (B, T) → logits (B, T, V); with targets → (sum of nats, number of targets), where -1 does not count."""
        cos, sin = rotary(ids.size(1), self.config.n_embd // self.config.n_head)
        x = self.wte(ids)
        for block in self.blocks:
            x = block(x, cos, sin)
        logits = self.norm(x) @ self.wte.weight.T
        if targets is None:
            return logits
        nats = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum")
        return nats, (targets != -1).sum()

    def save(self, folder: Path) -> None:
        """Weights and sizes."""
        save_file(self.state_dict(), folder / "model.safetensors")
        (folder / "model.json").write_text(json.dumps(asdict(self.config)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "GPT":
        """The inverse of `save`."""
        model = cls(Config(**json.loads((folder / "model.json").read_text(encoding="utf-8"))))
        model.load_state_dict(load_file(folder / "model.safetensors"))
        return model
