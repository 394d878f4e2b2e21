"""A page in parts: prose, fenced blocks, directives, and what the machine generated between two comments.

A directive is an HTML comment on a line of its own, `<!-- NAME: ARGUMENTS -->`, so that a code host shows none
of it. `code` and `make` are followed by what they generate and by `<!-- /code … -->` or `<!-- /make -->`; who writes
a page writes only the first line. `output` follows a snippet and is wholly the machine's. Inside a fence nothing
is a directive, so a page can show them.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from book.machine.problem import Problem

Kind = Literal["text", "fence", "note", "code", "make", "output"]

_DIRECTIVE = re.compile(r"<!-- (?P<name>[a-z]+)(?:: (?P<args>.*?))? -->\s*$")
_CLOSING = re.compile(r"<!-- /(?P<name>code|make|output)\b ?(?P<args>.*?) ?-->\s*$")
_FENCE = re.compile(r"(?P<marks>`{3,}|~{3,})\s*(?P<info>[^`]*)$")
_GENERATED = ("code", "make", "output")
NOTES = ("norun", "fails", "continue", "setup", "limit", "keep", "varies", "files", "concept")


@dataclass(frozen=True)
class Part:
    """A stretch of a page. `line` counts from 1; `args` are a directive's, or a fence's info words."""

    kind: Kind
    line: int
    lines: tuple[str, ...] = ()  # text, fence and note: as they stand; generated: the body between the comments
    name: str = ""
    args: str = ""
    closing: str = ""  # what stands in the closing comment after its name

    @property
    def body(self) -> str:
        """The text of a fence without its marks, or of anything else as it is."""
        inner = self.lines[1:-1] if self.kind == "fence" else self.lines
        return "\n".join(inner)

    def source(self) -> list[str]:
        """The lines of the page that this part is."""
        if self.kind not in _GENERATED:
            return list(self.lines)
        opening = f"<!-- {self.name}{': ' + self.args if self.args else ''} -->"
        closing = f"<!-- /{self.name}{' ' + self.closing if self.closing else ''} -->"
        return [opening, "", *self.lines, "", closing] if self.lines else [opening]


@dataclass(frozen=True)
class Page:
    """A page: its path in the book (with /), what its first comment says of it, and its parts in order."""

    path: str
    parts: tuple[Part, ...]
    about: dict[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def text(self) -> str:
        """The page as it is written to its file."""
        return "\n".join(line for part in self.parts for line in part.source()) + "\n"

    @property
    def title(self) -> str:
        """The first heading, without its mark."""
        headings = (line for part in self.parts if part.kind == "text" for line in part.lines)
        return next((line[2:].strip() for line in headings if line.startswith("# ")), self.path)

    def listed(self, key: str) -> list[str]:
        """The comma-separated words of a line of the first comment."""
        return [word.strip() for word in self.about.get(key, "").split(",") if word.strip()]


def read_page(path: str, text: str) -> Page:
    """Take a page apart. What cannot be understood is kept as text and named in `problems`."""
    lines = text.rstrip("\n").split("\n")
    parts: list[Part] = []
    problems: list[Problem] = []
    i = 0
    while i < len(lines):
        part, i = _next_part(lines, i)
        if part.kind == "text" and parts and parts[-1].kind == "text":
            parts[-1] = replace(parts[-1], lines=parts[-1].lines + part.lines)
        else:
            parts.append(part)
        problems += [Problem(path, part.line, says, remedy) for says, remedy in _complaints(part)]
    return Page(path, tuple(parts), _about(lines), tuple(problems))


def _next_part(lines: list[str], i: int) -> tuple[Part, int]:
    fence = _FENCE.match(lines[i])
    if fence:
        end = _end_of_fence(lines, i)
        return Part("fence", i + 1, tuple(lines[i:end]), args=fence["info"].strip()), end
    found = _DIRECTIVE.match(lines[i])
    if not found:
        return Part("text", i + 1, (lines[i],)), i + 1
    name, args = found["name"], (found["args"] or "").strip()
    if name not in _GENERATED:
        kind: Kind = "note" if name in NOTES else "text"
        return Part(kind, i + 1, (lines[i],), name=name if kind == "note" else "", args=args), i + 1
    closed_at = _closing_of(lines, i, name)
    if closed_at is None:
        return Part(cast(Kind, name), i + 1, name=name, args=args), i + 1
    closing = _CLOSING.match(lines[closed_at])
    assert closing
    body = tuple("\n".join(lines[i + 1 : closed_at]).strip("\n").split("\n"))
    return Part(cast(Kind, name), i + 1, body, name, args, closing["args"].strip()), closed_at + 1


def _end_of_fence(lines: list[str], start: int) -> int:
    """One past the closing marks; an unclosed fence runs to the end of the page."""
    opening = _FENCE.match(lines[start])
    assert opening
    marks = opening["marks"]
    for i in range(start + 1, len(lines)):
        closing = _FENCE.match(lines[i])
        if closing and not closing["info"].strip() and closing["marks"].startswith(marks):
            return i + 1
    return len(lines)


def _closing_of(lines: list[str], start: int, name: str) -> int | None:
    """The line that closes what begins at `start`; None when another generated part begins before it."""
    i = start + 1
    while i < len(lines):
        if _FENCE.match(lines[i]):
            i = _end_of_fence(lines, i)
            continue
        closing, opening = _CLOSING.match(lines[i]), _DIRECTIVE.match(lines[i])
        if closing:
            return i if closing["name"] == name else None
        if opening and opening["name"] in _GENERATED:
            return None
        i += 1
    return None


def _complaints(part: Part) -> list[tuple[str, str]]:
    if part.kind == "fence" and (len(part.lines) < 2 or not _FENCE.match(part.lines[-1])):
        return [("this fenced block has no end", "Close it with the marks that opened it.")]
    if part.kind != "text":
        return []
    line = part.lines[0]
    if re.match(r"\s+(`{3,}|~{3,})", line):
        return [("a fenced block inside a list is neither run nor read", "Begin it at the left, below the list.")]
    if _CLOSING.match(line):
        return [(f"{line.strip()} closes nothing", "Take this line away, or put its opening comment back.")]
    found = _DIRECTIVE.match(line)
    if found:
        return [(f"there is no directive {found['name']!r}", f"Directives: code, make, num, {', '.join(NOTES)}.")]
    return []


def _about(lines: list[str]) -> dict[str, str]:
    """The `key: value` lines of the comment `<!-- page … -->`."""
    if "<!-- page" not in lines:
        return {}
    start = lines.index("<!-- page") + 1
    end = next((i for i in range(start, len(lines)) if lines[i].strip() == "-->"), start)
    pairs = (line.partition(":") for line in lines[start:end])
    return {key.strip(): value.strip() for key, _, value in pairs if key.strip()}
