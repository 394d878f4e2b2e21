"""The generated parts that come from the program: `<!-- make: NAME WORDS -->` → lines of Markdown."""

import ast
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import dropwhile, islice, takewhile
from typing import Any

from book.machine.book import Book
from book.machine.coverage import page_of
from book.machine.parts import Page, Part
from book.machine.paths import link, link_to_source
from book.machine.problem import Problem, Wrong
from book.machine.settings_tables import sections, settings_table
from inkling.cli import VERBS
from inkling.hub.families import FAMILIES, lacking
from inkling.model.config import PRESETS, GPTConfig
from inkling.recipes import load_recipe, recipe_names

Maker = Callable[[Book, Page, list[str]], list[str]]


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Cells → a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines]


def commands(book: Book, page: Page, words: list[str]) -> list[str]:
    """Every verb of the command line and what it is for."""
    return table(["command", "what it does"], [[f"`inkling {verb}`", does] for verb, does in VERBS.items()])


def settings(book: Book, page: Page, words: list[str]) -> list[str]:
    """The keys of one section of a verb."""
    return settings_table(words)


def presets(book: Book, page: Page, words: list[str]) -> list[str]:
    """What each family of models sets; an empty cell is GPTConfig's default."""
    keys = [key for key in GPTConfig.__dataclass_fields__ if any(key in preset for preset in PRESETS.values())]
    rows = []
    for key in keys:
        cells = [f"`{preset[key]}`" if key in preset else "" for preset in PRESETS.values()]
        rows.append([f"`{key}`", *cells, f"`{GPTConfig.__dataclass_fields__[key].default}`"])
    return table(["key", *(f"`{name}`" for name in PRESETS), "default"], rows)


# A model of the least size, of which only the family's own choices differ.
TINY = {"block_size": 8, "vocab_size": 16, "n_layer": 1, "n_head": 2, "n_embd": 8}
# What some families cannot be written with, in words: fields of GPTConfig that make a TINY model such a one.
ODDITIES: dict[str, dict[str, Any]] = {
    "fewer heads of keys and values than of queries": {"n_kv_head": 1},
    "a head size that is not width / heads": {"head_size": 6},
}


def families(book: Book, page: Page, words: list[str]) -> list[str]:
    """Where published families differ: their settings, what else each can be written with, and names of parameters."""
    tiny = {name: GPTConfig(**PRESETS[name] | TINY | {"preset": name}).filled() for name in FAMILIES}
    rows = [["transformers' class", *(f"`{family.architecture}`" for family in FAMILIES.values())]]
    needed = {key for family in FAMILIES.values() for key in family.needs}
    for key in GPTConfig.__dataclass_fields__:
        values = {getattr(config, key) for config in tiny.values()}
        if key in needed or (len(values) > 1 and key not in ("preset", "init", "mlp_hidden")):
            rows.append([f"`{key}`", *(_choice(tiny[name], name, key) for name in FAMILIES)])
    for oddity, changes in ODDITIES.items():
        cells = ["no" if lacking(replace(tiny[name], **changes), name) else "yes" for name in FAMILIES]
        rows.append([oddity, *cells])
    names = [FAMILIES[name].names(config) for name, config in tiny.items()]
    for ours in dict.fromkeys(ours for found in names for ours in found if ours.endswith("weight")):
        cells = ["<br>".join(f"`{theirs}`" for theirs in found.get(ours, [])) for found in names]
        rows.append([f"`{ours}`", *cells])
    return table(["", *(f"`{name}`" for name in FAMILIES)], rows)


def _choice(config: GPTConfig, family: str, key: str) -> str:
    """What the family's preset sets, and what else it can be written with."""
    if key.startswith("rope_") and config.position != "rotary":
        return ""
    value = getattr(config, key)
    allowed = FAMILIES[family].needs.get(key)
    others = ", ".join(f"`{other}`" for other in allowed or () if other != value)
    free = "any" if allowed is None else others
    return f"`{value}`" + (f"; or {free}" if free else "")


