"""A page of the guide as pandoc gets it: Markdown with whole ids, drawn diagrams, and marks for the index.

What leads to another chapter becomes a link within the document; what leads elsewhere in the book or to a source file
keeps its words alone, since there is nothing to lead to on paper.
"""

import re
from pathlib import Path

from book.machine.blocks import digest
from book.machine.links import headings, resolve
from book.machine.parts import Page, Part
from book.machine.problem import Wrong
from book.machine.site_text import COMMENT, LINK, outside_code

# What the fonts that Typst brings along cannot draw: Chinese, emoji and the like. It is named in place of an empty box.
_NOT_DRAWN = re.compile("[\u0900-\u0fff\u2e80-\ufffc\U00010000-\U0001d3ff\U0001d800-\U0010ffff]")

_SUMMARY = re.compile(r"(?:<details>\s*)?<summary>(?P<summary>.*?)</summary>(?P<rest>.*)$")


class Chapters:
    """The pages of the guide in their order, and the folder that their diagrams are drawn into."""

    def __init__(self, pages: list[Page], folder: Path) -> None:
        self.folder = folder
        self.names = {page.path: f"{number:02d}" for number, page in enumerate(pages)}
        self.titles = {page.path: next(anchor for *_, anchor in headings(page)) for page in pages}

    def text(self, page: Page) -> str:
        """The Markdown of a page."""
        ids = {line: anchor for line, _, _, anchor in headings(page)}
        text = "\n".join(self._part(page, part, ids) for part in page.parts) + "\n"
        return _NOT_DRAWN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)

    def _part(self, page: Page, part: Part, ids: dict[int, str]) -> str:
        match part.kind:
            case "note":
                return _for_index(part) if part.name == "concept" else ""
            case "fence" if part.args.split(" ")[0] == "mermaid":
                return self._diagram(page, part.body)
            case "fence" if part.args.split(" ")[0] == "math":
                return f"\n$$\n{part.body}\n$$\n"
            case "fence" | "output":
                return "\n".join(["", *part.lines, ""])
            case "code" if part.lines:
                place = re.sub(r"\[(`[^`]+`)\]\([^)]*\)", r"\1", part.lines[0])
                return "\n".join(["", *_typst("#place-of["), place, *_typst("]"), *part.lines[1:], ""])
            case "make" if part.args == "about":
                return ""
        lines = list(part.lines)
        for i in range(len(lines)):
            if part.line + i in ids:
                lines[i] = f"{lines[i]} {{#{self._label(page.path, ids[part.line + i])}}}"
        return self._prose(page, "\n".join(lines))

    def _prose(self, page: Page, text: str) -> str:
        text = outside_code(text, lambda piece: COMMENT.sub("", piece))
        text = LINK.sub(lambda found: self._link(page, found), text)
        return "\n".join(line for each in text.split("\n") for line in _answer(each))

    def _label(self, path: str, anchor: str) -> str:
        return f"{self.names[path]}-{anchor or self.titles[path]}"

    def _link(self, page: Page, found: re.Match[str]) -> str:
        mark, text, target = found[1], found[2], found[3].strip("<>")
        place = resolve(page, target)
        if place is None:
            return found[0]
        path, anchor = place
        if mark:
            return f"![{text}](/book/{path})"
        return f"[{text}](#{self._label(path, anchor)})" if path in self.names else text

    def _diagram(self, page: Page, code: str) -> str:
        import mermaidx

        file = self.folder / f"{digest(code)}.pdf"
        if not file.exists():
            try:
                drawn = mermaidx.render(code, theme="neutral").pdf()
            except RuntimeError as error:
                first = code.strip().splitlines()[0]
                raise Wrong(f"{page.path}: the diagram {first!r} cannot be drawn: {error}", "Mend it.") from None
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(drawn)
        return "\n".join(_typst(f'#diagram("diagrams/{file.name}")'))


def _for_index(part: Part) -> str:
    """Marks for the index: `<!-- concept: softmax, entropy -->`."""
    terms = ", ".join(f'"{term.strip()}"' for term in part.args.split(","))
    return "\n".join(_typst(f"#indexed({terms})"))


def _answer(line: str) -> list[str]:
    """A line that begins or ends what a reader unfolds. On paper it is set off by a rule at its side."""
    found = _SUMMARY.match(line.strip())
    if found:
        return [*_typst(f'#answer("{found["summary"]}")['), found["rest"], ""]
    match line.strip():
        case "<details>":
            return []
        case "</details>":
            return _typst("]")
    return [line]


def _typst(code: str) -> list[str]:
    """Lines that pandoc hands on as they are."""
    return ["", "```{=typst}", code, "```", ""]
