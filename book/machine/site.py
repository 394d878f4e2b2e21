"""The book as a site: pages prepared for Zensical, built into build/book/site, and looked over.

Zensical and not MkDocs Material: Material's authors build Zensical as its successor, ended their support of Material in
November 2026, and MkDocs 1, on which it stands, is not developed any more. The pages are plain Markdown before this
module touches them, so another generator could take their place.
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import tomli_w

from book.machine.book import Book
from book.machine.site_check import complaints
from book.machine.site_text import SOURCE, Staged, home
from inkling.errors import UserError

FEATURES = [
    "content.code.copy",
    "navigation.footer",
    "navigation.indexes",
    "navigation.path",
    "navigation.sections",
    "navigation.top",
    "search.highlight",
    "toc.follow",
]
PALETTE = [
    {"media": "(prefers-color-scheme)", "toggle": {"icon": "lucide/sun-moon", "name": "Light"}},
    {"media": "(prefers-color-scheme: light)", "scheme": "default", "toggle": {"icon": "lucide/sun", "name": "Dark"}},
    {"media": "(prefers-color-scheme: dark)", "scheme": "slate", "toggle": {"icon": "lucide/moon", "name": "System"}},
]
STYLE = """.formula { overflow-x: auto; text-align: center; margin: 1em 0; }
.md-typeset math { font-size: 1.1em; }
.md-typeset p:has(> img[src*="diagrams/"]) { text-align: center; }
"""


def build_site(book: Book, serve: bool = False) -> int:
    """Write build/book: docs for Zensical, site from it; 1 when the site has a broken or foreign link."""
    missing = [name for name in ("zensical", "latex2mathml", "mermaidx") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"The site needs {', '.join(missing)}.", "pip install -c constraints.txt -e '.[docs]'")
    folder = book.root / "build" / "book"
    site = folder / "site"
    stage(book, folder)
    command = [sys.executable, "-m", "zensical", "serve" if serve else "build"]
    done = subprocess.run(command if serve else [*command, "--clean", "--strict"], cwd=folder)
    if done.returncode:
        raise UserError("Zensical could not build the site.", "Its own words stand above; the pages are in build/book.")
    problems = list(complaints(site))
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"site: {len(list(site.rglob('*.html')))} pages in {site.relative_to(book.root)}, {len(problems)} problems")
    return 1 if problems else 0


def stage(book: Book, folder: Path) -> None:
    """The pages in the form that the generator takes, with its settings beside them."""
    shutil.rmtree(folder, ignore_errors=True)
    docs = folder / "docs"
    staged = Staged(book, docs)
    for path, page in book.pages.items():
        file = docs / home(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(staged.page(page), encoding="utf-8")
    for name in sorted(staged.sources):
        file = docs / SOURCE / f"{name}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(staged.source(name), encoding="utf-8")
    for picture in (f for kind in ("svg", "png") for f in book.folder.rglob(f"*.{kind}")):
        target = docs / picture.relative_to(book.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, target)
    (docs / "style.css").write_text(STYLE, encoding="utf-8")
    (folder / "zensical.toml").write_text(tomli_w.dumps({"project": settings(book)}), encoding="utf-8")


def settings(book: Book) -> dict:
    """What Zensical is told."""
    nav = []
    for section, paths in book.lists["order"].items():
        written = [{book.pages[path].title: home(path)} for path in paths if path in book.pages]
        if written:
            nav.append({section: written})
    return {
        "site_name": "inkling",
        "site_description": "From raw text to a language model you can talk to.",
        "docs_dir": "docs",
        "site_dir": "site",
        "nav": nav,
        "extra_css": ["style.css"],
        # Fonts are the system's. The plugin for search from the disk is left out: it loads a script from another host.
        "theme": {"language": "en", "font": False, "features": FEATURES, "palette": PALETTE},
        "use_directory_urls": False,  # links work from the disk too
        "markdown_extensions": {
            "attr_list": {},
            "tables": {},
            "footnotes": {},
            "admonition": {},
            "md_in_html": {},
            "toc": {"permalink": True},
            "pymdownx": {
                "highlight": {"anchor_linenums": True, "pygments_lang_class": True},
                "superfences": {},
            },
        },
    }
