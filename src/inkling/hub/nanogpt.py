"""nanoGPT's checkpoint, ckpt.pt: our parameter names, in a file that could hold a program.

It is a pickle, so it is read by PyTorch's restricted reader, which knows tensors and plain containers and refuses
everything else without running it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inkling.errors import UserError
from inkling.hub.published import with_vocabulary
from inkling.hub.weights import Weights
from inkling.model.config import GPTConfig
from inkling.text.tokenizer import Tokenizer
from inkling.text.tokenizer_sources import gpt2_tokenizer, load_tokenizer

NAME = "ckpt.pt"
GPT2_SIZES = (50257, 50304)  # nanoGPT rounds GPT-2's vocabulary up to a multiple of 64


def read_nanogpt(file: Path) -> Weights:
    """The weights in a ckpt.pt; the tokenizer is GPT-2's by the vocabulary's size, or a tokenizer.json beside it."""
    checkpoint = _load(file)
    try:
        model_args, state = checkpoint["model_args"], checkpoint["model"]
        shape = {key: model_args[key] for key in ("block_size", "vocab_size", "n_layer", "n_head", "n_embd", "bias")}
        step = int(checkpoint.get("iter_num", 0))
        # nanoGPT's GELU is the exact one.
        config = GPTConfig(preset="gpt2", mlp="gelu", dropout=float(model_args.get("dropout", 0.0)), **shape).filled()
        stored = {name.removeprefix("_orig_mod."): tensor for name, tensor in state.items()}  # torch.compile's mark
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{file} is not a checkpoint of nanoGPT: {error}.", "That has `model_args` and `model`."
        ) from None
    own = file.parent / "tokenizer.json"
    if config.vocab_size in GPT2_SIZES and not own.is_file():
        config = with_vocabulary(config, 50257)
    return Weights(
        path=file.parent,
        files=(file,),
        config=config,
        step=step,
        tensors=lambda: _tensors(stored),
        tokenizer=lambda: _tokenizer(own, config.vocab_size),
    )


def _load(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # the restricted reader has no narrower one: pickle's, zipfile's, its own
        forbidden = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        reason = f"it asks for {forbidden[1]}" if forbidden else str(error).partition("\n")[0]
        raise UserError(
            f"{file} was not read: {reason}",
            "It is damaged, or it holds more than tensors, numbers and text. Such a file can run a program, so "
            "nothing of it was used.",
        ) from None


def _tensors(stored: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in stored.items():
        if not name.endswith(".attn.bias") and name != "lm_head.weight":  # the causal mask, and the tied head
            yield name, tensor


def _tokenizer(own: Path, vocab_size: int) -> Tokenizer:
    if own.is_file():
        return load_tokenizer(own)
    if vocab_size == 50257:
        return gpt2_tokenizer()
    raise UserError(
        f"Which tokenizer has the {vocab_size} ids of this checkpoint? nanoGPT keeps it apart, in a pickle.",
        f"Put its tokenizer.json beside the checkpoint, as {own}. For nanoGPT's shakespeare_char it is the one of "
        "`inkling prepare shakespeare_char`, whose ids are the same.",
    )
