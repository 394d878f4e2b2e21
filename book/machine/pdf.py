"""The guide as one PDF: its pages through pandoc to Typst, or to LaTeX when asked.

Typst is the default because pip installs the whole of it, fonts included. Both begin with the same Markdown
(pdf_text.py); guide.typ says how the pages look.
"""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from book.machine.book import Book
from book.machine.parts import Page
from book.machine.pdf_text import Chapters
from inkling.errors import UserError

NAME = "inkling_educational_guide.pdf"
SECTION = "The guide"  # of book.toml's order
MARKDOWN = "commonmark+pipe_tables+strikeout+tex_math_dollars+attributes+raw_attribute+footnotes"
INSTALL = "pip install -c constraints.txt -e '.[docs]'"
LATEX = {
    "xelatex": "Debian: apt install texlive-xetex texlive-fonts-recommended · macOS: brew install --cask mactex-no-gui",
    "rsvg-convert": "Debian: apt install librsvg2-bin · macOS: brew install librsvg",
}


def build_pdf(book: Book, out: Path, latex: bool = False) -> int:
    """Write the guide to `out`; returns its number of pages (0 where LaTeX does not tell)."""
    _require(latex)
    folder = book.root / "build" / "pdf"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pages = guide_pages(book)
    chapters = Chapters(pages, folder / "diagrams")
    markdown = "\n\n".join(chapters.text(page) for page in pages)
    # The compilers read files below one folder only, so the pictures come along.
    for picture in (file for kind in ("svg", "png") for file in (book.folder / "guide").rglob(f"*.{kind}")):
        target = folder / "book" / picture.relative_to(book.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, target)
    (folder / "guide.md").write_text(markdown, encoding="utf-8")
    out.parent.mkdir(parents=True, exist_ok=True)
    return _latex(folder, out) if latex else _typst(folder, out)


def guide_pages(book: Book) -> list[Page]:
    """The pages of the guide that are written, in their order."""
    pages = [book.pages[path] for path in book.lists["order"][SECTION] if path in book.pages]
    if not pages:
        raise UserError("No chapter of the guide is written.", "The pages are listed in book/book.toml.")
    return pages


def _require(latex: bool) -> None:
    modules = {"mermaidx": "mermaidx", "pypandoc": "pypandoc_binary", **({} if latex else {"typst": "typst"})}
    missing = [package for module, package in modules.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f"The PDF needs {', '.join(missing)}.", INSTALL)
    for program, how in LATEX.items() if latex else ():
        if shutil.which(program) is None:
            raise UserError(f"The PDF by LaTeX needs {program}.", f"{how} · or leave out --latex")


def _pandoc(arguments: Sequence[str], folder: Path) -> None:
    """Run pandoc in `folder`. A formula that it cannot turn is an error here, not TeX in the text."""
    import pypandoc

    command = [pypandoc.get_pandoc_path(), f"--from={MARKDOWN}", "guide.md", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")
    if done.returncode or "Could not convert TeX math" in done.stderr:
        raise UserError(f"pandoc could not turn the guide: {done.stderr.strip()[:2000]}", "Mend the page it names.")


# Symbols that pandoc 3.9 calls as Typst did before 0.14.
RENAMED = {"dot.circle": "dot.o", "plus.circle": "plus.o", "times.circle": "times.o"}
# TeX's \! takes back a sixth of an em; pandoc takes a whole one, and letters lie on each other.
RENAMED |= {"#h(-1em)": "#h(-1em / 6)"}

# --- Typst -------------------------------------------------------------------------------------------------


def _typst(folder: Path, out: Path) -> int:
    import typst

    _pandoc(["--to=typst", "--wrap=none", "--output=body.typ"], folder)
    style = (Path(__file__).with_name("guide.typ")).read_text(encoding="utf-8")
    (folder / "guide.typ").write_text(style, encoding="utf-8")
    body = (folder / "body.typ").read_text(encoding="utf-8")
    if r"\$\$" in body:
        after = body.split(r"\$\$", 1)[1][:80]
        raise UserError(f"A formula is not one to pandoc, and would stand as TeX: {after}", "Are its braces in pairs?")
    for old, new in RENAMED.items():
        body = body.replace(old, new)
    main = folder / "main.typ"
    main.write_text('#import "guide.typ": *\n#show: guide\n\n' + body + "\n\n#print-index()\n", encoding="utf-8")
    try:
        # Its own fonts only, so that every machine makes the same pages.
        typst.compile(str(main), output=str(out), root=str(folder), ignore_system_fonts=True)
        counted = typst.query(str(main), "<pages>", field="value", one=True, root=str(folder), ignore_system_fonts=True)
    except RuntimeError as error:  # typst.TypstError is one
        raise UserError(f"Typst could not set the guide: {error}", f"What it read is {main}.") from None
    return int(re.sub(r"\D", "", counted))


# --- LaTeX -------------------------------------------------------------------------------------------------


def _latex(folder: Path, out: Path) -> int:
    markdown = (folder / "guide.md").read_text(encoding="utf-8")
    # What is said in Typst: diagrams, the rule beside answers, and the marks for an index.
    markdown = re.sub(r'```\{=typst\}\n#answer\("([^"]*)"\)\[\n```', r"**\1.**", markdown)
    markdown = re.sub(r'```\{=typst\}\n#diagram\("([^"]*)"\)\n```', r"![](\1)", markdown)
    markdown = re.sub(r"```\{=typst\}\n.*?\n```", "", markdown, flags=re.DOTALL)
    markdown = markdown.replace("](/book/", "](book/")
    (folder / "guide.md").write_text(markdown, encoding="utf-8")
    variables = ["geometry=margin=2.2cm", "monofont=DejaVu Sans Mono", "mainfont=DejaVu Serif", "colorlinks=true"]
    options = [f"--variable={each}" for each in variables]
    title = ["--metadata=title=inkling: the guide from first principles", "--toc", "--top-level-division=chapter"]
    command = ["--standalone", "--pdf-engine=xelatex", *title, *options, f"--output={out.resolve()}"]
    _pandoc(command, folder)
    return 0
