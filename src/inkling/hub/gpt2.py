"""GPT-2 as transformers publishes it, both ways: its config.json, and the names of its parameters."""

from typing import Any

from inkling.hub.described import refuse, switched
from inkling.model.config import PRESETS, GPTConfig

ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu2": "relu2"}

# What a model must be to be written as a GPT-2. Biases may be missing: they are written as zeros.
NEEDS: dict[str, tuple[Any, ...]] = {
    "norm": ("layernorm",),
    "position": ("learned",),
    "mlp": ("gelu_tanh", "gelu", "relu2"),
    "qk_norm": ("none",),
    "window": (0,),
    "embed_norm": (False,),
    "softcap": (0.0,),
    "value_embeddings": (False,),
    "residual_scalars": (False,),
}


def config_from(described: dict[str, Any]) -> GPTConfig:
    """transformers' keys → GPTConfig."""
    activation = described.get("activation_function", "gelu_new")
    wrong = switched(described, {"scale_attn_weights": (True,), "scale_attn_by_inverse_layer_idx": (False,)})
    if activation not in ACTIVATIONS:
        wrong.append(f"activation_function={activation}")
    refuse(wrong, "GPT-2")
    shape = {
        "preset": "gpt2",
        "block_size": described["n_positions"],
        "vocab_size": described["vocab_size"],
        "n_layer": described["n_layer"],
        "n_head": described["n_head"],
        "n_embd": described["n_embd"],
        "mlp_hidden": described.get("n_inner"),
        "norm_eps": described.get("layer_norm_epsilon", 1e-5),
        "mlp": ACTIVATIONS[activation],
        "tie_weights": described.get("tie_word_embeddings", True),
    }
    return GPTConfig(**PRESETS["gpt2"] | shape).filled()


def config_to(config: GPTConfig) -> dict[str, Any]:
    """GPTConfig → transformers' keys."""
    return {
        "activation_function": {"gelu_tanh": "gelu_new"}.get(config.mlp, config.mlp),
        "n_positions": config.block_size,
        "n_ctx": config.block_size,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_embd": config.n_embd,
        "n_inner": config.mlp_hidden,
        "layer_norm_epsilon": config.norm_eps,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }


def names(config: GPTConfig) -> dict[str, list[str]]:
    """Our parameter → the one of theirs that it is. OpenAI's names are the ones that everybody has kept."""
    ours = ["transformer.wte.weight", "transformer.wpe.weight"]
    for layer in range(config.n_layer):
        for part in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"):
            ours.append(f"transformer.h.{layer}.{part}.weight")
            ours.append(f"transformer.h.{layer}.{part}.bias")
    ours += ["transformer.ln_f.weight", "transformer.ln_f.bias"]
    if not config.tie_weights:
        ours.append("lm_head.weight")
    return {name: [name] for name in ours}


def is_transposed(theirs: str) -> bool:
    """GPT-2 was written with Conv1D, whose matrices lie the other way round: (in, out), not (out, in)."""
    return theirs.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
