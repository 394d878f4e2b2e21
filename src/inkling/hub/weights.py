"""Weights on disk that are not loaded yet, wherever they came from: what loading and finetuning begin with."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inkling.errors import UserError
from inkling.files import sha256_of
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT
from inkling.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Weights:
    """A trained model's shape, and how to get the rest of it."""

    path: Path
    """the folder, for messages"""
    files: tuple[Path, ...]
    """whose hash says which weights these are"""
    config: GPTConfig
    step: int
    tensors: Callable[[], Iterator[tuple[str, Tensor]]]
    """(parameter name, tensor on the CPU), read one at a time"""
    tokenizer: Callable[[], Tokenizer]

    def sha256(self) -> str:
        """The hash of the file, or of several files' hashes: which weights these are."""
        hashes = [sha256_of(file) for file in self.files]
        return hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode()).hexdigest()


def fill_model(
    model: GPT, tensors: Iterable[tuple[str, Tensor]], source: str, dtype: torch.dtype | None = None
) -> None:
    """Copy tensors into the parameters of the same names. Names and shapes must agree exactly.

    A parameter that has no memory yet (`model.gpt.hollow`) gets it now: of `dtype`, or of its tensor's own.
    """
    parameters = dict(model.named_parameters())
    names = _all_names(model)
    missing = set(parameters)
    with torch.no_grad():
        for name, tensor in tensors:
            if name not in missing:
                raise UserError(f"{source} does not hold this model's parameters: {name} is not one of them.")
            parameter = parameters.pop(name)
            missing.remove(name)
            if parameter.shape != tensor.shape:
                found, wanted = tuple(tensor.shape), tuple(parameter.shape)
                raise UserError(f"{name} in {source} has shape {found}, but the model wants {wanted}.")
            if parameter.is_meta:
                real = nn.Parameter(torch.empty(parameter.shape, dtype=dtype or tensor.dtype))
                for alias in names[id(parameter)]:
                    owner, _, attribute = alias.rpartition(".")
                    setattr(model.get_submodule(owner), attribute, real)
                parameter = real
            parameter.copy_(tensor)
            del tensor  # while the next one is read, this one's memory is free
    if missing:
        few = ", ".join(sorted(missing)[:3])
        raise UserError(f"{source} does not hold this model's parameters: {few}{', ...' if len(missing) > 3 else ''}.")


def _all_names(model: GPT) -> dict[int, list[str]]:
    """Every name of each parameter; a tied head has the embedding's as well as its own."""
    names: dict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(name)
    return names


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
