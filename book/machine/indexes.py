"""The generated parts that come from the pages: who each page is for, tags, concepts, the glossary's register.

Every page begins with `# Title` and a comment:

    <!-- page
    level: beginner | intermediate | advanced
    before: guides/getting-started.md           pages to read first
    related: glossary.md, concepts/gpt-architecture.md
    tags: configuration, pytorch
    -->

and `<!-- make: about -->`, which turns it into a line. `<!-- concept: residual stream, MLP -->` below a heading says
that these terms are treated there: the concept index is made of these.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from book.machine.book import LISTS, Book
from book.machine.links import headings, resolve, slug, targets
from book.machine.parts import Page
from book.machine.paths import link
from book.machine.problem import Problem, Wrong
from book.machine.tables import Maker, table

LEVELS = ("beginner", "intermediate", "advanced")
WORDS_PER_MINUTE = 180  # prose about code is read slower than a novel
CODE_LINES_PER_MINUTE = 25
GLOSSARY = "glossary.md"


def minutes(page: Page) -> int:
    """How long a page takes, from its length."""
    words = lines = 0
    for part in page.parts:
        if part.kind in ("code", "fence"):
            lines += len(part.lines)
        elif part.kind in ("text", "make"):
            words += len(re.sub(r"<!--.*?-->", "", "\n".join(part.lines), flags=re.DOTALL).split())
    exact = words / WORDS_PER_MINUTE + lines / CODE_LINES_PER_MINUTE
    # In steps of five above ten: nobody is so exact, and a page may grow without changing every table it stands in.
    return max(1, math.ceil(exact)) if exact <= 10 else 5 * math.ceil(exact / 5)


def about(book: Book, page: Page, words: list[str]) -> list[str]:
    """The line below a title: level, minutes, what to read before, related pages, tags."""
    pieces = [f"**Level**: {page.about.get('level', '')}", f"**Time**: {minutes(page)} min"]
    for key, name in (("before", "Read before"), ("related", "Related")):
        found = [f"[{_title(book, path)}]({link(page.path, path)})" for path in page.listed(key) if path in book.pages]
        if found:
            pieces.append(f"**{name}**: {', '.join(found)}")
    tags = page.listed("tags")
    if tags:
        home = next((p.path for p in book.pages.values() if any(x.args.startswith("tags") for x in p.parts)), None)
        shown = [f"[`{tag}`]({link(page.path, home)}#tag-{slug(tag)})" if home else f"`{tag}`" for tag in tags]
        pieces.append(f"**Tags**: {' '.join(shown)}")
    start = "" if page.path == "README.md" else f"[Book]({link(page.path, 'README.md')}) › {_section(book, page)} · "
    return [start + " · ".join(pieces)]


def pages(book: Book, page: Page, words: list[str]) -> list[str]:
    """The pages of a section (or of all): purpose, level, minutes, related pages."""
    rows = []
    for path in book.planned:
        other = book.pages.get(path)
        if other is None or other.path == page.path or (words and _section(book, other) != " ".join(words)):
            continue
        related = [f"[{_title(book, p)}]({link(page.path, p)})" for p in other.listed("related") if p in book.pages]
        purpose = other.about.get("purpose", "")
        cells = [
            f"[{other.title}]({link(page.path, path)})",
            purpose,
            other.about.get("level", ""),
            f"{minutes(other)} min",
        ]
        rows.append([*cells, ", ".join(related)])
    return table(["page", "what it is for", "level", "time", "related"], rows) if rows else []


def tags(book: Book, page: Page, words: list[str]) -> list[str]:
    """Each tag of a group (or of all groups) with the pages that bear it."""
    groups = book.lists.get("tags", {})
    if words and words[0] not in groups:
        raise Wrong(f"there is no group of tags {words[0]!r}", f"Groups: {', '.join(groups)}.")
    lines = []
    for group in [words[0]] if words else groups:
        for tag in groups[group]:
            bearing = [p for p in book.pages.values() if tag in p.listed("tags")]
            shown = ", ".join(f"[{p.title}]({link(page.path, p.path)})" for p in bearing) or "no page yet"
            lines.append(f'- <a id="tag-{slug(tag)}"></a>`{tag}`: {shown}')
    return lines


def concepts(book: Book, page: Page, words: list[str]) -> list[str]:
    """The concept index: each term, and every heading below which it is treated."""
    places: dict[str, list[str]] = defaultdict(list)
    for other, line, term in marked(book):
        above = [h for h in headings(other) if h[0] <= line]
        anchor, text = (above[-1][3], above[-1][2]) if above else ("", other.title)
        place = f"[{other.title} › {text}]" if above and above[-1][1] > 1 else f"[{other.title}]"
        places[term].append(f"{place}({link(page.path, other.path)}#{anchor})")
    known = glossary_terms(book)
    rows = []
    for term in sorted(places, key=str.lower):
        defined = f"[{term}]({link(page.path, GLOSSARY)}#{known[term]})" if term in known else term
        rows.append([defined, ", ".join(dict.fromkeys(places[term]))])
    return table(["concept", "treated in"], rows) if rows else []


def glossary(book: Book, page: Page, words: list[str]) -> list[str]:
    """The register of the glossary: every term, linked, by its first letter."""
    letters: dict[str, list[str]] = defaultdict(list)
    for term, anchor in glossary_terms(book).items():
        letters[term[0].upper()].append(f"[{term}]({link(page.path, GLOSSARY)}#{anchor})")
    lines = [line for letter, found in sorted(letters.items()) for line in (f"**{letter}** {' · '.join(found)}", "")]
    return lines[:-1]  # an empty line between two letters, none behind the last


MAKERS: dict[str, Maker] = {"about": about, "pages": pages, "tags": tags, "concepts": concepts, "glossary": glossary}


def marked(book: Book) -> Iterator[tuple[Page, int, str]]:
    """(page, line, term) of every `concept` directive."""
    for page in book.pages.values():
        for part in page.parts:
            if part.kind == "note" and part.name == "concept":
                for term in part.args.split(","):
                    yield page, part.line, term.strip()


def glossary_terms(book: Book) -> dict[str, str]:
    """Term → anchor, of every ### heading in the glossary."""
    page = book.pages.get(GLOSSARY)
    return {text: anchor for _, level, text, anchor in headings(page) if level == 3} if page else {}


