"""A published model: a folder with config.json, safetensors and tokenizer.json, as transformers writes it."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inkling.errors import UserError
from inkling.hub.described import read_json
from inkling.hub.families import FAMILIES, Family
from inkling.hub.tensorfiles import TensorFiles, find_tensor_file
from inkling.hub.weights import Weights
from inkling.model.config import GPTConfig
from inkling.text.tokenizer import Tokenizer
from inkling.text.tokenizer_sources import gpt2_tokenizer, load_tokenizer

# Kept in old files though they are computed: causal masks, rotary rates.
COMPUTED = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")


def read_published(folder: Path) -> Weights:
    """The folder's weights, described. Raises UserError for a family or a switch that inkling lacks."""
    described = read_json(folder / "config.json")
    family = _family(described, folder)
    files = TensorFiles(find_tensor_file(folder))
    config = _config(described, family, folder)
    rows = config.vocab_size

    @cache
    def tokenizer() -> Tokenizer:
        return read_tokenizer(folder, rows)

    if (folder / "tokenizer.json").is_file():
        config = with_vocabulary(config, tokenizer().vocab_size)
    return Weights(
        path=folder,
        files=files.files,
        config=config,
        step=0,
        tensors=lambda: _tensors(files, config, family, folder),
        tokenizer=tokenizer,
    )


def with_vocabulary(config: GPTConfig, vocab_size: int) -> GPTConfig:
    """Where the model has more rows than the tokenizer has ids, the further rows are padding: kept, and never drawn."""
    if vocab_size >= config.vocab_size:
        return config
    return replace(config, vocab_size=vocab_size, pad_vocab_to=config.vocab_size)


def read_tokenizer(folder: Path, rows: int) -> Tokenizer:
    """The folder's tokenizer, or GPT-2's own where the folder has none and the vocabulary is that size."""
    if (folder / "tokenizer.json").is_file():
        return load_tokenizer(folder / "tokenizer.json")
    if rows != 50257:
        raise UserError(f"{folder} has no tokenizer.json.", "Download it from where the weights came from.")
    return gpt2_tokenizer(folder if (folder / "vocab.bpe").is_file() else None)


def _family(described: dict[str, Any], folder: Path) -> Family:
    kind = described.get("model_type")
    if kind not in FAMILIES:
        raise UserError(
            f"{folder} holds a model of type {kind!r}, which inkling does not have.",
            f"It has {', '.join(FAMILIES)}.",
        )
    if described.get("quantization_config"):
        raise UserError(f"{folder} holds a quantized model.", "Take the model's unquantized weights.")
    return FAMILIES[kind]


def _config(described: dict[str, Any], family: Family, folder: Path) -> GPTConfig:
    try:
        return family.config_from(described)
    except KeyError as error:
        raise UserError(f"{folder / 'config.json'} lacks {error}.", "Download it again.") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / 'config.json'} has a value of the wrong kind: {error}.") from None


def _tensors(files: TensorFiles, config: GPTConfig, family: Family, folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Our parameters, largest first: what is read beside what is already there is then never the peak of memory."""
    names = family.names(config)
    stored = {
        name if name.startswith((family.prefix, "lm_head.")) else family.prefix + name: name for name in files.shapes
    }
    wanted = {theirs for parts in names.values() for theirs in parts}
    computed = {name for name in stored if name.endswith(COMPUTED)}
    if config.tie_weights:
        computed.add("lm_head.weight")  # some write it, though it is the embedding
    differing = [*sorted(wanted - stored.keys()), *sorted(stored.keys() - wanted - computed)]
    if differing:
        raise UserError(
            f"{folder} does not hold this model's parameters: {differing[0]} is "
            f"{'missing' if differing[0] in wanted else 'one too many'}, of {len(differing)} that differ.",
            "Do config.json and the weights belong together? If so, this is a variant that inkling does not have.",
        )

    def assemble(parts: list[str]) -> Tensor:
        found = [files.read(stored[theirs]) for theirs in parts]
        found = [
            tensor.t() if family.is_transposed(theirs) else tensor for theirs, tensor in zip(parts, found, strict=True)
        ]
        return found[0] if len(found) == 1 else torch.cat(found)

    def size(ours: str) -> int:
        return sum(torch.Size(files.shapes[stored[theirs]]).numel() for theirs in names[ours])

    for ours in sorted(names, key=size, reverse=True):
        yield ours, assemble(names[ours])
