"""CORE of a model: each task's share of right answers, centred on what guessing scores, and the mean over tasks.

Centred, a model that guesses has 0 and one that knows all has 1, so that tasks with two options and tasks with ten can
be averaged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from inkling.evals.core.bundle import CoreTask
from inkling.evals.core.prompts import spans
from inkling.evals.likelihood import Scored, score_alone, score_groups
from inkling.model.gpt import GPT
from inkling.runtime import Runtime
from inkling.text.tokenizer import Tokenizer
from inkling.train.parallel import sum_over_ranks

# Published with nanochat, for OpenAI's weights: GPT-2's sizes and their CORE.
PUBLISHED = {"GPT-2 small": 0.1139, "GPT-2 medium": 0.1849, "GPT-2 large": 0.2146, "GPT-2 XL": 0.2565}

# Questions whose texts are made, and sorted by length, at once. All of a task's would take gigabytes as Python's ids.
TOGETHER = 64


@dataclass(frozen=True)
class TaskResult:
    """How a model did in one task."""

    label: str
    kind: str
    shots: int
    baseline: float
    picked: tuple[int, ...]
    """for each question the option that was likeliest; of language modelling 1 where the model would have said the
    continuation word for word, else 0"""
    is_right: tuple[bool, ...]

    @property
    def accuracy(self) -> float:
        return sum(self.is_right) / len(self.is_right)

    @property
    def centred(self) -> float:
        return (self.accuracy - self.baseline) / (1 - self.baseline)


def core_of(results: Sequence[TaskResult]) -> float:
    """The mean of the centred accuracies."""
    return sum(result.centred for result in results) / len(results)


def run_task(
    model: GPT,
    tokenizer: Tokenizer,
    task: CoreTask,
    batch_size: int,
    runtime: Runtime,
    progress: Callable[[int], None] = lambda done: None,
) -> TaskResult:
    """Ask every question. Each rank asks its share, and all get the whole result."""
    picks = [0.0] * len(task.items)
    mine = range(runtime.rank, len(task.items), runtime.world_size)
    for first in range(0, len(mine), TOGETHER):
        part = mine[first : first + TOGETHER]
        groups = [spans(task, index, tokenizer, model.config.block_size) for index in part]
        for index, scored in zip(part, score_groups(model, groups, batch_size), strict=True):
            picks[index] = float(pick(task, scored))
        progress(len(part))
    picked = tuple(int(number) for number in sum_over_ranks(picks, runtime))
    is_right = tuple(_is_right(task, index, number) for index, number in enumerate(picked))
    return TaskResult(task.label, task.kind, task.shots, task.baseline, picked, is_right)


def pick(task: CoreTask, scored: Sequence[Scored]) -> int:
    """The option with the fewest nats per scored token, the first of equals; of language modelling, whether greedy
    decoding would have said it."""
    if task.kind == "language_modeling":
        return int(scored[0].is_greedy)
    means = [option.nats / option.tokens for option in scored]
    return means.index(min(means))


def score_question(model: GPT, tokenizer: Tokenizer, task: CoreTask, index: int) -> list[Scored]:
    """One question, option by option: the readable twin of what `run_task` does in batches."""
    return [score_alone(model, span) for span in spans(task, index, tokenizer, model.config.block_size)]


def _is_right(task: CoreTask, index: int, picked: int) -> bool:
    return picked == (1 if task.kind == "language_modeling" else task.items[index]["gold"])


# --- for people and for programs -------------------------------------------------------------------------

HEAD = ("task", "right", "of", "shots", "guessing", "centred")


def table_rows(results: Sequence[TaskResult]) -> list[list[str]]:
    """The table below HEAD: a row for each task, their mean, and what is published of GPT-2."""
    rows = [
        [
            result.label,
            f"{result.accuracy:.1%}",
            f"{len(result.is_right):,}",
            str(result.shots),
            f"{result.baseline:.1%}",
            f"{result.centred:.4f}",
        ]
        for result in results
    ]
    published = [[f"{name} (published)", "", "", "", "", f"{core:.4f}"] for name, core in PUBLISHED.items()]
    return [*rows, ["CORE", "", "", "", "", f"{core_of(results):.4f}"], *published]


def as_json(results: Sequence[TaskResult]) -> dict[str, Any]:
    """The figures, and which option each question got."""
    return {
        "core": core_of(results),
        "tasks": {
            result.label: {
                "accuracy": result.accuracy,
                "centred": result.centred,
                "baseline": result.baseline,
                "shots": result.shots,
                "kind": result.kind,
                "right": sum(result.is_right),
                "asked": len(result.is_right),
                "picked": list(result.picked),
            }
            for result in results
        },
        "published": PUBLISHED,
    }
