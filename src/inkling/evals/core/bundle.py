"""The published bundle of CORE's tasks, as a folder: what is asked, how often it is shown first, what guessing scores.

core.yaml           `icl_tasks`: label, dataset_uri, num_fewshot, icl_task_type, continuation_delimiter
eval_meta_data.csv  what guessing scores in each task, in percent: columns "Eval Task" and "Random baseline"
eval_data/          the questions, one JSON object a line
"""

import csv
import importlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from inkling.errors import UserError

Kind = Literal["multiple_choice", "schema", "language_modeling"]
Item = Mapping[str, Any]

CONFIG, BASELINES, DATA = "core.yaml", "eval_meta_data.csv", "eval_data"
HINT = "Is it the whole bundle? Without --bundle it is fetched anew."

# What a question of each kind must hold.
FIELDS: dict[str, tuple[str, ...]] = {
    "multiple_choice": ("query", "choices", "gold"),
    "schema": ("context_options", "continuation", "gold"),
    "language_modeling": ("context", "continuation"),
}
OPTIONS = {"multiple_choice": "choices", "schema": "context_options"}


@dataclass(frozen=True)
class CoreTask:
    """One task, its questions in the order in which they are asked."""

    label: str
    kind: Kind
    shots: int
    """solved examples that stand before each question"""
    delimiter: str
    """between what is given and what continues it"""
    baseline: float
    """the share of right answers that guessing gets"""
    items: tuple[Item, ...]


def read_bundle(folder: Path, max_per_task: int = 0) -> list[CoreTask]:
    """The tasks of a bundle, with at most `max_per_task` questions each (0: all). Raises UserError for a bad bundle."""
    entries = _read_config(folder / CONFIG)
    baselines = _read_baselines(folder / BASELINES)
    return [_read_task(folder, entry, baselines, max_per_task) for entry in entries]


def _read_config(file: Path) -> list[dict[str, Any]]:
    yaml = _import_yaml()
    try:
        entries = yaml.safe_load(_text_of(file))["icl_tasks"]
        assert entries
        return [
            {
                "label": str(entry["label"]),
                "file": str(entry["dataset_uri"]),
                "kind": entry["icl_task_type"],
                # A list, because the paper measured some tasks at several counts; the first one makes CORE.
                "shots": int(entry["num_fewshot"][0]),
                "delimiter": str(entry.get("continuation_delimiter", " ")),
            }
            for entry in entries
        ]
    except (yaml.YAMLError, KeyError, TypeError, ValueError, IndexError, AttributeError, AssertionError) as error:
        raise UserError(f"{file} is not a list of CORE's tasks ({type(error).__name__}: {error}).", HINT) from None


def _import_yaml() -> Any:
    try:
        return importlib.import_module("yaml")
    except ImportError:
        raise UserError("core.yaml needs the package yaml.", "Run: pip install 'inkling-lm[eval]'") from None


def _read_baselines(file: Path) -> dict[str, float]:
    try:
        rows = csv.DictReader(_text_of(file).splitlines())
        return {row["Eval Task"]: float(row["Random baseline"]) / 100 for row in rows}
    except (KeyError, ValueError, TypeError):
        raise UserError(f'{file} lacks the columns "Eval Task" and "Random baseline", or a number.', HINT) from None


def _read_task(folder: Path, entry: Mapping[str, Any], baselines: Mapping[str, float], most: int) -> CoreTask:
    label, kind = entry["label"], entry["kind"]
    if kind not in get_args(Kind):
        raise UserError(f"{label} in {folder / CONFIG} is of type {kind!r}.", f"Types are: {', '.join(FIELDS)}.")
    if label not in baselines:
        raise UserError(f"{folder / BASELINES} does not say what guessing scores in {label}.", HINT)
    file = folder / DATA / entry["file"]
    items = _read_items(file, kind)
    # The published shuffle, so that "the first 500" are the same ones; and the published draws of examples number them.
    random.Random(1337).shuffle(items)
    items = items[:most] if most else items
    if entry["shots"] >= len(items):
        raise UserError(
            f"{label} shows {entry['shots']} examples before each question, but {file} gives {len(items)} questions.",
            "Raise --max_per_task." if most else HINT,
        )
    return CoreTask(label, kind, entry["shots"], entry["delimiter"], baselines[label], tuple(items))


def _read_items(file: Path, kind: Kind) -> list[Item]:
    items = []
    for number, line in enumerate(_text_of(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            is_fine = all(name in item for name in FIELDS[kind]) and _can_be_asked(item, kind)
        except (ValueError, TypeError):
            is_fine = False
        if not is_fine:
            raise UserError(
                f"Line {number} of {file} is no {kind} question.",
                f"It wants a JSON object with {', '.join(FIELDS[kind])}; gold is the number of an option, from 0.",
            )
        items.append(item)
    if not items:
        raise UserError(f"There is no question in {file}.", HINT)
    return items


def _can_be_asked(item: Item, kind: Kind) -> bool:
    if kind == "language_modeling":
        return bool(str(item["continuation"]).strip())
    options = item[OPTIONS[kind]]
    return isinstance(options, list) and isinstance(item["gold"], int) and 0 <= item["gold"] < len(options) > 1


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"The bundle has no {file}.", HINT) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {file}: {error}.", HINT) from None
