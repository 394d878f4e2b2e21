"""The families of published models that inkling's one skeleton can be: one table, for import and export."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from inkling.errors import UserError
from inkling.hub import gpt2, llama
from inkling.model.config import GPTConfig


@dataclass(frozen=True)
class Family:
    """How one family writes its config.json, and names its parameters."""

    architecture: str
    """transformers' class"""
    config_from: Callable[[dict[str, Any]], GPTConfig]
    config_to: Callable[[GPTConfig], dict[str, Any]]
    names: Callable[[GPTConfig], dict[str, list[str]]]
    """our parameter → those of theirs that it consists of, one above the other"""
    needs: dict[str, tuple[Any, ...]]
    """what a model must be to be written so: fields of GPTConfig, and their possible values"""
    is_transposed: Callable[[str], bool] = lambda theirs: False
    prefix: str = ""
    """what the names may lack"""


FAMILIES = {
    "gpt2": Family(
        "GPT2LMHeadModel",
        gpt2.config_from,
        gpt2.config_to,
        gpt2.names,
        gpt2.NEEDS,
        gpt2.is_transposed,
        prefix="transformer.",
    ),
    **{
        name: Family(
            architecture, llama.config_from, partial(llama.config_to, family=name), llama.names, llama.NEEDS[name]
        )
        for name, architecture in (
            ("llama", "LlamaForCausalLM"),
            ("qwen3", "Qwen3ForCausalLM"),
            ("nanochat", "NanoChatForCausalLM"),
        )
    },
}


def family_for(config: GPTConfig) -> str:
    """The family as which a model can be written. Raises UserError naming the switches that have no counterpart."""
    missing = {name: lacking(config, name) for name in FAMILIES}
    for name in (config.preset, *FAMILIES):
        if not missing[name]:
            return name
    nearest = min((config.preset, *FAMILIES), key=lambda name: len(missing[name]))
    raise UserError(
        f"No family of published models has all of this one's switches: {nearest}, the nearest, has no counterpart "
        f"of {', '.join(missing[nearest])}.",
        f"Models that can be exported are those of the presets {', '.join(FAMILIES)}.",
    )


def lacking(config: GPTConfig, name: str) -> list[str]:
    """What the config has and the family has not, as `key=value`."""
    wrong = [
        f"{key}={getattr(config, key)}"
        for key, values in FAMILIES[name].needs.items()
        if getattr(config, key) not in values
    ]
    if name == "gpt2" and config.n_kv_head != config.n_head:
        wrong.append(f"n_kv_head={config.n_kv_head}")
    if name == "gpt2" and config.head_size != config.n_embd // config.n_head:
        wrong.append(f"head_size={config.head_size}")
    if name == "llama" and config.n_embd % config.n_head:  # which transformers' LlamaConfig refuses
        wrong.append(f"n_head={config.n_head} with n_embd={config.n_embd}")
    return wrong
