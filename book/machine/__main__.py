"""`python -m book.machine`: build, check, accept, outline, site. `make book`, `make book-check` and others call it."""

import argparse
import sys
from pathlib import Path

from book.machine import blocks, links
from book.machine.book import Book
from book.machine.building import build, complaints, differences
from book.machine.outline import outline
from book.machine.problem import Problem, Wrong
from book.machine.spans import SourceFile
from inkling.errors import UserError
from inkling.files import write_atomic


def main(argv: list[str] | None = None) -> int:
    """Obey one command; the exit status is 1 when the book is not as it should be."""
    words = _parser().parse_args(argv)
    root = Path(words.root).resolve()
    try:
        if words.command == "build":
            return write(Book(root), words.again, _name(words.page))
        if words.command == "check":
            return check(Book(root), words.again, _name(words.page))
        if words.command == "accept":
            return accept(Book(root), _name(words.page), words.symbol, words.reason)
        if words.command == "outline":
            print("\n".join(outline(SourceFile(root, words.file))))
            return 0
        from book.machine.site import build_site

        status = write(Book(root)) if words.fresh else 0
        return status or build_site(Book(root), words.serve)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except Wrong as wrong:
        print(f"error: {wrong.says}\n{wrong.remedy}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m book.machine", description=__doc__)
    parser.add_argument("--root", default=".", help="the repository's folder")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("build", "make every generated part anew"), ("check", "change nothing, say what is wrong")):
        one = commands.add_parser(name, help=what)
        one.add_argument("--again", action="store_true", help="run every snippet, whatever its digest says")
        one.add_argument("--page", default="", help="this page alone")
    one = commands.add_parser("accept", help="say that words still hold although their code changed")
    for name in ("page", "symbol", "reason"):
        one.add_argument(f"--{name}", required=True)
    one = commands.add_parser("outline", help="the directives that go through a file, to begin its analysis with")
    one.add_argument("file", help="a path from the root of the repository")
    one = commands.add_parser("site", help="the pages as a site in build/book/site")
    one.add_argument("--serve", action="store_true", help="and show it on this machine")
    one.add_argument("--fresh", action="store_true", help="build the book first")
    return parser


def _name(page: str) -> str:
    """A page as the book names it, however it was typed."""
    return page.replace("\\", "/").removeprefix("book/")


def write(book: Book, again: bool = False, only: str = "") -> int:
    """Make the generated parts in place, and say what a person has to mend."""
    _must_be_there(book, only)
    on_disk = {path: book.read(path) for path in book.pages}
    built = build(book, again, only)
    changed = [p for p, page in built.pages.items() if only in ("", p) and page.text() != on_disk[p]]
    for path in changed:
        write_atomic(book.folder / path, built.pages[path].text())
        print(f"wrote book/{path}")
    for path, picture in built.pictures.items():
        (book.folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(book.folder / path, picture)
    fresh = Book(book.root)
    summary = f"{len(changed)} of {len(book.pages)} pages changed"
    return _report(fresh, [*built.problems, *complaints(fresh)], summary, only)


def check(book: Book, again: bool = False, only: str = "") -> int:
    """Say what is not as it should be, and change nothing."""
    _must_be_there(book, only)
    before = dict(book.pages)
    problems = list(complaints(book))
    built = build(book, again, only)
    problems += built.problems
    for path, page in built.pages.items():
        problems += differences(before[path], page)
    note = f"; snippets of {len(built.ran)} pages were run again (`make book` notes that)" if built.ran else ""
    return _report(book, problems, f"{len(before)} pages{note}", only)


def accept(book: Book, page: str, symbol: str, reason: str) -> int:
    """Take an explanation as read for the code of today."""
    _must_be_there(book, page)
    try:
        accepted = blocks.accept(book, book.pages[page], symbol, reason)
    except Wrong as wrong:
        raise UserError(wrong.says[0].upper() + wrong.says[1:] + ".", wrong.remedy) from None
    write_atomic(book.folder / page, accepted.text())
    print(f"accepted: {symbol} in book/{page}")
    return 0


def _must_be_there(book: Book, page: str) -> None:
    if page and page not in book.pages:
        raise UserError(f"There is no page {page}.", f"Pages: {', '.join(book.pages)}.")


def _report(book: Book, problems: list[Problem], summary: str, only: str = "") -> int:
    """Print each problem once, by page and line; of one page alone where one was asked for."""
    found = sorted(problem for problem in set(problems) if only in ("", problem.page))
    for problem in found:
        print(problem, file=sys.stderr)
    promised = links.waiting(book)
    waiting = f"; {promised} links wait for pages that are not written yet" if promised else ""
    print(f"book: {summary}{waiting}; " + (f"{len(found)} problems" if found else "nothing wrong"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
