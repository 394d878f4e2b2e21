"""Links and anchors: every relative link leads to a file, every #anchor to a heading or an id in it.

A heading's anchor is what code hosts make of it: lower case, spaces to hyphens, punctuation away, and -1, -2 behind a
heading that was there before. The site gets the same ids, written out (site.py), so a link holds in both.
"""

import difflib
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from book.machine.book import LISTS, Book
from book.machine.parts import Page, read_page
from book.machine.paths import joined
from book.machine.problem import Problem

_INLINE = re.compile(r"\]\((?P<target><[^>]+>|[^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?:\s+\"[^\"]*\")?\)")
_REFERENCE = re.compile(r"^\s{0,3}\[[^\]^]+\]:\s*(?P<target>\S+)", re.MULTILINE)
_ID = re.compile(r"<a (?:id|name)=\"(?P<id>[^\"]+)\"")
_HEADING = re.compile(r"^(?P<marks>#{1,6})\s+(?P<text>.+?)\s*#*\s*$")
_CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
FROM_READERS = ("README.md",)  # nobody needs to link to the page at which everybody begins


def slug(heading: str) -> str:
    """A heading → its anchor, as code hosts make it."""
    text = re.sub(r"<[^>]+>", "", heading)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"[*`]|(?<!\w)_|_(?!\w)", "", text)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def headings(page: Page) -> list[tuple[int, int, str, str]]:
    """(line, level, text, anchor) of every heading in a page."""
    found: list[tuple[int, int, str, str]] = []
    seen: dict[str, int] = {}
    for part in page.parts:
        if part.kind not in ("text", "make"):
            continue
        for i, line in enumerate(part.lines):
            match = _HEADING.match(line)
            if not match:
                continue
            anchor = slug(match["text"])
            number = seen.get(anchor, 0)
            seen[anchor] = number + 1
            found.append(
                (part.line + i, len(match["marks"]), match["text"], f"{anchor}-{number}" if number else anchor)
            )
    return found


def anchors(page: Page) -> set[str]:
    """Everything behind a # that leads somewhere in a page."""
    ids = {m["id"] for part in page.parts if part.kind in ("text", "make") for m in _ID.finditer("\n".join(part.lines))}
    return ids | {anchor for *_, anchor in headings(page)}


def targets(page: Page) -> Iterator[tuple[int, str]]:
    """(line, target) of every link; what is in code is none."""
    for part in page.parts:
        if part.kind not in ("text", "make", "code"):
            continue
        lines = part.lines[:1] if part.kind == "code" else part.lines
        for i, line in enumerate(lines):
            bare = _CODE.sub(lambda m: "x" * len(m[0]), line)
            for found in (*_INLINE.finditer(bare), *_REFERENCE.finditer(bare)):
                yield part.line + i, found["target"].strip("<>")


def resolve(page: Page, target: str) -> tuple[str, str] | None:
    """A relative link → (path from the book's folder, anchor); None for other hosts."""
    if re.match(r"[a-z][a-z0-9+.-]*:|//", target):
        return None
    path, _, anchor = target.partition("#")
    if not path:
        return page.path, anchor
    return joined(page.path, path), anchor


def complaints(book: Book) -> Iterator[Problem]:
    """Links that lead nowhere, pages that nothing leads to, promises that are not kept."""
    reached: set[str] = set(FROM_READERS)
    for page in book.pages.values():
        for line, target in targets(page):
            found = resolve(page, target)
            if found is None:
                continue
            if found[0] != page.path:
                reached.add(found[0])
            problem = _broken(book, page, line, target, *found)
            if problem:
                yield problem
    for path in book.pages:
        if path not in reached:
            yield Problem(path, 0, "no page links to this one", "Link to it from the page that comes before it.")
        if path not in book.planned:
            yield Problem(path, 0, f"this page has no place in [order] of {LISTS}", "Give it one.")
    yield from _promises(book)


def _broken(book: Book, page: Page, line: int, target: str, path: str, anchor: str) -> Problem | None:
    if path in book.pages:
        there = anchors(book.pages[path])
        if not anchor or anchor in there or f"{path}#{anchor}" in book.not_written:
            return None
        near = difflib.get_close_matches(anchor, there, n=3, cutoff=0)
        return Problem(page.path, line, f"{path} has no anchor #{anchor}", f"It has, among others: {', '.join(near)}.")
    if path in book.not_written:
        return None
    file = book.folder / path
    if path.startswith("../.."):
        return Problem(page.path, line, f"the link {target} leads out of the repository")
    if not file.exists():
        remedy = f"Mend the path; a page that is planned stands in not_written_yet in {LISTS}."
        return Problem(page.path, line, f"the link {target} leads to nothing", remedy)
    if anchor and file.suffix == ".md" and anchor not in _anchors_of(file):
        return Problem(page.path, line, f"{path} has no anchor #{anchor}")
    lines = re.fullmatch(r"L(\d+)(?:-L(\d+))?", anchor)
    if lines and file.is_file():
        last = int(lines[2] or lines[1])
        if last > len(file.read_text(encoding="utf-8").splitlines()):
            return Problem(page.path, line, f"{path} has no line {last}", "Show it with a code directive instead.")
    return None


@lru_cache
def _anchors_of(file: Path) -> frozenset[str]:
    return frozenset(anchors(read_page(file.name, file.read_text(encoding="utf-8"))))


def _promises(book: Book) -> Iterator[Problem]:
    """The lists in book.toml against what is there."""
    for wanted in book.lists.get("required", []):
        path, _, anchor = wanted.partition("#")
        is_there = path in book.pages and (not anchor or anchor in anchors(book.pages[path]))
        if not is_there and not {wanted, path} & book.not_written:
            page = path if path in book.pages else LISTS
            yield Problem(page, 0, f"{wanted} is required and not there", "Write it, under a heading that makes it.")
    for path in book.planned:
        if path not in book.pages and path not in book.not_written:
            yield Problem(LISTS, 0, f"{path} is planned and not there", "Write it, or list it in not_written_yet.")
    for promised in sorted(book.not_written):
        path, _, anchor = promised.partition("#")
        if path in book.pages and (not anchor or anchor in anchors(book.pages[path])):
            yield Problem(LISTS, 0, f"{promised} is written", "Take it from not_written_yet.")
        if not anchor and path not in book.planned:
            yield Problem(LISTS, 0, f"{promised} is in not_written_yet and has no place in [order]", "Give it one.")


def waiting(book: Book) -> int:
    """How many links lead to pages that are not written yet."""
    found = (resolve(page, target) for page in book.pages.values() for _, target in targets(page))
    return sum(1 for place in found if place and place[0] not in book.pages and place[0] in book.not_written)
