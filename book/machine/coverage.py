"""Every line of an analysed file stands in exactly one block of its analysis, in order.

book.toml says which page analyses which files. A file may wait in `not_covered_yet`, the one list, which only shrinks.
Blank lines belong to nobody.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from book.machine.blocks import Block, blocks_of
from book.machine.book import LISTS, Book
from book.machine.problem import Problem

WAITING = "not_covered_yet"


def files_by_page(book: Book) -> dict[str, list[str]]:
    """Page → the files that it analyses."""
    return {page: book.source_files(globs) for page, globs in book.lists.get("analysis", {}).items()}


def page_of(book: Book) -> dict[str, str]:
    """File → the first page that analyses it."""
    found: dict[str, str] = {}
    for page, files in files_by_page(book).items():
        for file in files:
            found.setdefault(file, page)
    return found


def complaints(book: Book) -> Iterator[Problem]:
    """Lines that no block shows, lines that two show, and blocks out of order."""
    shown: dict[str, list[Block]] = defaultdict(list)
    pages: dict[str, list[str]] = defaultdict(list)
    for page, files in files_by_page(book).items():
        for file in files:
            pages[file].append(page)
        if page in book.pages:
            for block in blocks_of(book, book.pages[page]):
                if isinstance(block, Block) and block.path in files:
                    shown[block.path].append(block)
    waiting = set(book.lists.get(WAITING, []))
    for file in sorted(waiting - pages.keys()):
        yield Problem(LISTS, 0, f"{WAITING} names {file}, which no analysis covers", "Take it from the list.")
    for file, owners in sorted(pages.items()):
        found = list(_complaints(book, file, owners[-1], shown[file]))
        if file not in waiting:
            yield from found
        elif not found:
            yield Problem(LISTS, 0, f"{file} is covered and still in {WAITING}", "Take it from the list.")


def _complaints(book: Book, file: str, page: str, blocks: list[Block]) -> Iterator[Problem]:
    if page not in book.pages or not blocks:
        yield Problem(page, 0, f"no block shows {file}", f"Write its analysis, or put it into {WAITING} in {LISTS}.")
        return
    source = book.source(file)
    owner: dict[int, Block] = {}
    for block in blocks:
        twice = [n for n in range(block.span.first, block.span.last + 1) if n in owner and source.lines[n - 1].strip()]
        if twice:
            says = f"{file}: {ranges(twice)} stand in {block.name} and in {owner[twice[0]].name}"
            yield Problem(block.page, block.part.line, says, "Show each line once: make one of the two smaller.")
        owner |= {n: block for n in range(block.span.first, block.span.last + 1) if n not in owner}
    missing = [n for n, line in enumerate(source.lines, 1) if line.strip() and n not in owner]
    for run in _runs(missing):
        before = max((b for b in blocks if b.span.last < run[0]), key=lambda b: b.span.last, default=None)
        after = before or blocks[0]
        words = f"below {before.name}" if before else f"above {after.name}"
        says = f"{file}: {ranges(run)} ({_name_at(book, file, run[0])}) stand in no block"
        yield Problem(after.page, after.part.line, says, f"Add a `code` directive for them, {words}.")
    for one, other in pairwise(blocks):
        if other.span.first < one.span.first:
            says = f"{other.name} is shown after {one.name} and stands above it in {file}"
            yield Problem(other.page, other.part.line, says, "Show the file in its own order.")


def _runs(numbers: list[int]) -> list[list[int]]:
    """Numbers in stretches; a gap of a blank line or two does not end one."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n - runs[-1][-1] <= 3:
            runs[-1].append(n)
        else:
            runs.append([n])
    return runs


def ranges(numbers: list[int]) -> str:
    """Lines in words: "line 3", "lines 3–9"."""
    return f"line {numbers[0]}" if len(numbers) == 1 else f"lines {numbers[0]}–{numbers[-1]}"


def _name_at(book: Book, file: str, line: int) -> str:
    """The innermost symbol that holds a line, or the line itself."""
    source = book.source(file)
    holding = [(s.last - s.first, name) for name, s in source.symbols.items() if s.first <= line <= s.last]
    return min(holding)[1] if holding else source.lines[line - 1].strip()
