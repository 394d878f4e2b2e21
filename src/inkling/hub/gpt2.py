"""GPT-2 as OpenAI's weights are published for transformers: a folder with config.json and model.safetensors."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from inkling.errors import UserError
from inkling.hub.weights import Weights
from inkling.model.config import GPTConfig
from inkling.text.tokenizer import Tokenizer, gpt2_tokenizer, load_tokenizer

# GPT-2 was written with Conv1D, whose matrices lie the other way round: (in, out), not (out, in).
TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")


def read_gpt2(folder: Path) -> Weights:
    """The folder's weights, described. Raises UserError for what is not GPT-2 or has a switch we lack."""
    described = read_config(folder)
    if described.get("model_type") != "gpt2":
        raise UserError(
            f"{folder} holds a model of type {described.get('model_type')!r}, which cannot be imported yet.",
            "GPT-2 can.",
        )
    file = folder / "model.safetensors"
    if not file.is_file():
        index = folder / "model.safetensors.index.json"
        if not index.is_file():
            raise UserError(
                f"{folder} has no model.safetensors.",
                "Download the model's safetensors files; other formats may hold programs and are not read.",
            )
        file = index
    config = gpt2_config(described, folder)
    return Weights(
        path=folder,
        file=file,
        config=config,
        step=0,
        tensors=lambda: rename(read_tensors(file)),
        tokenizer=lambda: read_tokenizer(folder, config.vocab_size),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a published model."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read {folder / 'config.json'}: {error}.", "Download it again.") from None


def gpt2_config(described: dict[str, Any], folder: Path) -> GPTConfig:
    """transformers' names → GPTConfig."""
    activations = {"gelu_new": "gelu_tanh", "gelu": "gelu"}
    activation = described.get("activation_function", "gelu_new")
    unsupported = {"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True, "tie_word_embeddings": False}
    wrong = [f"{key}={value}" for key, value in unsupported.items() if described.get(key) == value]
    if activation not in activations:
        wrong.append(f"activation_function={activation}")
    if wrong:
        raise UserError(f"{folder / 'config.json'} asks for {', '.join(wrong)}, which inkling's GPT-2 does not have.")
    return GPTConfig(
        preset="gpt2",
        block_size=described["n_positions"],
        vocab_size=described["vocab_size"],
        n_layer=described["n_layer"],
        n_head=described["n_head"],
        n_embd=described["n_embd"],
        mlp_hidden=described.get("n_inner"),
        norm_eps=described.get("layer_norm_epsilon", 1e-5),
        mlp=activations[activation],  # type: ignore[arg-type]
    ).filled()


def read_tensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, or of the files that an index lists."""
    try:
        if file.suffix == ".json":
            shards = sorted(set(json.loads(file.read_text(encoding="utf-8"))["weight_map"].values()))
        else:
            shards = [file.name]
        tensors: dict[str, Tensor] = {}
        for shard in shards:
            tensors |= load_file(file.parent / shard)
        return tensors
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(f"Cannot read the weights in {file}: {error}.", "Download the files again.") from None


def rename(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' parameters → ours: names, orientation, and without the stored causal masks."""
    ours = {}
    for name, tensor in tensors.items():
        name = "transformer." + name.removeprefix("transformer.")
        if name.endswith((".attn.bias", ".attn.masked_bias")) or name == "transformer.lm_head.weight":
            continue  # the mask is code here, and the head is the embedding
        ours[name] = tensor.t().contiguous() if name.endswith(TRANSPOSED) else tensor
    return ours


def read_tokenizer(folder: Path, vocab_size: int) -> Tokenizer:
    """The folder's tokenizer, or GPT-2's own where the folder has none and the vocabulary is that size."""
    if (folder / "tokenizer.json").is_file():
        return load_tokenizer(folder / "tokenizer.json")
    if vocab_size != 50257:
        raise UserError(f"{folder} has no tokenizer.json.", "Download it from where the weights came from.")
    return gpt2_tokenizer(folder if (folder / "vocab.bpe").is_file() else None)
