"""Blocks of code in a page: shown from the source, and tied to the words that explain them.

`<!-- code: PATH WHERE -->` is followed by the place, the fenced lines and `<!-- /code CODE WORDS -->`: digests of
the code that was explained, and of the explanation, which is the prose that follows up to the next block or heading.
When the code changes, the shown lines change with it and the digests stay: the page fails its check until its words
were changed, or somebody says with a reason why they still hold. The digests stand in the page, beside what they are
about, so that pages written at the same time do not meet in a common file; the reason stands behind them.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from book.machine.book import Book
from book.machine.parts import Page, Part
from book.machine.paths import link_to_source
from book.machine.problem import Problem, Wrong
from book.machine.spans import Span

SHORTEST = 40  # characters; less is a label and no explanation
_CLOSING = re.compile(r"(?P<code>[0-9a-f]{8}) (?P<words>[0-9a-f]{8})(?: accepted: (?P<reason>.+))?$")
_GENERATED_VALUE = re.compile(r"(<!-- num: .*? -->).*?(<!-- /num -->)", re.DOTALL)
_LANGUAGES = {".py": "python", ".toml": "toml", ".md": "markdown", ".json": "json"}


@dataclass(frozen=True)
class Block:
    """One `code` directive, obeyed: what it shows, and what explains it."""

    page: str
    part: Part
    path: str
    where: str
    span: Span
    code: str
    words: str

    @property
    def name(self) -> str:
        return f"{self.path} {self.where}".strip()

    @property
    def digests(self) -> tuple[str, str]:
        return digest(self.code), digest(" ".join(self.words.split()))

    @property
    def stored(self) -> tuple[str, str] | None:
        found = _CLOSING.match(self.part.closing)
        return (found["code"], found["words"]) if found else None


def digest(text: str) -> str:
    """Eight hexadecimal digits that change with the text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:8]


def blocks_of(book: Book, page: Page) -> Iterator[Block | Problem]:
    """Every block of a page in order; a directive that cannot be obeyed is a Problem."""
    for i, part in enumerate(page.parts):
        if part.kind != "code":
            continue
        path, _, where = part.args.partition(" ")
        try:
            source = book.source(path)
            span = source.locate(where)
        except Wrong as wrong:
            yield Problem(page.path, part.line, f"{part.args}: {wrong.says}", wrong.remedy)
            continue
        yield Block(page.path, part, path, where.strip(), span, source.text(span), _words_after(page.parts[i + 1 :]))


def _words_after(parts: tuple[Part, ...]) -> str:
    """The explanation: what a person wrote, up to the next block or heading."""
    words: list[str] = []
    for part in parts:
        if part.kind == "code":
            break
        if part.kind == "fence":
            words += part.lines
        elif part.kind == "text":
            for line in part.lines:
                if re.match(r"#{1,6} ", line):
                    return _GENERATED_VALUE.sub(r"\1\2", "\n".join(words))
                words.append(line)
    return _GENERATED_VALUE.sub(r"\1\2", "\n".join(words))


def refresh(book: Book, page: Page) -> Page:
    """The page with its blocks as the source has them, and the digests of words that were changed since."""
    by_line = {b.part.line: b for b in blocks_of(book, page) if isinstance(b, Block)}
    parts = [_shown(by_line[p.line]) if p.kind == "code" and p.line in by_line else p for p in page.parts]
    return replace(page, parts=tuple(parts))


def _shown(block: Block) -> Part:
    closing = block.part.closing
    if len(block.words.strip()) >= SHORTEST and not is_stale(block):
        code, words = block.digests
        found = _CLOSING.match(closing)
        is_same = found and (found["code"], found["words"]) == (code, words)
        closing = closing if is_same else f"{code} {words}"
    return replace(block.part, lines=tuple(shown_lines(block)), closing=closing)


def shown_lines(block: Block) -> list[str]:
    """The place as a link, and the lines in a fence that none of them can close."""
    span = block.span
    target = f"{link_to_source(block.page, block.path)}#L{span.first}-L{span.last}"
    place = f"[`{block.path}:{span.first}–{span.last}`]({target})"
    marks = "`" * max(3, 1 + max(map(len, re.findall(r"`{3,}", block.code)), default=0))
    language = _LANGUAGES.get(PurePosixPath(block.path).suffix, "text")
    return [place, "", f"{marks}{language}", *block.code.split("\n"), marks]


def is_stale(block: Block) -> bool:
    """Whether the code changed after its words were last read."""
    if block.stored is None:
        return False
    code, words = block.digests
    return block.stored[0] != code and block.stored[1] == words


def complaints(book: Book, page: Page) -> Iterator[Problem]:
    """Blocks that nobody explains, and explanations of code that is not the same any more."""
    for block in blocks_of(book, page):
        if isinstance(block, Problem):
            yield block
        elif len(block.words.strip()) < SHORTEST:
            yield Problem(
                page.path,
                block.part.line,
                f"{block.name} is shown and not explained",
                "Write below the block what it does and why so.",
            )
        elif is_stale(block):
            yield Problem(
                page.path,
                block.part.line,
                f"the code of {block.name} changed and its words were not read again",
                f"Read them and change what is not true, or: make book-accept PAGE={page.path} "
                f'SYMBOL="{block.where or block.path}" REASON="why the words still hold"',
            )


def accept(book: Book, page: Page, symbol: str, reason: str) -> Page:
    """The page with the words of `symbol`'s blocks taken as read for the code of today."""
    if not reason.strip() or "-->" in reason:
        raise Wrong("an acceptance needs a reason", 'Add REASON="why the words still hold".')
    blocks = [b for b in blocks_of(book, page) if isinstance(b, Block)]
    chosen = [b for b in blocks if is_stale(b) and symbol in (b.where, b.path, b.name)]
    if not chosen:
        stale = [b.where or b.path for b in blocks if is_stale(b)]
        remedy = f"Waiting in this page: {', '.join(stale)}." if stale else "Nothing in this page waits to be read."
        raise Wrong(f"{symbol!r} does not wait to be accepted in {page.path}", remedy)
    closings = {b.part.line: f"{' '.join(b.digests)} accepted: {reason.strip()}" for b in chosen}
    parts = [replace(p, closing=closings[p.line]) if p.line in closings else p for p in page.parts]
    return replace(page, parts=tuple(parts))
