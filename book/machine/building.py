"""The book as it should be, made from the pages, the source and the snippets; and what differs from it."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from book.machine import blocks, coverage, indexes, links, numbers, snippets, tables
from book.machine.book import Book
from book.machine.parts import Page, Part
from book.machine.problem import Problem, Wrong
from book.machine.running import run_page

MAKERS = tables.MAKERS | indexes.MAKERS
BUILD = "Run `make book` and look at what it changed."


@dataclass
class Built:
    """Pages in the form that they should have, and what could not be made."""

    pages: dict[str, Page]
    problems: list[Problem] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)


def build(book: Book, again: bool = False, only: str = "") -> Built:
    """Every page with its generated parts made anew. Runs the snippets whose outputs are not to be believed.

    `only` names the one page whose snippets are run; the others keep their outputs.
    """
    built = Built({path: numbers.refresh(book, blocks.refresh(book, page)) for path, page in book.pages.items()})
    asked = [page for path, page in built.pages.items() if only in ("", path)]
    runnable = [page for page in asked if not list(snippets.complaints(page))]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # of pages side by side; their snippets are processes
        for ran in pool.map(lambda page: run_page(book, page, again), runnable):
            built.pages[ran.page.path] = ran.page
            built.problems += ran.problems
            built.pictures |= ran.pictures
            built.ran += [ran.page.path] * ran.is_new
    book.pages = built.pages  # indexes read what the other pages have become
    for path, page in built.pages.items():
        built.pages[path] = _made(book, page, built.problems)
    # A page's minutes count its own generated parts: a second round is the same as every later one.
    book.pages = built.pages
    built.pages = {path: _made(book, page, []) for path, page in built.pages.items()}
    return built


def _made(book: Book, page: Page, problems: list[Problem]) -> Page:
    parts: list[Part] = []
    for part in page.parts:
        if part.kind == "make":
            try:
                part = replace(part, lines=tuple("\n".join(tables.make(book, page, part, MAKERS)).split("\n")))
            except Wrong as wrong:
                problems.append(Problem(page.path, part.line, f"{part.args}: {wrong.says}", wrong.remedy))
        parts.append(part)
    return replace(page, parts=tuple(parts))


def complaints(book: Book) -> Iterator[Problem]:
    """What is wrong with the pages as they are written, whatever is generated."""
    for page in book.pages.values():
        yield from page.problems
        yield from blocks.complaints(book, page)
        yield from numbers.complaints(book, page)
        yield from snippets.complaints(page)
    yield from coverage.complaints(book)
    yield from tables.complaints(book)
    yield from indexes.complaints(book)
    yield from links.complaints(book)


def differences(before: Page, after: Page) -> Iterator[Problem]:
    """Generated parts that are not what they should be, by line. An output that only ran again is no difference."""
    if before.text() == after.text():
        return
    old, new = _generated(before), _generated(after)
    for number, made in enumerate(new):
        found = old[number] if number < len(old) else None
        if found is None or (found.kind, found.line) != (made.kind, made.line):
            yield Problem(before.path, made.line, f"{_name(made)} is not generated yet", BUILD)
            return
        is_same = found.lines == made.lines and (made.kind == "output" or found.closing == made.closing)
        if not is_same:
            yield Problem(before.path, found.line, f"{_name(made)} is not what it should be any more", BUILD)
    for one, other in zip(_prose(before), _prose(after), strict=False):
        for i, (line, wanted) in enumerate(zip(one.lines, other.lines, strict=False)):
            if line != wanted:
                says = f"a number in this line is not what it should be any more: {line.strip()[:90]}"
                yield Problem(before.path, one.line + i, says, BUILD)


def _generated(page: Page) -> list[Part]:
    """The generated parts in order; an output bears the line of its snippet."""
    found: list[Part] = []
    fence = 0
    for part in page.parts:
        if part.kind == "fence":
            fence = part.line
        if part.kind == "output":
            part = replace(part, line=fence)
        if part.kind in ("code", "make", "output"):
            found.append(part)
    return found


def _prose(page: Page) -> list[Part]:
    return [part for part in page.parts if part.kind == "text" and any("<!-- num:" in line for line in part.lines)]


def _name(part: Part) -> str:
    return {"code": f"the code of {part.args}", "make": f"the part `{part.args}`", "output": "the output"}[part.kind]
