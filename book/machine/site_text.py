"""A page as the site's generator gets it: no comments, ids written out, formulas and diagrams already drawn.

Nothing is left to scripts from other hosts: formulas become MathML, which browsers draw themselves, and diagrams
become pictures. Links to source files lead to a copy of the file in the site.
"""

import re
from collections.abc import Callable
from pathlib import Path

from book.machine.blocks import digest
from book.machine.book import Book
from book.machine.links import headings, resolve
from book.machine.parts import Page, Part
from book.machine.paths import link
from book.machine.problem import Wrong
from book.machine.site_lists import for_site

COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE = re.compile(r"(`+[^`]+`+)")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((<[^>]+>|[^()\s]+)\)")
_DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
_INLINE = re.compile(r"(?<![\\$\w])\$(?!\s)([^$\n]+?)(?<!\s)\$(?![\w$])")
SOURCE = "source"  # the folder of the site that holds copies of the files that pages link to


class Staged:
    """What is collected while pages are turned: the diagrams to draw and the files to copy."""

    def __init__(self, book: Book, folder: Path) -> None:
        self.book, self.folder = book, folder
        self.sources: set[str] = set()

    def page(self, page: Page) -> str:
        """The Markdown of a page for the site."""
        ids = {line: (text, anchor) for line, _, text, anchor in headings(page)}
        pieces = [self._part(page, part, ids) for part in page.parts if part.kind != "note"]
        return "\n".join(pieces) + "\n"

    def _part(self, page: Page, part: Part, ids: dict[int, tuple[str, str]]) -> str:
        if part.kind == "fence":
            language = part.args.split(" ")[0]
            if language == "mermaid":
                return self._diagram(page, part.body)
            return _display(part.body) if language == "math" else "\n".join(part.lines)
        if part.kind == "output":
            return "\n".join(part.lines) + "\n"
        if part.kind == "code":
            return "\n" + "\n".join([self._prose(page, part.lines[0]), *part.lines[1:]]) + "\n"
        lines = list(part.lines)
        for i in range(len(lines)):
            if part.line + i in ids:
                lines[i] = f"{lines[i]} {{#{ids[part.line + i][1]}}}"
        return for_site(self._prose(page, "\n".join(lines)))

    def _prose(self, page: Page, text: str) -> str:
        text = outside_code(text, lambda piece: COMMENT.sub("", piece))
        text = LINK.sub(lambda found: self._link(page, found), text)
        text = outside_code(text, lambda piece: _DISPLAY.sub(lambda found: _display(found[1]), piece))
        return outside_code(text, lambda piece: _INLINE.sub(lambda found: _inline(found[1]), piece))

    def _link(self, page: Page, found: re.Match[str]) -> str:
        mark, text, target = found[1], found[2], found[3].strip("<>")
        place = resolve(page, target)
        if place is None or (not target.partition("#")[0] and not mark):
            return found[0]
        path, anchor = place
        if path in self.book.pages:
            return f"{mark}[{text}]({self._to(page, path, anchor)})"
        if mark:
            return found[0]  # a picture lies in the book's folder and is copied with it
        file = self.book.folder / path
        if not file.is_file():
            return text  # a page that is not written yet, or a folder
        name = file.resolve().relative_to(self.book.root).as_posix()
        self.sources.add(name)
        first = re.match(r"L(\d+)", anchor)
        return f"[{text}]({self._to(page, f'{SOURCE}/{name}.md', f'__codelineno-0-{first[1]}' if first else '')})"

    def _to(self, page: Page, path: str, anchor: str) -> str:
        path = home(path)
        return link(page.path, path) + (f"#{anchor}" if anchor else "")

    def _diagram(self, page: Page, code: str) -> str:
        name = f"diagrams/{digest(code)}"
        for theme in ("default", "dark"):
            file = self.folder / f"{name}-{theme}.svg"
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                try:
                    drawn = diagram(code, theme)
                except RuntimeError as error:  # what the library raises for a diagram that it cannot read
                    first = code.strip().splitlines()[0]
                    raise Wrong(f"{page.path}: the diagram {first!r} cannot be drawn: {error}", "Mend it.") from None
                file.write_text(drawn, encoding="utf-8")
        light, dark = (link(page.path, f"{name}-{theme}.svg") for theme in ("default", "dark"))
        return f"\n![diagram]({light}#only-light)\n![diagram]({dark}#only-dark)\n"

    def source(self, name: str) -> str:
        """The page of the site that shows a file of the project, with numbered lines."""
        text = (self.book.root / name).read_text(encoding="utf-8")
        marks = "`" * max(3, 1 + max(map(len, re.findall(r"`{3,}", text)), default=0))
        language = {".py": "python", ".toml": "toml", ".md": "markdown"}.get(Path(name).suffix, "text")
        head = f"---\ntitle: {name}\nsearch:\n  exclude: true\n---\n\n# {name}\n\n"
        return f'{head}{marks}{language} linenums="1"\n{text.rstrip()}\n{marks}\n'


def home(path: str) -> str:
    """Where a page lies in the site: a README is its folder's index."""
    return re.sub(r"(^|/)README\.md$", r"\1index.md", path)


def formula(tex: str, display: str) -> str:
    """TeX → MathML."""
    from latex2mathml.converter import convert

    return convert(tex.strip(), display=display)


def _inline(tex: str) -> str:
    # In a span, because the generator takes a <math> at the beginning of a line for a block and ends the paragraph.
    return f"<span>{formula(tex, 'inline')}</span>"


def _display(tex: str) -> str:
    return f'\n<div class="formula">{formula(tex, "block")}</div>\n'


def diagram(code: str, theme: str) -> str:
    """Mermaid → SVG, of the size it was drawn in: one that fills the width makes giants of small diagrams."""
    import mermaidx

    drawn = str(mermaidx.render(code, theme=theme).svg())
    size = re.search(r'viewBox="\S+ \S+ (\S+) (\S+)"', drawn)
    return drawn.replace('width="100%"', f'width="{size[1]}" height="{size[2]}"', 1) if size else drawn


def outside_code(text: str, change: Callable[[str], str]) -> str:
    pieces = _CODE.split(text)
    return "".join(piece if i % 2 else change(piece) for i, piece in enumerate(pieces))
