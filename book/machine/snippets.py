"""Snippets: what a page tells the reader to type, run for real, and what it printed.

Every `python` and `console` block is run, in the page's order, in one scratch folder for the page. Below each stands
`<!-- output: DIGEST -->` with what was printed. The digest covers the block, all that was run before it in the page,
the source files that it uses, and the shown output; while it holds, nothing is run. Lines before a block change that:

    <!-- norun: the reason -->       is not run
    <!-- fails -->                   ends with an error, and the message is the point
    <!-- continue -->                goes on in the same Python as the block above
    <!-- varies -->                  prints what hangs on the machine: it must end well, and any output stands
    <!-- keep: loss.svg -->          a picture that it makes, put into `pictures` beside the page for a link to show
    <!-- setup: inkling prepare bundled -->     a command run first and not shown
    <!-- files: book/guide/chatbot -->          a folder whose files lie in the scratch folder from here on
    <!-- limit: 120 -->              seconds it may take; 240 otherwise
"""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

from book.machine.blocks import digest
from book.machine.book import Book
from book.machine.parts import Page, Part
from book.machine.problem import Problem, Wrong
from inkling.cli import module_of

SECONDS = 240  # a busy machine is slow
PROGRAMS = ("inkling", "python")
_SHELLS = ("bash", "sh", "shell", "zsh", "cmd", "powershell")
MARK = "--- inkling book: the block begins here ---"


@dataclass(frozen=True)
class Snippet:
    """A thing to run: `commands` of a console block, or the whole `script` of a Python block."""

    page: str
    line: int
    commands: tuple[tuple[str, ...], ...] = ()
    script: str = ""
    fails: bool = False
    seconds: int = SECONDS
    shown: Part | None = None  # the output that stands in the page
    hidden: bool = False  # a setup
    varies: bool = False  # another machine prints something else
    keeps: str = ""  # a file that it leaves in the scratch folder
    files: str = ""  # a folder of the repository whose files are copied there first


def snippets_of(page: Page) -> list[Snippet]:
    """What is run for a page, in order. Wrong names what a block should have said (see `complaints`)."""
    found: list[Snippet] = []
    notes: dict[str, Part] = {}
    chain = ""
    for i, part in enumerate(page.parts):
        if part.kind == "note" and part.name == "setup":
            found.append(Snippet(page.path, part.line, (_words(part.args),), hidden=True))
        elif part.kind == "note" and part.name == "files":
            found.append(Snippet(page.path, part.line, files=part.args, hidden=True))
        elif part.kind == "note":
            notes[part.name] = part
        elif part.kind == "fence":
            language = part.args.split(" ")[0]
            if language in ("python", "console") and "norun" not in notes:
                shown = _output_after(page.parts[i + 1 :])
                seconds = int(notes["limit"].args) if "limit" in notes else SECONDS
                snippet = Snippet(page.path, part.line, fails="fails" in notes, seconds=seconds, shown=shown)
                snippet = replace(
                    snippet, keeps=notes["keep"].args if "keep" in notes else "", varies="varies" in notes
                )
                if language == "console":
                    found.append(replace(snippet, commands=_commands(part.body)))
                else:
                    before = chain if "continue" in notes else ""
                    chain = before + part.body + "\n"
                    found.append(replace(snippet, script=f"{before}print({MARK!r}, flush=True)\n{part.body}\n"))
            notes = {}
        elif part.kind != "text" or any(line.strip() for line in part.lines):
            notes = {}
    return found


def _output_after(parts: tuple[Part, ...]) -> Part | None:
    for part in parts:
        if part.kind == "output":
            return part
        if part.kind != "text" or any(line.strip() for line in part.lines):
            return None
    return None


def _commands(body: str) -> tuple[tuple[str, ...], ...]:
    """The `$ ` lines of a console block, with `\\` at their ends taken as a going-on."""
    commands = []
    for line in body.replace("\\\n", " ").split("\n"):
        if not line.strip():
            continue
        if not line.startswith("$ "):
            raise Wrong(f"{line!r} in a console block has no `$ ` before it", "`make book` adds the output below.")
        commands.append(_words(line[2:]))
    return tuple(commands)


def _words(command: str) -> tuple[str, ...]:
    words = tuple(shlex.split(command, comments=True))
    if not words or words[0] not in PROGRAMS:
        remedy = f"Blocks that are run call {' or '.join(PROGRAMS)}; put <!-- norun: REASON --> above any other."
        raise Wrong(f"{command!r} cannot be run everywhere", remedy)
    return words


