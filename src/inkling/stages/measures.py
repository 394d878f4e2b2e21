"""Measures of a model that need no conversation: bits per byte, CORE, and the tasks of lm-evaluation-harness.

Each is a function of (subject, settings, runtime) that gives a table and what is written.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inkling.data.mixture import parse_mixture
from inkling.data.shards import Dataset, open_dataset
from inkling.errors import UserError
from inkling.evals import bpb
from inkling.evals.core import score
from inkling.evals.core.bundle import read_bundle
from inkling.evals.core.fetch import find_bundle
from inkling.evals.harness import harness_model, run_harness
from inkling.hub.weights import Weights, same_ids
from inkling.model.gpt import GPT
from inkling.runtime import Runtime
from inkling.stages.bar import show_bar
from inkling.text.tokenizer import Tokenizer
from inkling.train.parallel import wait_for_all
from inkling.train.runfolder import read_resolved

HARNESS = "harness:"


@dataclass(frozen=True)
class MeasureSettings:
    """measures"""

    dataset: str = ""
    """bpb: whose validation text is read, a name or path; the run's own by default"""
    text: str = ""
    """bpb: a file of text to read instead, as one document"""
    eval_tokens: int = 2**20
    """bpb: tokens of a data set's validation text that are read, at most; 0: all"""
    bundle: str = ""
    """core: a folder or zip file with the tasks; by default data/eval_bundle, which is fetched if it is not there"""
    include_path: str = ""
    """harness: a folder with YAML files of your own tasks"""
    max_per_task: int = 0
    """core, harness: questions of each task, at most; 0: all"""
    batch_size: int = 8
    """texts that are read at once"""


@dataclass(frozen=True)
class Subject:
    """Who is measured."""

    run: str
    weights: Weights
    model: GPT
    tokenizer: Tokenizer


@dataclass(frozen=True)
class Measured:
    """What is printed and written."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    values: dict[str, Any]
    strong: Sequence[str] = field(default=())


Measure = Callable[[Subject, MeasureSettings, Runtime], Measured]


def split_names(names: str) -> tuple[list[str], str]:
    """The measures of a list with commas, and the rest of it: the tasks that are asked as conversations."""
    found = [name.strip() for name in names.split(",") if name.strip()]
    measures = [name for name in found if name in MEASURES or name.startswith(HARNESS)]
    return list(dict.fromkeys(measures)), ",".join(name for name in found if name not in measures)


def check_measures(settings: MeasureSettings) -> None:
    """Refuse what cannot be meant."""
    for name, least in {"eval_tokens": 0, "max_per_task": 0, "batch_size": 1}.items():
        if getattr(settings, name) < least:
            raise UserError(f"{name}={getattr(settings, name)} must be at least {least}.", status=2)
    if settings.text and settings.dataset:
        raise UserError("--text and --dataset both say what is read.", "Give one of them.", status=2)


def measure(name: str, subject: Subject, settings: MeasureSettings, runtime: Runtime) -> Measured:
    """One measure, by its name."""
    if name.startswith(HARNESS):
        return _measure_harness(name.removeprefix(HARNESS), subject, settings, runtime)
    return MEASURES[name](subject, settings, runtime)


# --- bits per byte ---------------------------------------------------------------------------------------


def _measure_bpb(subject: Subject, settings: MeasureSettings, runtime: Runtime) -> Measured:
    model, tokenizer, rows = subject.model, subject.tokenizer, settings.batch_size
    if settings.text:
        text = _read_text(settings.text)
        counts, weights = {settings.text: bpb.count_text(model, tokenizer, text, rows, runtime)}, [1.0]
    else:
        names, weights = parse_mixture(settings.dataset or _own_dataset(subject))
        parts = [_open(name, subject) for name in names]
        counts = {
            part.name: bpb.count_tokens(model, tokenizer, part.val, rows, runtime, settings.eval_tokens)
            for part in parts
        }
    mean = bpb.weighted(list(counts.values()), weights)
    table = [
        [
            name,
            f"{counted.bits_per_byte:.4f}",
            f"{counted.nats_per_token:.4f}",
            f"{counted.tokens:,}",
            f"{counted.bytes:,}",
        ]
        for name, counted in counts.items()
    ]
    if len(counts) > 1:
        table.append(["weighted", f"{mean:.4f}"])
    texts = {
        name: {
            "bits_per_byte": counted.bits_per_byte,
            "nats": counted.nats,
            "tokens": counted.tokens,
            "bytes": counted.bytes,
        }
        for name, counted in counts.items()
    }
    head = ("text", "bits per byte", "nats per token", "tokens", "bytes")
    return Measured("bits per byte", head, table, {"bits_per_byte": mean, "texts": texts}, ["weighted"])


def _own_dataset(subject: Subject) -> str:
    """What the run was trained on."""
    run = subject.weights.path.parent.parent
    dataset = read_resolved(run)[0].get("dataset", "") if (run / "resolved.toml").is_file() else ""
    if not dataset:
        raise UserError(
            f"{subject.run} does not say which text it was trained on.",
            "Say what is read: --dataset=NAME, or --text=FILE.",
            status=2,
        )
    return str(dataset)


def _open(name: str, subject: Subject) -> Dataset:
    dataset = open_dataset(name)
    if not same_ids(dataset.tokenizer(), subject.tokenizer):
        raise UserError(
            f"{dataset.path} was prepared with another tokenizer than {subject.run} has.",
            "Read a file of text, which is encoded here: --text=FILE.",
        )
    return dataset


def _read_text(where: str) -> str:
    try:
        return Path(where).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8: {error.reason} at byte {error.start}.", "Convert it first.") from None


# --- CORE ------------------------------------------------------------------------------------------------


def _measure_core(subject: Subject, settings: MeasureSettings, runtime: Runtime) -> Measured:
    bundle = _bundle(settings.bundle, runtime)
    tasks = read_bundle(bundle, settings.max_per_task)
    with show_bar("core", sum(len(task.items) for task in tasks)) as advance:
        results = [
            score.run_task(subject.model, subject.tokenizer, task, settings.batch_size, runtime, advance)
            for task in tasks
        ]
    title = f"CORE, {len(tasks)} tasks of {bundle}"
    return Measured(title, score.HEAD, score.table_rows(results), score.as_json(results), ["CORE"])


def _bundle(where: str, runtime: Runtime) -> Path:
    """One process fetches, and the others find what it has fetched."""
    if runtime.is_main:
        find_bundle(where, lambda size: show_bar("fetching the bundle", size, in_bytes=True))
    wait_for_all(runtime)
    return find_bundle(where)


# --- lm-evaluation-harness -------------------------------------------------------------------------------


def _measure_harness(task: str, subject: Subject, settings: MeasureSettings, runtime: Runtime) -> Measured:
    if runtime.world_size > 1:
        raise UserError("The harness's tasks run in one process.", "Start it without torchrun.")
    lm = harness_model(subject.model, subject.tokenizer, settings.batch_size)
    results = run_harness(lm, task, settings.include_path, settings.max_per_task)
    rows = [
        [name, metric.removesuffix(",none"), f"{value:.4f}" if isinstance(value, float) else str(value)]
        for name, metrics in results.items()
        for metric, value in metrics.items()
        if isinstance(value, int | float)
    ]
    return Measured(f"lm-evaluation-harness, {task}", ("task", "metric", "value"), rows, {"results": results})


MEASURES: dict[str, Measure] = {"bpb": _measure_bpb, "core": _measure_core}