def recipes(book: Book, page: Page, words: list[str]) -> list[str]:
    """Every recipe with the words that stand above its settings."""
    rows = []
    for name in recipe_names():
        path = f"src/inkling/recipes/{name}.toml"
        text = " ".join(line[1:].strip() for line in book.source(path).lines if line.startswith("#"))
        rows.append([f"[`{name}`]({link_to_source(page.path, path)})", text])
    return table(["recipe", "what it is"], rows)


def recipe(book: Book, page: Page, words: list[str]) -> list[str]:
    """What some recipes set, side by side."""
    try:
        layers = [load_recipe(name)[1].values for name in words]
    except Exception as error:
        raise Wrong(str(error)) from None
    keys = list(dict.fromkeys(key for values in layers for key in values))
    rows = [[f"`{key}`", *(f"`{v[key]}`" if key in v else "" for v in layers)] for key in keys]
    return table(["key", *(f"`{name}`" for name in words)], rows)


def measured(book: Book, page: Page, words: list[str]) -> list[str]:
    """A table of measurements: the first below a heading of a file in benchmarks/."""
    if len(words) != 2:
        raise Wrong(f"measured takes a file and a heading, not {len(words)} words", 'measured core "Sampling"')
    file, heading = words
    lines = iter(book.source(f"benchmarks/{file}.md").lines)
    below = dropwhile(lambda line: not (line.startswith("#") and line.lstrip("# ") == heading), lines)
    section = takewhile(lambda line: not line.startswith("#"), islice(below, 1, None))
    table_on = dropwhile(lambda line: not line.startswith("|"), section)
    found = list(takewhile(lambda line: line.startswith("|"), table_on))
    if not found:
        raise Wrong(f"benchmarks/{file}.md has no table below a heading {heading!r}")
    return found


def modules(book: Book, page: Page, words: list[str]) -> list[str]:
    """Every source file, what it is about, and where the book goes through it line by line."""
    pages = page_of(book)
    waiting = set(book.lists.get("not_covered_yet", []))
    rows = []
    for file in book.source_files():
        about = ast.get_docstring(ast.parse("\n".join(book.source(file).lines))) or ""
        explained = pages.get(file)
        there = explained in book.pages and file not in waiting
        where = f"[{book.pages[explained].title}]({link(page.path, explained)})" if explained and there else ""
        first = about.split("\n\n")[0].replace("\n", " ")
        rows.append([f"[`{file}`]({link_to_source(page.path, file)})", first, where])
    return table(["file", "about", "line by line in"], rows)


MAKERS: dict[str, Maker] = {
    "commands": commands,
    "settings": settings,
    "presets": presets,
    "families": families,
    "recipes": recipes,
    "recipe": recipe,
    "measured": measured,
    "modules": modules,
}


def make(book: Book, page: Page, part: Part, makers: dict[str, Maker]) -> list[str]:
    """The lines of a `make` directive; Wrong says what it does not know."""
    words = shlex.split(part.args)
    if not words or words[0] not in makers:
        raise Wrong(f"nothing is made by {part.args!r}", f"There is: {', '.join(sorted(makers))}.")
    return makers[words[0]](book, page, words[1:]) or ["*(nothing yet)*"]


def complaints(book: Book) -> Iterator[Problem]:
    """Settings and source files that no page shows."""
    made = {part.args for page in book.pages.values() for part in page.parts if part.kind == "make"}
    reference = book.lists.get("settings_page", "")
    if reference in book.pages:
        shown: list[Any] = []
        for args in made:
            words = args.split()
            if len(words) == 3 and words[0] == "settings" and words[1] in VERBS:
                shown += [section for name, section in sections(words[1]).items() if name == words[2]]
        for verb in VERBS:
            for name, section in sections(verb).items():
                if section not in shown:
                    shown.append(section)
                    says = f"the settings `{name}` of inkling {verb} are in no table"
                    yield Problem(reference, 0, says, f"Add <!-- make: settings {verb} {name} -->.")
    if reference and "modules" not in made:
        yield Problem("book.toml", 0, "no page holds the module map", "Put <!-- make: modules --> into one.")
