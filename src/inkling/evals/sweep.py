"""What the runs of a sweep come to: size, cost and loss of each, and the budgets that the scaling fit takes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from inkling.data.meta import SplitMeta
from inkling.data.mixture import parse_mixture
from inkling.data.shards import open_dataset
from inkling.errors import UserError
from inkling.evals.fit import Budget
from inkling.model.config import GPTConfig
from inkling.model.cost import block_matrices, flops_per_token, parameters_by_part
from inkling.train.progress import read_metrics
from inkling.train.runfolder import read_resolved


@dataclass(frozen=True)
class Point:
    """A finished training."""

    run: str
    depth: int
    width: int
    parameters: int
    size: int
    """N: the weights that tokens are multiplied by, of blocks and head. The embedding only looks rows up"""
    tokens: int
    """D: what it was trained on"""
    flops: float
    val_loss: float
    """nats per token"""
    bpb: float | None
    """bits for each byte of text, from the loss and the data set's counts; None for mixtures"""
    seconds: float
    """of training"""


def read_point(run: Path) -> Point:
    """A run's figures. Raises UserError for one that was not evaluated."""
    values, _ = read_resolved(run)
    config = config_of(values)
    measured = [row for row in read_metrics(run / "metrics.jsonl") if "val_loss" in row]
    if not measured:
        raise UserError(f"{run} has no validation loss.", f"Delete {run}, and give the same command again.")
    last = measured[-1]
    return Point(
        run=run.name,
        depth=config.n_layer,
        width=config.n_embd,
        parameters=sum(parameters_by_part(config).values()),
        size=config.n_layer * sum(block_matrices(config).values()) + config.padded_vocab_size * config.n_embd,
        tokens=last["tokens"],
        flops=flops_per_token(config) * last["tokens"],
        val_loss=last["val_loss"],
        bpb=bits_per_byte(last["val_loss"], values["dataset"]),
        seconds=last["seconds"],
    )


def config_of(resolved: dict[str, Any]) -> GPTConfig:
    """The model that resolved.toml describes."""
    own = {field.name for field in fields(GPTConfig)}
    return GPTConfig(**{key: value for key, value in resolved.items() if key in own})


def bits_per_byte(val_loss: float, dataset: str) -> float | None:
    """From nats per token, by the tokens and bytes of the data set's validation text.

    Nearly what an evaluation finds: its losses are of the text's first tokens, and marks between documents count as
    tokens here and as no bytes. None for a mixture, and where the data set is not here any more.
    """
    names, _ = parse_mixture(dataset)
    if len(names) > 1:
        return None
    try:
        counts: SplitMeta = open_dataset(names[0]).meta.val
    except UserError:
        return None
    return val_loss / math.log(2) * counts.tokens / counts.bytes if counts.bytes else None


def budgets_of(points: Sequence[tuple[float, Point]]) -> list[Budget]:
    """(budget, its runs) → what is fitted, with the FLOPs that were asked for."""
    found: dict[float, list[Point]] = {}
    for flops, point in points:
        found.setdefault(flops, []).append(point)
    return [
        Budget(
            flops,
            tuple(float(point.size) for point in of_it),
            tuple(float(point.tokens) for point in of_it),
            tuple(point.val_loss for point in of_it),
        )
        for flops, of_it in sorted(found.items())
    ]
