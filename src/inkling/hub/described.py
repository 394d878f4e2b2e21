"""What a published config.json says, asked key by key, so that no switch in it is passed over in silence."""

import json
from pathlib import Path
from typing import Any

from inkling.errors import UserError
from inkling.model.config import GPTConfig


def read_json(file: Path) -> dict[str, Any]:
    """A JSON file that holds an object."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"Cannot read {file}: {error}.", "Download it again.") from None
    if not isinstance(found, dict):
        raise UserError(f"Cannot read {file}: it is not an object.", "Download it again.")
    return found


def refuse(unsupported: list[str], family: str) -> None:
    """Raise UserError naming what a model has and inkling's form of its family has not."""
    if unsupported:
        raise UserError(f"config.json asks for {', '.join(unsupported)}, which inkling's {family} does not have.")


def switched(described: dict[str, Any], allowed: dict[str, tuple[Any, ...]]) -> list[str]:
    """The keys whose value, where there is one, is none of those allowed, as `key=value`."""
    return [
        f"{key}={described[key]}"
        for key, values in allowed.items()
        if key in described and described[key] not in values
    ]


def rope_from(described: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The rotary settings → (fields of GPTConfig, what is not supported), in transformers' old form or its new."""
    rope = described.get("rope_parameters") or described.get("rope_scaling") or {}
    fields = {"rope_theta": float(rope.get("rope_theta", described.get("rope_theta", 10000.0)))}
    kind = rope.get("rope_type", rope.get("type", "default"))
    wrong = switched(described | rope, {"partial_rotary_factor": (1, None)})
    if kind == "llama3":
        fields |= {
            "rope_factor": float(rope["factor"]),
            "rope_low": float(rope["low_freq_factor"]),
            "rope_high": float(rope["high_freq_factor"]),
            "rope_original": int(rope["original_max_position_embeddings"]),
        }
    elif kind != "default":
        wrong.append(f"rope_type={kind}")
    return fields, wrong


def rope_to(config: GPTConfig) -> dict[str, Any]:
    """The inverse: in the old form, which transformers 4 and 5, and others, all read."""
    scaling = None
    if config.rope_factor != 1:
        scaling = {
            "rope_type": "llama3",
            "factor": config.rope_factor,
            "low_freq_factor": config.rope_low,
            "high_freq_factor": config.rope_high,
            "original_max_position_embeddings": config.rope_original,
        }
    return {"rope_theta": config.rope_theta, "rope_scaling": scaling}
