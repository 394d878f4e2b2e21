"""Run a page's snippets: child processes in one scratch folder, without a network, within a time."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from book.machine.book import Book
from book.machine.parts import Page, Part
from book.machine.problem import Problem
from book.machine.sameness import same_output
from book.machine.snippets import MARK, Snippet, digests, is_fresh, output_digest, picture_of, snippets_of

LONGEST = 120  # lines of output that a page shows; of more, the middle is left out


class Failed(Exception):
    """A snippet did not end as it should have."""


@dataclass
class Ran:
    """A page after its snippets ran, or did not have to: its new form, what failed, the pictures by path."""

    page: Page
    problems: list[Problem] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    is_new: bool = False


def run_page(book: Book, page: Page, again: bool = False) -> Ran:
    """The page with the outputs of today.

    Nothing is run while every output's digest holds, unless `again`. An output that is the same but for times,
    speeds and the last digits of measured numbers stays as it stands.
    """
    snippets = snippets_of(page)
    bases = digests(book, snippets)
    if not snippets or (
        not again and all(is_fresh(book, snippet, basis) for snippet, basis in zip(snippets, bases, strict=True))
    ):
        return Ran(page)
    outputs: dict[int, Part] = {}
    ran = Ran(page, is_new=True)
    with tempfile.TemporaryDirectory(prefix="inkling-book-") as folder:
        for snippet, basis in zip(snippets, bases, strict=True):
            try:
                printed = tuple(run(book.root, snippet, Path(folder)))
                if snippet.keeps:
                    ran.pictures[picture_of(snippet)] = _picture(Path(folder) / snippet.keeps)
            except Failed as failed:
                remedy = "Mend the block, or mark it: <!-- fails -->, <!-- limit: SECONDS -->, <!-- norun: REASON -->."
                ran.problems.append(Problem(page.path, snippet.line, str(failed), remedy))
                break  # what follows in the page may need what this one should have made
            if not snippet.hidden:
                outputs[snippet.line] = _output_part(snippet, basis, printed)
    ran.page = _with_outputs(page, outputs)
    return ran


def _picture(file: Path) -> bytes:
    if not file.is_file():
        raise Failed(f"this snippet was to leave {file.name}, and did not")
    return file.read_bytes()


def _output_part(snippet: Snippet, basis: str, printed: tuple[str, ...]) -> Part:
    marks = "`" * max(3, 1 + max((len(m) for line in printed for m in re.findall(r"`{3,}", line)), default=0))
    lines: tuple[str, ...] = (f"{marks}text", *printed, marks) if printed else ("*(prints nothing)*",)
    shown = snippet.shown.lines if snippet.shown is not None else ()
    if shown and (snippet.varies or same_output("\n".join(shown), "\n".join(lines))):
        lines = shown
    return Part("output", snippet.line, lines, "output", output_digest(basis, lines))


def _with_outputs(page: Page, outputs: dict[int, Part]) -> Page:
    """The page with each output below its snippet, in the place of the one that stood there."""
    blank = Part("text", 0, ("",))
    parts: list[Part] = []
    rest = deque(page.parts)
    while rest:
        part = rest.popleft()
        parts.append(part)
        if part.kind != "fence" or part.line not in outputs:
            continue
        if len(rest) > 1 and rest[1].kind == "output" and not "".join(rest[0].lines).strip():
            rest.popleft()
        if rest and rest[0].kind == "output":
            rest.popleft()
        parts += [blank, outputs[part.line]]
        if rest and rest[0].lines[:1] != ("",):
            parts.append(blank)
    return replace(page, parts=tuple(parts))


def run(root: Path, snippet: Snippet, folder: Path) -> list[str]:
    """Run one snippet and give the lines it printed, normalised; Failed says how it ended otherwise."""
    printed: list[str] = []
    status = 0
    if snippet.files and not (root / snippet.files).is_dir():
        raise Failed(f"there is no folder {snippet.files}")
    for file in (root / snippet.files).glob("*.*") if snippet.files else ():
        shutil.copy(file, folder)
    for command in _as_processes(snippet, folder):
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=_environment(root),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                timeout=snippet.seconds,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"this snippet took longer than {snippet.seconds} s") from None
        status = done.returncode
        printed += _cleaned(done.stdout.decode("utf-8", errors="replace"), folder, root)
        if status and not snippet.fails:
            tail = "\n      ".join(printed[-12:])
            raise Failed(f"this snippet ended with status {status}:\n      {tail}")
    if snippet.fails and not status:
        raise Failed("this snippet is marked `fails` and ended well")
    if len(printed) > LONGEST:
        half = LONGEST // 2
        printed = [*printed[:half], f"… ({len(printed) - 2 * half} lines) …", *printed[-half:]]
    return printed


def _as_processes(snippet: Snippet, folder: Path) -> Iterator[list[str]]:
    if snippet.script:
        file = folder / "snippet.py"
        file.write_text(snippet.script, encoding="utf-8")
        yield [sys.executable, file.name]
    for program, *words in snippet.commands:
        yield [sys.executable, "-m", "inkling", *words] if program == "inkling" else [sys.executable, *words]


def _environment(root: Path) -> dict[str, str]:
    """This process's environment, cut off from the network and from what a terminal would change."""
    kept = {key: value for key, value in os.environ.items() if not key.upper().endswith("_PROXY")}
    nowhere = "http://127.0.0.1:9"  # the port that discards: a request fails at once instead of waiting
    return kept | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(root / "src"), os.environ.get("PYTHONPATH")])),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONHASHSEED": "0",
        "COLUMNS": "110",
        "OMP_WAIT_POLICY": "PASSIVE",  # two pages at once: threads that wait in circles would take each other's cores
        "MPLBACKEND": "Agg",
        "MATPLOTLIBRC": str(root / "book" / "machine" / "matplotlibrc"),
        "SOURCE_DATE_EPOCH": "0",  # no date in pictures
        "NO_COLOR": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "http_proxy": nowhere,
        "https_proxy": nowhere,
        "no_proxy": "127.0.0.1,localhost",  # a page may serve a model, and ask it
    }


def _cleaned(text: str, *folders: Path) -> list[str]:
    """What a reader would see: after the mark, without colours, redrawn lines and the way to these folders."""
    text = text.replace("\r\n", "\n").rpartition(MARK + "\n")[2]
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    for path in [form for folder in folders for form in (str(folder.resolve()), str(folder))]:
        text = text.replace(path + os.sep, "").replace(path, ".")
    lines = [line.rpartition("\r")[2].rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines
