"""Weights on disk that are not loaded yet, wherever they came from: what loading and finetuning begin with."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from inkling.files import sha256_of
from inkling.model.config import GPTConfig
from inkling.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Weights:
    """A trained model's shape, and how to get the rest of it."""

    path: Path
    """the folder, for messages"""
    file: Path
    """the file whose hash says which weights these are"""
    config: GPTConfig
    step: int
    tensors: Callable[[], dict[str, Tensor]]
    """by parameter name, on the CPU"""
    tokenizer: Callable[[], Tokenizer]

    def sha256(self) -> str:
        """The hash of `file`: which weights these are."""
        return sha256_of(self.file)


def same_ids(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether both give every text the same ids, however their files are laid out."""
    return one.sha256() == other.sha256() or _essence(one) == _essence(other)


def _essence(tokenizer: Tokenizer) -> dict[str, Any]:
    """What decides the ids: vocabulary, merges, special tokens and the way a text is cut."""
    described = json.loads(tokenizer.to_json())
    model = described["model"]
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model.get("merges", [])]
    cut = {
        key: value
        for key, value in (described.get("pre_tokenizer") or {}).items()
        if key not in ("trim_offsets",)  # which has no say in the ids
    }
    return {
        "vocabulary": model["vocab"],
        "merges": merges,
        "special": tokenizer.special_tokens,
        "cut": {"use_regex": True, "add_prefix_space": False} | cut,
        "normalizer": described.get("normalizer"),
    }