def complaints(page: Page) -> Iterator[Problem]:
    """Blocks that could not even be tried."""
    for before, part in zip((None, *page.parts), page.parts, strict=False):
        if part.kind == "note" and part.name == "norun" and len(part.args) < 5:
            yield Problem(page.path, part.line, "norun needs a reason", "<!-- norun: needs a GPU -->")
        if part.kind == "note" and part.name == "keep" and not re.fullmatch(r"[\w-]+\.(svg|png)", part.args):
            yield Problem(page.path, part.line, "keep needs the name of a picture", "<!-- keep: loss.svg -->")
        if part.kind == "note" and part.name == "limit" and not part.args.isdecimal():
            yield Problem(page.path, part.line, "limit needs seconds", "<!-- limit: 120 -->")
        if part.kind == "fence" and part.args.split(" ")[0] in _SHELLS:
            remedy = "Write ```console and `$ ` before each command."
            yield Problem(page.path, part.line, f"a block in {part.args} is neither run nor read", remedy)
        if part.kind == "fence" and not part.args:
            yield Problem(page.path, part.line, "this fenced block names no language", "```text, if it has none.")
        if part.kind == "output" and (before is None or before.kind not in ("fence", "text")):
            yield Problem(page.path, part.line, "this output belongs to no snippet", "Take it away.")
    try:
        snippets_of(page)
    except (Wrong, ValueError) as error:
        says, remedy = (error.says, error.remedy) if isinstance(error, Wrong) else (str(error), "")
        line = next((p.line for p in page.parts if p.kind == "fence" and any(says.find(x) >= 0 for x in p.lines)), 0)
        yield Problem(page.path, line, says, remedy)


# --- whether what is shown is still to be believed ---------------------------------------------------------


def digests(book: Book, snippets: list[Snippet]) -> list[str]:
    """For each snippet, what its output depends on."""
    found, before = [], ""
    for snippet in snippets:
        files = sorted(set().union(*(closure(book, module) for module in _modules(snippet))))
        files += book.source_files([f"{snippet.files}/*.*"]) if snippet.files else []
        content = [digest("\n".join(book.source(file).lines)) for file in files]
        what = repr((snippet.commands, snippet.script, snippet.fails))
        before = digest("\n".join([before, what, *files, *content]))
        found.append(before)
    return found


def output_digest(basis: str, lines: tuple[str, ...]) -> str:
    """What the output's comment says: of what it came from, and of itself."""
    return digest("\n".join([basis, *lines]))


def picture_of(snippet: Snippet) -> str:
    """Where the picture that a snippet leaves lies in the book."""
    return str(PurePosixPath(snippet.page).parent / "pictures" / snippet.keeps)


def is_fresh(book: Book, snippet: Snippet, basis: str) -> bool:
    """Whether the shown output was printed by this very snippet and source, and its picture is there."""
    if snippet.hidden:
        return True
    if snippet.keeps and not (book.folder / picture_of(snippet)).is_file():
        return False
    return snippet.shown is not None and snippet.shown.args == output_digest(basis, snippet.shown.lines)


def _modules(snippet: Snippet) -> Iterator[str]:
    """The modules of inkling that a snippet begins with."""
    for words in snippet.commands:
        yield "inkling.cli"
        if len(words) > 1 and words[0] == "inkling" and not words[1].startswith("-"):
            yield module_of(words[1])
    if snippet.script:
        try:
            yield from _imports(snippet.script, "")
        except SyntaxError:
            return  # running it will say so


def closure(book: Book, module: str) -> set[str]:
    """The files that a module is made of: itself, what it imports of inkling, and what lies beside it as data."""
    todo, seen = [module], set()
    files: set[str] = set()
    while todo:
        name = todo.pop()
        file = _file_of(book.root, name)
        if file is None or name in seen:
            continue
        seen.add(name)
        files.add(file)
        if file.endswith("__init__.py"):
            files |= set(book.source_files([f"{PurePosixPath(file).parent}/*.toml"]))
        package = name if file.endswith("__init__.py") else name.rpartition(".")[0]
        todo += [*_imports("\n".join(book.source(file).lines), package), package]
    return files


@lru_cache(maxsize=1024)  # most snippets use most files: without it a check of the book was two minutes of this
def _imports(source: str, package: str) -> tuple[str, ...]:
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or package
            found += (base, *(f"{base}.{alias.name}" for alias in node.names))
    return tuple(found)


def _file_of(root: Path, module: str) -> str | None:
    if not re.match(r"inkling(\.|$)", module):
        return None
    base = "src/" + module.replace(".", "/")
    return next((f for f in (f"{base}.py", f"{base}/__init__.py") if (root / f).is_file()), None)