def complaints(book: Book) -> Iterator[Problem]:
    """Pages that do not say who they are for, tags and concepts that nobody knows, terms without links."""
    tags_known = {tag for group in book.lists.get("tags", {}).values() for tag in group}
    for page in book.pages.values():
        if page.about.get("level") not in LEVELS:
            remedy = f"Below the title: <!-- page, level: {' | '.join(LEVELS)}, ... --> (see CONTRIBUTING.md)."
            yield Problem(page.path, 1, "the page does not say its level", remedy)
        if not page.about.get("purpose"):
            yield Problem(page.path, 1, "the page does not say its purpose", "Add `purpose:` to its first comment.")
        if not any(part.kind == "make" and part.args == "about" for part in page.parts):
            yield Problem(page.path, 1, "the page does not show who it is for", "Add <!-- make: about --> below it.")
        for tag in page.listed("tags"):
            if tag not in tags_known:
                yield Problem(page.path, 1, f"the tag {tag!r} is in no group", f"Add it to [tags] in {LISTS}.")
        for path in [*page.listed("before"), *page.listed("related")]:
            if path not in book.pages and path not in book.not_written:
                yield Problem(page.path, 1, f"its first comment names {path}, which is no page", "Mend the path.")
    known = glossary_terms(book)
    for page, line, term in marked(book) if known else ():
        if term not in known:
            yield Problem(page.path, line, f"the concept {term!r} is not in the glossary", f"Define it in {GLOSSARY}.")
    yield from _glossary_complaints(book)


def _glossary_complaints(book: Book) -> Iterator[Problem]:
    page = book.pages.get(GLOSSARY)
    if page is None:
        return
    places = [(line, level, text) for line, level, text, _ in headings(page)]
    found = list(targets(page))
    for i, (line, level, text) in enumerate(places):
        if level != 3:
            continue
        end = places[i + 1][0] if i + 1 < len(places) else float("inf")
        linked = [resolve(page, target) for at, target in found if line < at < end]
        paths = [place[0] for place in linked if place]
        if not any(path.startswith(("../src", "code-analysis/")) for path in paths):
            yield Problem(page.path, line, f"{text!r} has no link to code", "Link to src/ or to code-analysis/.")
        if not any(not path.startswith(("../", "code-analysis/")) for path in paths):
            yield Problem(page.path, line, f"{text!r} has no link to theory", "Link to concepts/ or guide/.")
    terms = [text.lower() for _, level, text in places if level == 3]
    for one, other in pairwise(terms):
        if other < one:
            line = next(at for at, level, text in places if level == 3 and text.lower() == other)
            yield Problem(page.path, line, f"{other!r} stands after {one!r}", "Keep the glossary in order.")


def _title(book: Book, path: str) -> str:
    return book.pages[path].title if path in book.pages else path


def _section(book: Book, page: Page) -> str:
    found = (name for name, paths in book.lists.get("order", {}).items() if page.path in paths)
    return next(found, "")
