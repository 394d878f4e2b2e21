"""A model as the folder that transformers' AutoModelForCausalLM and AutoTokenizer load: published.py, backwards."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from inkling.files import part_of, replace_file, write_atomic
from inkling.hub.families import FAMILIES, family_for
from inkling.hub.tensorfiles import INDEX, SINGLE
from inkling.hub.weights import Weights
from inkling.model.config import GPTConfig
from inkling.text.conversation import CHAT_TEMPLATE, can_chat
from inkling.text.tokenizer import Tokenizer

SHARD_BYTES = 4 * 2**30  # what is gathered before a file is written, and so what writing takes of memory at most


def export_hf(weights: Weights, out: Path, dtype: torch.dtype | None = None, shard_bytes: int = SHARD_BYTES) -> str:
    """Write the folder `out`; returns the family that the model was written as.

    `dtype` None keeps the weights' own. Rows that only pad the vocabulary are left out: elsewhere nothing would keep
    them from being drawn. Raises UserError for a model with switches that no published family has.
    """
    config = weights.config.filled()
    family = family_for(config)
    tokenizer = weights.tokenizer()
    out.mkdir(parents=True, exist_ok=True)
    stored = write_shards(_theirs(weights, config, family, dtype), out, shard_bytes)
    write_tokenizer(tokenizer, config, out)
    # Last, because a folder with a config.json is a model.
    write_atomic(out / "config.json", _json(describe(config, family, tokenizer, stored)))
    return family


def _theirs(
    weights: Weights, config: GPTConfig, family: str, dtype: torch.dtype | None
) -> Iterator[tuple[str, Tensor]]:
    """Every parameter under its published name, one at a time."""
    names, is_transposed = FAMILIES[family].names(config), FAMILIES[family].is_transposed
    rows = config.vocab_size

    def ready(name: str, tensor: Tensor) -> tuple[str, Tensor]:
        tensor = tensor.t() if is_transposed(name) else tensor
        return name, tensor.to(dtype or tensor.dtype).clone(memory_format=torch.contiguous_format)

    for ours, tensor in weights.tensors():
        if ours in ("transformer.wte.weight", "lm_head.weight"):
            tensor = tensor[:rows]
        theirs = names[ours]
        pieces = tensor.split(qkv_rows(config)) if len(theirs) == 3 else (tensor,)
        for name, piece in zip(theirs, pieces, strict=True):
            yield ready(name, piece)
        bias = ours.removesuffix("weight") + "bias"
        if not config.bias and bias in names:  # a family that always has biases: none is the same as zeros
            yield ready(bias, torch.zeros(tensor.size(0), dtype=tensor.dtype))


def qkv_rows(config: GPTConfig) -> list[int]:
    """How many rows of the fused matrix make queries, keys and values."""
    assert config.n_kv_head and config.head_size
    return [heads * config.head_size for heads in (config.n_head, config.n_kv_head, config.n_kv_head)]


def write_shards(tensors: Iterator[tuple[str, Tensor]], out: Path, shard_bytes: int) -> torch.dtype:
    """One safetensors file, or several and an index. Returns the dtype of the largest tensor, which comes first."""
    files: list[tuple[Path, list[str]]] = []
    shard: dict[str, Tensor] = {}
    size = total = 0
    stored = torch.float32

    def write() -> None:
        part = part_of(out / f"{len(files):05d}.safetensors")
        save_file(shard, part, metadata={"format": "pt"})
        files.append((part, list(shard)))

    for name, tensor in tensors:
        nbytes = tensor.numel() * tensor.element_size()
        if shard and size + nbytes > shard_bytes:
            write()
            shard, size = {}, 0
        if not total:
            stored = tensor.dtype
        shard[name] = tensor
        size, total = size + nbytes, total + nbytes
        del tensor
    write()
    if len(files) == 1:
        replace_file(files[0][0], out / SINGLE)
        return stored
    home: dict[str, str] = {}
    for number, (part, names) in enumerate(files, 1):
        final = out / f"model-{number:05d}-of-{len(files):05d}.safetensors"
        replace_file(part, final)
        home |= dict.fromkeys(names, final.name)
    write_atomic(out / INDEX, _json({"metadata": {"total_size": total}, "weight_map": home}))
    return stored


def describe(config: GPTConfig, family: str, tokenizer: Tokenizer, stored: torch.dtype) -> dict[str, Any]:
    """config.json. Keys that transformers would fill with its own sizes are all said."""
    begin, ends = _bounds(tokenizer)
    dtype = str(stored).removeprefix("torch.")
    return {
        "architectures": [FAMILIES[family].architecture],
        "model_type": family,
        "vocab_size": config.vocab_size,
        **FAMILIES[family].config_to(config),
        "tie_word_embeddings": config.tie_weights,
        "bos_token_id": begin,
        "eos_token_id": ends,
        "pad_token_id": None,
        "initializer_range": 0.02,
        "use_cache": True,
        "torch_dtype": dtype,  # as transformers 4 calls it; 5 reads both
    }


def write_tokenizer(tokenizer: Tokenizer, config: GPTConfig, out: Path) -> None:
    """tokenizer.json and what belongs to it: what an imported model came with, or else our own."""
    tokenizer.save(out / "tokenizer.json")
    begin, ends = _bounds(tokenizer)
    if "generation_config.json" not in tokenizer.beside:
        write_atomic(out / "generation_config.json", _json({"bos_token_id": begin, "eos_token_id": ends}))
    if "tokenizer_config.json" in tokenizer.beside:
        return
    content = {i: token for token, i in tokenizer.special_tokens.items()}
    described: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.block_size,
        "clean_up_tokenization_spaces": False,
    }
    if begin is not None:
        described["bos_token"] = content[begin]
    if ends is not None:
        described["eos_token"] = content[ends if isinstance(ends, int) else ends[0]]
    if can_chat(tokenizer) and tokenizer.chat is None:
        described["chat_template"] = CHAT_TEMPLATE
        write_atomic(out / "chat_template.jinja", CHAT_TEMPLATE)
    write_atomic(out / "tokenizer_config.json", _json(described))


def _bounds(tokenizer: Tokenizer) -> tuple[int | None, int | list[int] | None]:
    """(the id that begins a text, the id or ids that end one)."""
    if tokenizer.ends:
        ends: int | list[int] | None = sorted(tokenizer.ends)
    elif can_chat(tokenizer) and tokenizer.chat is None:
        assert tokenizer.bos is not None
        ends = [tokenizer.special_tokens["<|assistant_end|>"], tokenizer.bos]
    else:
        ends = tokenizer.eot
    begin = tokenizer.bos if tokenizer.bos is not None else tokenizer.eot
    return begin, ends[0] if isinstance(ends, list) and len(ends) == 1 else ends


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
