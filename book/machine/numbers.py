"""Numbers in prose: `<!-- num: NAME WORDS -->124,373,760<!-- /num -->`, computed or looked up, never typed.

parameters gpt2_124m               of a recipe
millions gpt2_124m                 the same, as 124.4
recipe demo max_iters              a value that a recipe sets
default train learning_rate        the default of a setting
bench core "row" "column"          a cell of a table in benchmarks/core.md; its first number, and with
bench core "row" "column" 2        a figure behind, its second; `"heading > row"` where a row is not alone
lines src/inkling/cli.py           the length of a file
count verbs                        verbs, recipes, presets, settings (of train), source_files, source_lines
"""

import dataclasses
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from book.machine.book import Book
from book.machine.parts import Page
from book.machine.problem import Problem, Wrong
from inkling.cli import VERBS, module_of
from inkling.errors import UserError
from inkling.model.config import PRESETS, GPTConfig
from inkling.model.cost import parameters_by_part
from inkling.recipes import load_recipe, recipe_names

_NUMBER = re.compile(r"<!-- num: (?P<args>[^\n]*?) -->(?:(?P<value>[^\n]*?)<!-- /num -->)?")
_FIGURE = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def parameters(book: Book, name: str) -> str:
    """How many numbers the model of a recipe learns."""
    return f"{_parameters(name):,}"


def millions(book: Book, name: str) -> str:
    """The same in millions, with one decimal."""
    return f"{_parameters(name) / 1e6:.1f}"


def _parameters(name: str) -> int:
    values = _recipe(name)
    fields = {field.name for field in dataclasses.fields(GPTConfig)}
    chosen: dict[str, Any] = PRESETS[values.get("preset", "gpt2")] | {k: v for k, v in values.items() if k in fields}
    if not chosen.get("vocab_size"):
        known = {"bundled": 256, "shakespeare_char": 65}
        dataset = str(values.get("dataset", ""))
        if ":" in dataset:
            raise Wrong(f"the recipe {name} does not say how large its vocabulary is", "Look the figure up: bench …")
        chosen["vocab_size"] = known.get(dataset, 50257)
    return sum(parameters_by_part(GPTConfig(**chosen)).values())


def _recipe(name: str) -> dict[str, Any]:
    try:
        return load_recipe(name)[1].values
    except UserError as error:
        raise Wrong(error.problem, error.remedy) from None


def recipe(book: Book, name: str, key: str) -> str:
    """What a recipe sets."""
    values = _recipe(name)
    if key not in values:
        raise Wrong(f"the recipe {name} does not set {key}", f"It sets: {', '.join(values)}.")
    return _shown(values[key])


def default(book: Book, verb: str, key: str) -> str:
    """The default of a verb's setting."""
    import importlib

    from inkling.settings import leaves

    if verb not in VERBS:
        raise Wrong(f"there is no verb {verb!r}", f"Verbs: {', '.join(VERBS)}.")
    known = leaves(importlib.import_module(module_of(verb)).SETTINGS)
    if key not in known:
        raise Wrong(f"inkling {verb} has no setting {key!r}")
    return _shown(known[key][1].default)


def bench(book: Book, file: str, row: str, column: str, which: str = "1") -> str:
    """A figure from a table in benchmarks/."""
    heading, _, name = row.rpartition(" > ")
    section, head, found = "", [""], []
    for line in book.source(f"benchmarks/{file}.md").lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if line.startswith("#"):
            section = line.lstrip("# ")
        if not cells:
            head = [""]
        elif head == [""]:
            head = cells
        elif name in cells[0] and heading in section and column in head:
            found.append(cells[head.index(column)])
    if len(found) != 1:
        remedy = 'Write "heading > row" with more of both.' if found else "Look at the tables of that file."
        raise Wrong(f"{len(found)} cells in benchmarks/{file}.md are {row!r}, {column!r}", remedy)
    figures = _FIGURE.findall(found[0])
    if not which.isdecimal() or not 1 <= int(which) <= len(figures):
        raise Wrong(f"the cell {found[0]!r} has {len(figures)} numbers, and not a number {which}")
    return figures[int(which) - 1]


def lines(book: Book, path: str) -> str:
    """The length of a file."""
    return f"{len(book.source(path).lines):,}"


def count(book: Book, what: str) -> str:
    """How many there are of something that can be counted."""
    from inkling.settings import leaves
    from inkling.stages.train_settings import TrainSettings

    files = book.source_files()
    counts: dict[str, Callable[[], int]] = {
        "verbs": lambda: len(VERBS),
        "recipes": lambda: len(recipe_names()),
        "presets": lambda: len(PRESETS),
        "settings": lambda: len(leaves(TrainSettings)),
        "source_files": lambda: len(files),
        "source_lines": lambda: sum(len(book.source(file).lines) for file in files),
    }
    if what not in counts:
        raise Wrong(f"{what!r} is not counted", f"Counted are: {', '.join(counts)}.")
    return f"{counts[what]():,}"


REGISTRY: dict[str, Callable[..., str]] = {
    f.__name__: f for f in (parameters, millions, recipe, default, bench, lines, count)
}


def value_of(book: Book, args: str) -> str:
    """What a `num` directive stands for."""
    try:
        name, *words = shlex.split(args)
    except ValueError:
        raise Wrong(f"{args!r} is not understood") from None
    if name not in REGISTRY:
        raise Wrong(f"there is no number {name!r}", f"There is: {', '.join(REGISTRY)}.")
    try:
        return REGISTRY[name](book, *words)
    except TypeError:
        remedy = (REGISTRY[name].__doc__ or "") + " See book/machine/numbers.py."
        raise Wrong(f"{name} does not take {' '.join(words) or 'nothing'}", remedy) from None


def refresh(book: Book, page: Page) -> Page:
    """The page with the numbers of today; those that cannot be had stay as they are."""

    def put(found: re.Match[str]) -> str:
        try:
            return f"<!-- num: {found['args']} -->{value_of(book, found['args'])}<!-- /num -->"
        except Wrong:
            return found[0]

    parts = []
    for part in page.parts:
        if part.kind == "text":
            part = replace(part, lines=tuple(_in_prose(line, put) for line in part.lines))
        parts.append(part)
    return replace(page, parts=tuple(parts))


def _in_prose(line: str, put: Callable[[re.Match[str]], str]) -> str:
    """Apply `put` outside of `code`, so that a page can show the directive itself."""
    pieces = re.split(r"(`+[^`]+`+)", line)
    return "".join(piece if i % 2 else _NUMBER.sub(put, piece) for i, piece in enumerate(pieces))


def complaints(book: Book, page: Page) -> Iterator[Problem]:
    """Numbers that cannot be had."""
    for part in page.parts:
        if part.kind != "text":
            continue
        for i, line in enumerate(part.lines):
            asked: list[str] = []
            _in_prose(line, lambda found, asked=asked: asked.append(found["args"]) or found[0])  # type: ignore[misc]
            for args in asked:
                try:
                    value_of(book, args)
                except Wrong as wrong:
                    yield Problem(page.path, part.line + i, f"{args}: {wrong.says}", wrong.remedy)


def _shown(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
