"""Llama, Qwen3 and nanochat as transformers publishes them, both ways: their config.json and parameter names.

The three share almost all of both. Where they differ stands in PRESETS (model/config.py) and in the few lines here
that ask for the family.
"""

from typing import Any

from inkling.hub.described import refuse, rope_from, rope_to, switched
from inkling.model.config import PRESETS, GPTConfig

ACTIVATION = {"llama": "silu", "qwen3": "silu", "nanochat": "relu2"}
TIED = {"llama": False, "qwen3": False, "nanochat": False}  # where config.json does not say
TITLE = {"llama": "Llama", "qwen3": "Qwen3", "nanochat": "nanochat"}

# What a model must be to be written as one of these. The rest is free: sizes, rotary base and factor, tied or not.
_ALL: dict[str, tuple[Any, ...]] = {
    "position": ("rotary",),
    "bias": (False,),
    "value_embeddings": (False,),
    "residual_scalars": (False,),
}
NEEDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "llama": _ALL
    | {
        "norm": ("rmsnorm",),
        "mlp": ("swiglu",),
        "qk_norm": ("none",),
        "rope_direction": (1,),
        "window": (0,),
        "embed_norm": (False,),
        "softcap": (0.0,),
    },
    "qwen3": _ALL
    | {
        "norm": ("rmsnorm",),
        "mlp": ("swiglu",),
        "qk_norm": ("before",),
        "rope_direction": (1,),
        "embed_norm": (False,),
        "softcap": (0.0,),
    },
    "nanochat": _ALL
    | {
        "norm": ("rmsnorm_weightless",),
        "mlp": ("relu2",),
        "qk_norm": ("after",),
        "rope_direction": (-1,),
        "window": (0,),
        "embed_norm": (True,),
    },
}


def config_from(described: dict[str, Any]) -> GPTConfig:
    """transformers' keys → GPTConfig."""
    family = described["model_type"]
    rope, wrong = rope_from(described)
    no = (False, None)
    wrong += switched(described, {"attention_bias": no, "mlp_bias": no, "hidden_act": (ACTIVATION[family],)})
    refuse(wrong, TITLE[family])
    shape = {
        "preset": family,
        "block_size": described["max_position_embeddings"],
        "vocab_size": described["vocab_size"],
        "n_layer": described["num_hidden_layers"],
        "n_head": described["num_attention_heads"],
        "n_kv_head": described.get("num_key_value_heads"),
        "n_embd": described["hidden_size"],
        "head_size": described.get("head_dim", 128 if family == "qwen3" else None),
        "mlp_hidden": described["intermediate_size"],
        "norm_eps": described.get("rms_norm_eps", 1e-6),
        "tie_weights": described.get("tie_word_embeddings", TIED[family]),
    }
    if family == "qwen3":
        shape |= _window_from(described)
    if family == "nanochat":
        shape["softcap"] = float(described.get("final_logit_softcapping", 15.0) or 0.0)
    return GPTConfig(**PRESETS[family] | rope | shape).filled()


def config_to(config: GPTConfig, family: str) -> dict[str, Any]:
    """GPTConfig → transformers' keys."""
    described: dict[str, Any] = {
        "hidden_size": config.n_embd,
        "intermediate_size": config.mlp_hidden,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "head_dim": config.head_size,
        "max_position_embeddings": config.block_size,
        "hidden_act": ACTIVATION[family],
        "rms_norm_eps": config.norm_eps,
        "attention_bias": False,
        "attention_dropout": 0.0,
        **rope_to(config),
    }
    if family == "llama":
        described["mlp_bias"] = False
    if family == "qwen3":
        described |= _window_to(config)
    if family == "nanochat":
        described["final_logit_softcapping"] = config.softcap or None
    return described


def names(config: GPTConfig) -> dict[str, list[str]]:
    """Our parameter → those of theirs that it consists of, one above the other."""
    found = {"transformer.wte.weight": ["model.embed_tokens.weight"]}
    norms = {"ln_1": "input_layernorm", "ln_2": "post_attention_layernorm"}
    if config.qk_norm != "none":
        norms |= {"attn.q_norm": "self_attn.q_norm", "attn.k_norm": "self_attn.k_norm"}
    if config.mlp == "swiglu":
        mlp = {"mlp.c_gate": "mlp.gate_proj", "mlp.c_fc": "mlp.up_proj", "mlp.c_proj": "mlp.down_proj"}
    else:
        mlp = {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    parts = {"attn.c_proj": "self_attn.o_proj"} | mlp | (norms if config.norm == "rmsnorm" else {})
    for layer in range(config.n_layer):
        here, there = f"transformer.h.{layer}", f"model.layers.{layer}"
        found[f"{here}.attn.c_attn.weight"] = [f"{there}.self_attn.{which}_proj.weight" for which in "qkv"]
        found |= {f"{here}.{ours}.weight": [f"{there}.{theirs}.weight"] for ours, theirs in parts.items()}
    if config.norm == "rmsnorm":
        found["transformer.ln_f.weight"] = ["model.norm.weight"]
    if not config.tie_weights:
        found["lm_head.weight"] = ["lm_head.weight"]
    return found


def _window_from(described: dict[str, Any]) -> dict[str, Any]:
    """Qwen3's sliding window: which layers have it is listed, or it is those from max_window_layers on."""
    window = described.get("sliding_window") if described.get("use_sliding_window") else None
    if not window:
        return {}
    kinds = described.get("layer_types")
    if kinds is None:
        first = described.get("max_window_layers", 28)
        kinds = ["sliding_attention" if i >= first else "" for i in range(described["num_hidden_layers"])]
    return {"window": window, "window_pattern": "".join("S" if kind == "sliding_attention" else "L" for kind in kinds)}


def _window_to(config: GPTConfig) -> dict[str, Any]:
    slides = [config.layer_window(layer) > 0 for layer in range(config.n_layer)]
    return {
        "use_sliding_window": any(slides),
        "sliding_window": config.window if any(slides) else None,
        "max_window_layers": slides.index(True) if any(slides) else config.n_layer,
        "layer_types": ["sliding_attention" if slide else "full_attention" for slide in slides],
    }
