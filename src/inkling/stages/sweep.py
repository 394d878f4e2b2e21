"""What `miniseries` and `scaling` have in common: a training for each size, all below runs/NAME, by the depth dial."""

import math
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from inkling.data.mixture import parse_mixture
from inkling.data.shards import folder_for
from inkling.errors import UserError
from inkling.runtime import describe_machine
from inkling.settings import Layer, build
from inkling.stages.pipeline import BOOK, Pipeline, Stage, call, in_words
from inkling.stages.train_settings import TrainSettings, compose

# What is made here without being asked for: text that needs no network.
OFFLINE = ("bundled", "almanac")
DEFAULT = "sweep"  # the recipe
# What a sweep sets itself.
TAKEN = ("out_dir", "init_from", "resume", "depth", "n_layer", "n_embd", "n_head", "max_iters", "target_flops")


@dataclass(frozen=True)
class SweepSettings:
    """sweep"""

    name: str = ""
    """the runs are runs/NAME/…, and so is what comes of them; empty: the verb"""
    width_per_layer: int = 16
    """channels for each layer, which are also the width of a head; 64 is the dial's own, for real models"""
    gpus: int = 1
    """processes of each training, by torchrun"""
    dry_run: bool = False
    """list the trainings, and run none"""


@dataclass(frozen=True)
class Cell:
    """One training of a sweep."""

    title: str
    label: str
    """its folder below runs/NAME"""
    depth: int
    words: tuple[str, ...] = ()
    """what else is said to `inkling train`"""


def split_own(schema: type, flags: dict[str, str]) -> tuple[Any, dict[str, str]]:
    """(The sweep's own settings, the flags that go to every training)."""
    own = {field.name for field in fields(schema)}
    settings, _ = build(schema, [Layer("flag", {key: flags[key] for key in flags if key in own})])
    rest = {key: value for key, value in flags.items() if key not in own}
    for key in TAKEN:
        if key in rest:
            raise UserError(f"--{key} is what a sweep sets itself.", "See --depths and --name.", status=2)
    return settings, rest


def numbers(text: str, key: str, whole: bool = True) -> list[float]:
    """`2,4,6` → the numbers, ascending, each once. Raises UserError for what is none, or not above 0."""
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        found = [0.0]
    if not all(0 < number < math.inf and (number == int(number) or not whole) for number in found):
        kind = "whole numbers" if whole else "numbers"
        raise UserError(f"--{key} does not take {text!r}.", f"It wants {kind} above 0 with commas between.", status=2)
    return found


def plan(verb: str, recipe: str, settings: SweepSettings, rest: dict[str, str], cells: Iterable[Cell]) -> Pipeline:
    """A stage for each training. Data that is made offline and not here yet is prepared first."""
    name = folder_for(settings.name, "runs").name  # which refuses what is no name
    if settings.width_per_layer < 2 or settings.width_per_layer % 2:
        raise UserError(f"width_per_layer={settings.width_per_layer} must be even.", "16 is the default.", status=2)
    if settings.gpus < 1:
        raise UserError(f"gpus={settings.gpus} must be at least 1.", status=2)
    common = tuple(f"--{key}={value}" for key, value in rest.items())
    wishes, _, _ = compose([recipe], rest | {"depth": "1"})
    prepare_offline(wishes, settings.dry_run)
    reads = tuple(meta for meta in metas(wishes) if meta.exists())
    stages = []
    for cell in cells:
        run = f"runs/{name}/{cell.label}"
        shape: tuple[str, ...] = (f"--depth={cell.depth}",)
        if settings.width_per_layer != 64:
            shape += (f"--n_embd={settings.width_per_layer * cell.depth}", f"--n_head={cell.depth}")
        words = ("train", recipe, *shape, *cell.words, *common, f"--out_dir={run}")
        stages.append(Stage(cell.title, words, Path(run), reads, processes=settings.gpus))
    return Pipeline(f"{name}/sweep", tuple(stages), again(verb, recipe, settings, rest))


def again(verb: str, recipe: str, settings: SweepSettings, rest: dict[str, str]) -> str:
    """The command that a person would type for this sweep, the name last."""
    usual = type(settings)()
    told = {field.name: getattr(settings, field.name) for field in fields(settings)}
    told = {key: value for key, value in told.items() if value != getattr(usual, key)}
    name = told.pop("name", None)
    words = ([] if recipe == DEFAULT else [recipe]) + [f"--{key}={value}" for key, value in (told | rest).items()]
    return f"inkling {shlex.join([verb, *words, *([f'--name={name}'] if name else [])])}"


def prepare_offline(wishes: TrainSettings, dry_run: bool) -> None:
    """Make the text that the recipe names, where that takes no network."""
    for name in parse_mixture(wishes.data.dataset)[0]:
        if name in OFFLINE and not dry_run and not any(meta.exists() for meta in metas(wishes, name)):
            words = ("prepare", name)
            print(f"$ {in_words(words)}", flush=True)
            if call(words):
                raise UserError(f"The data set {name} could not be prepared.", f"Try it alone: inkling prepare {name}")


def metas(wishes: TrainSettings, *names: str) -> list[Path]:
    """Where the data sets' meta.json may be, by name or by path."""
    found = names or parse_mixture(wishes.data.dataset)[0]
    return [Path(folder, "meta.json") for name in found for folder in (Path("data", name), Path(name))]


def show_plan(pipeline: Pipeline) -> None:
    """The commands, for --dry_run."""
    for number, stage in enumerate(pipeline.stages, 1):
        print(f"{number}. {stage.title}\n   $ {in_words(stage.words, stage.processes)}")


# --- the page ------------------------------------------------------------------------------------------------


def machine_line() -> str:
    """Where it was measured, in a sentence."""
    here = describe_machine()
    gpus = f", {len(here['gpus'])} × {here['gpus'][0]}" if here.get("gpus") else ""
    commit = f", commit {here['commit']}" if here["commit"] else ""
    return (
        f"{here['cores']} cores of {here['cpu']}{gpus}, {here['memory_bytes'] / 2**30:.0f} GiB, {here['system']}, "
        f"Python {here['python']}, torch {here['torch']}, inkling {here['inkling']}{commit}."
    )


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A table whose first column is words and whose others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def book_of(name: str) -> Path:
    """Where a sweep's book is."""
    return Path("runs", name, f"sweep{BOOK}")
