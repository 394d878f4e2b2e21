"""Tables of settings, from the dataclasses that declare them: key, type, default, range, effect, example.

The range of a number is found by asking: the code that refuses bad values is given some and watched.
"""

import ast
import dataclasses
import importlib
import inspect
import textwrap
import typing
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from book.machine.problem import Wrong
from inkling.cli import VERBS, module_of
from inkling.errors import UserError
from inkling.infer.sampling import SamplingSettings, check_sampling
from inkling.model.config import GPTConfig
from inkling.recipes import load_recipe, recipe_names
from inkling.settings import describe_type
from inkling.train.loop import LoopSettings, check_loop
from inkling.train.optim import OptimizerSettings, check_optimizer
from inkling.train.schedule import ScheduleSettings, check_schedule

CHECKS: dict[type, Callable[[Any], Any]] = {
    LoopSettings: check_loop,
    OptimizerSettings: check_optimizer,
    ScheduleSettings: check_schedule,
    SamplingSettings: check_sampling,
    GPTConfig: lambda config: dataclasses.replace(config, vocab_size=config.vocab_size or 65).filled(),
}
OWN = "own"  # the section name of keys that a verb declares itself


def sections(verb: str) -> dict[str, Any]:
    """The sections of a verb's settings by field name, with its defaults; `own` holds what is not in a section."""
    if verb not in VERBS:
        raise Wrong(f"there is no verb {verb!r}", f"Verbs: {', '.join(VERBS)}.")
    return dict(_sections(importlib.import_module(module_of(verb)).SETTINGS(), OWN))


def _sections(settings: Any, name: str) -> Iterator[tuple[str, Any]]:
    inner = [f.name for f in dataclasses.fields(settings) if dataclasses.is_dataclass(getattr(settings, f.name))]
    if len(inner) < len(dataclasses.fields(settings)):
        yield name, settings
    for field in inner:
        yield from _sections(getattr(settings, field), field)


def settings_table(words: list[str]) -> list[str]:
    """`settings VERB SECTION` → a Markdown table of that section's keys."""
    if len(words) != 2:
        raise Wrong("settings wants a verb and a section", "<!-- make: settings train optimizer -->")
    verb, section = words
    known = sections(verb)
    if section not in known:
        raise Wrong(f"inkling {verb} has no section {section!r}", f"Sections: {', '.join(known)}.")
    defaults = known[section]
    schema = type(defaults)
    effects, hints = field_docs(schema), typing.get_type_hints(schema)
    rows = ["| key | type | default | range | effect | example |", "| --- | --- | --- | --- | --- | --- |"]
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(hints[field.name]):
            continue
        anchor = field.name if verb == "train" else f"{verb}-{field.name}"
        cells = [
            f'<a id="{anchor}"></a>`{field.name}`',
            describe_type(hints[field.name]),
            f"`{getattr(defaults, field.name)!r}`",
            allowed(schema, field, hints[field.name]),
            effects.get(field.name, ""),
            example(field.name, getattr(defaults, field.name), hints[field.name]),
        ]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows


def field_docs(schema: type) -> dict[str, str]:
    """Field → the text that stands below it in the class, on one line."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(schema)))
    body = typing.cast(ast.ClassDef, tree.body[0]).body
    docs = {}
    for node, below in pairwise(body):
        is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and is_text:
            docs[node.target.id] = " ".join(str(ast.literal_eval(below.value)).split())  # type: ignore[attr-defined]
    return docs


def allowed(schema: type, field: dataclasses.Field, kind: Any) -> str:
    """The range of a number in words, found by trying values; empty where nothing is refused."""
    kinds = {kind, *typing.get_args(kind)}
    if schema not in CHECKS or not kinds & {int, float}:
        return ""
    number = float if float in kinds else int
    takes = {value: _takes(schema, field.name, number(value)) for value in (-1, 0, 1, 2)}
    if takes[-1] or not (takes[0] or takes[1]):
        return ""
    if takes[0]:
        if not takes[1]:
            return "0 ≤ x < 1"
        return "≥ 0" if takes[2] else "0 ≤ x ≤ 1"
    if number is int:
        return "≥ 1"
    return "> 0" if takes[2] else "0 < x ≤ 1"


def _takes(schema: type, name: str, value: float) -> bool:
    try:
        CHECKS[schema](dataclasses.replace(typing.cast(Any, schema()), **{name: value}))
    except UserError:
        return False
    return True


def example(name: str, default: Any, kind: Any) -> str:
    """A flag that is not the default: what a recipe says, or another choice."""
    for recipe in recipe_names():
        value = load_recipe(recipe)[1].values.get(name)
        if value is not None and value != default:
            return f"`--{name}={value}` (`{recipe}`)"
    if kind is bool:
        return f"`--{name}={not default}`"
    choices = [choice for choice in typing.get_args(kind) if choice != default]
    if typing.get_origin(kind) is typing.Literal and choices:
        return f"`--{name}={choices[0]}`"
    return ""
