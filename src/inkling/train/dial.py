"""The depth dial: one number, the depth, gives width, heads, batch, length of training and learning rates.

It fills only what nobody set: a recipe's or a flag's value stands, and what follows from it follows from that value.
The idea and the reference point, 12 layers of 768, are nanochat's (Karpathy 2025).
"""

from dataclasses import dataclass, replace
from typing import Any

from inkling.errors import UserError
from inkling.model.config import GPTConfig
from inkling.model.cost import flops_per_token, parameters_by_part


@dataclass(frozen=True)
class DialSettings:
    """depth dial"""

    depth: int | None = None
    """layers, from which width, heads, batch, steps and learning rates follow where nothing else sets them"""
    target_flops: float | None = None
    """with depth: FLOPs to spend in all. max_iters goes before it, and it before tokens_per_parameter"""
    tokens_per_parameter: float = 20.0
    """with depth: tokens to train on for each parameter of blocks and head"""


@dataclass(frozen=True)
class Turned:
    """A value that the dial gave, and why this one."""

    value: Any
    why: str


WIDTH_PER_LAYER = 64
REFERENCE_WIDTH = 768  # at which nanochat's learning rates were found
REFERENCE_TOKENS = 20 * 123.5e6  # of 12 layers of 768 and their head, at 20 a parameter
REFERENCE_BATCH = 2**19
LEAST_STEPS = 1000  # with fewer, a small model has seen its tokens before it has learnt from them


def turn(settings: DialSettings, model: GPTConfig, block_rows: int, given: dict[str, Any]) -> dict[str, Turned]:
    """Every key that follows from the depth and that `given` (recipe and flags) does not hold.

    `model` has its vocabulary; `block_rows` are the tokens of one micro-batch over all ranks, of which a step holds a
    whole number. Raises UserError for a dial that cannot be turned so.
    """
    check_dial(settings)
    assert settings.depth
    turned: dict[str, Turned] = {}

    def fill(key: str, value: Any, why: str) -> Any:
        if key in given:
            return given[key]
        turned[key] = Turned(value, why)
        return value

    depth = fill("n_layer", settings.depth, "the depth")
    head = 64 if WIDTH_PER_LAYER * depth < 512 else 128
    asked = WIDTH_PER_LAYER * depth
    width = fill("n_embd", -(-asked // head) * head, f"{WIDTH_PER_LAYER} a layer, in whole heads of {head}")
    heads = fill("n_head", max(1, width // head), f"n_embd / {head}")
    model = replace(model, n_layer=depth, n_embd=width, n_head=heads)

    parts = parameters_by_part(model)
    counted = parts["attention"] + parts["mlp"] + model.padded_vocab_size * width
    per_token = flops_per_token(model)
    if settings.target_flops:
        tokens, horizon = settings.target_flops / per_token, f"{settings.target_flops:.3g} FLOPs"
    else:
        tokens = settings.tokens_per_parameter * counted
        horizon = f"{settings.tokens_per_parameter:g} tokens for each of {counted:,} parameters of blocks and head"
    if not {"tokens_per_step", "gradient_accumulation_steps"} & given.keys():
        # Bergsma et al. 2025, "Power Lines": the best batch grows as the tokens to the power 0.383.
        best = REFERENCE_BATCH * (tokens / REFERENCE_TOKENS) ** 0.383
        rows = max(1, round(min(best, tokens / LEAST_STEPS) / block_rows))
        batch = fill("tokens_per_step", rows * block_rows, f"tokens^0.383, at least {LEAST_STEPS} steps")
    else:
        batch = given.get("tokens_per_step") or given["gradient_accumulation_steps"] * block_rows
    if "max_iters" not in given:
        fill("max_iters", max(1, round(tokens / batch)), horizon)

    scale = (width / REFERENCE_WIDTH) ** -0.5
    fill("embedding_lr", round(0.2 * scale, 4), "0.2 · (n_embd / 768)^-½")
    fill("head_lr", round(0.004 * scale, 5), "0.004 · (n_embd / 768)^-½")
    fill("matrix_lr", 0.02, "the same at every width")
    return turned


def check_dial(settings: DialSettings) -> None:
    """Refuse a dial that makes no model."""
    if settings.depth is None:
        if settings.target_flops is not None:
            raise UserError("--target_flops is for the depth dial.", "Add --depth=N, or use --max_iters.", status=2)
        return
    if settings.depth < 1:
        raise UserError(f"depth={settings.depth} must be at least 1.", status=2)
    if not settings.tokens_per_parameter > 0 or not (settings.target_flops is None or settings.target_flops > 0):
        raise UserError("tokens_per_parameter and target_flops must be above 0.", status=2)
