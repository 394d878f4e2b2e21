"""Several commands in one way: each stage runs once and whole, and again only when what it is made of has changed.

A pipeline is a list of stages, each a command that a person could type. Beside its last run it keeps a book,
runs/NAME.pipeline.json: what each stage was asked, the hashes of what it read and made, and the seconds it took. By the
book the same command goes on after an interruption, and does nothing twice.
"""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from inkling.errors import UserError
from inkling.files import sha256_of, write_atomic
from inkling.train.checkpoint import MANIFEST, read_index

BOOK = ".pipeline.json"  # what the name of a pipeline's book ends with

State = Literal["new", "begun", "done", "changed", "unknown"]


@dataclass(frozen=True)
class Stage:
    """One command of the way."""

    title: str
    words: tuple[str, ...]
    """what stands after `inkling`"""
    makes: Path
    """the file that is there when the stage is done; of a training, the run's folder"""
    reads: tuple[Path, ...] = ()
    """what earlier stages made and this one depends on"""
    facts: str = ""
    """what else it depends on, in words that change when it does"""
    processes: int = 1
    """more than one go through torchrun"""

    @property
    def is_training(self) -> bool:
        return self.words[0] in ("train", "sft", "rl")

    @property
    def exists(self) -> bool:
        """Whether there is anything of it yet."""
        return (self.makes / "resolved.toml").exists() if self.is_training else self.makes.exists()


@dataclass(frozen=True)
class Pipeline:
    """Stages in their order."""

    name: str
    """of its last run, below runs/"""
    stages: tuple[Stage, ...]
    again: str
    """the command that goes on with it"""

    @property
    def book(self) -> Path:
        return Path("runs") / f"{self.name}{BOOK}"


# --- the book ----------------------------------------------------------------------------------------------


class Book:
    """What was asked and made, by what it makes. Written whenever it changes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.entries = read_book(file)

    def find(self, stage: Stage) -> dict[str, Any] | None:
        """The stage's entry; None where it was never begun."""
        return self.entries.get(stage.makes.as_posix())

    def begin(self, stage: Stage) -> None:
        """The stage is asked for now, and not made yet. What went before it counts if it was the same."""
        before = self.find(stage)
        asked = asked_of(stage)
        seconds = before["seconds"] if before and is_same(before["asked"], asked) and before["made"] is None else 0.0
        entry = {"title": stage.title, "asked": asked, "made": None, "seconds": seconds, "process": None}
        self.entries[stage.makes.as_posix()] = entry
        self._write()

    def note(self, stage: Stage, **facts: Any) -> None:
        """Add to the stage's entry."""
        self.entries[stage.makes.as_posix()] |= facts
        self._write()

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.file, json.dumps(self.entries, indent=1, ensure_ascii=False) + "\n")


def read_book(file: Path) -> dict[str, dict[str, Any]]:
    """A book's entries, none where there is no book. Raises UserError for one that cannot be read."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise UserError(f"{file} is damaged.", "Restore it, or delete it and what its pipeline made.") from None


def asked_of(stage: Stage) -> dict[str, Any]:
    """What decides what the stage makes, as JSON has it."""
    reads = {path.as_posix(): fingerprint(path) for path in stage.reads}
    return {"words": list(stage.words), "facts": stage.facts, "reads": reads}


def is_same(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two askings are one. What is to be made anew has no hash yet, and may come out as it was."""
    reads = all(before["reads"].get(path) == sha256 for path, sha256 in now["reads"].items() if sha256)
    return reads and all(before[key] == now[key] for key in ("words", "facts"))


def fingerprint(made: Path) -> str | None:
    """The hash of a file; of a run, of its last checkpoint's manifest, which holds the hashes of its weights."""
    if made.is_dir():
        last = read_index(made)["last"]
        made = made / "checkpoints" / f"step-{last or 0:06d}" / MANIFEST
    return sha256_of(made) if made.is_file() else None


def state_of(stage: Stage, book: Book) -> State:
    """new: nothing there; begun: to go on with; changed: of other settings or data; unknown: not of this pipeline."""
    entry = book.find(stage)
    if not stage.exists:
        return "new"
    if entry is None:
        return "unknown"
    if not is_same(entry["asked"], asked_of(stage)):
        return "changed"
    if entry["made"] is None:
        return "begun"
    return "done" if entry["made"] == fingerprint(stage.makes) else "changed"


# --- running -----------------------------------------------------------------------------------------------


def follow(pipeline: Pipeline) -> list[tuple[str, float]]:
    """Run every stage that is not done, in a process of its own; returns (title, seconds) of those that ran."""
    book = Book(pipeline.book)
    refuse_running(book)
    refuse_in_the_way(pipeline, book)
    took = []
    for number, stage in enumerate(pipeline.stages, 1):
        print(f"\n--- {number} of {len(pipeline.stages)}: {stage.title}")
        refuse_in_the_way(pipeline, book)  # once more: what it reads has its hashes by now
        state = state_of(stage, book)
        if state == "done":
            print("done already")
            continue
        took.append((stage.title, run(stage, state, book, pipeline.again)))
    return took


def run(stage: Stage, state: State, book: Book, again: str) -> float:
    """Run a stage to its end; returns the seconds it took."""
    words = stage.words
    if stage.is_training and state == "begun":
        words = (words[0], f"--out_dir={stage.makes.as_posix()}", "--resume")
    print(f"$ {in_words(words, stage.processes)}", flush=True)
    book.begin(stage)
    began = time.monotonic()
    status = call(words, stage.processes, lambda pid: book.note(stage, process=_identity(pid)))
    seconds = time.monotonic() - began
    book.note(stage, seconds=round(book.entries[stage.makes.as_posix()]["seconds"] + seconds, 3), process=None)
    made = fingerprint(stage.makes)
    if status or made is None:
        problem = f"The stage ended with status {status}." if status else f"The stage made no {stage.makes}."
        remedy = f"When what it says is mended, the same command goes on from here: {again}"
        raise UserError(problem, remedy, status=status or 1)
    book.note(stage, made=made)
    return seconds


def call(words: Sequence[str], processes: int = 1, started: Callable[[int], None] = lambda pid: None) -> int:
    """The status of a command in processes of its own. Ctrl-C is the command's to answer first, and ends the way even
    where the command had just finished, or did not hear it."""
    process = subprocess.Popen([sys.executable, *launcher(processes), "-m", "inkling", *words])
    started(process.pid)
    interrupted = 0
    while True:
        try:
            return process.wait() or interrupted
        except KeyboardInterrupt:  # it has heard it as well, saves, and ends
            interrupted = 130


def launcher(processes: int) -> list[str]:
    """torchrun's words, which work where the command itself is not on the path."""
    if processes == 1:
        return []
    return ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]


def in_words(words: Sequence[str], processes: int = 1) -> str:
    """A command as a person would type it."""
    if processes == 1:
        return f"inkling {shlex.join(words)}"
    return f"torchrun --standalone --nproc_per_node={processes} -m inkling {shlex.join(words)}"


# --- what stands in the way --------------------------------------------------------------------------------


def refuse_in_the_way(pipeline: Pipeline, book: Book) -> None:
    """Before anything is overwritten: a training is never begun anew over one that is there."""
    another = f"Choose another name, {pipeline.again.split(' --name=')[0]} --name=NAME, or delete"
    remade: set[Path] = set()
    for stage in pipeline.stages:
        state = state_of(stage, book)
        if state == "unknown":
            raise UserError(f"{stage.makes} is there, and not of this pipeline.", f"{another} {stage.makes}.")
        if state == "changed":
            remade.add(stage.makes)
        if stage.is_training and stage.exists and remade & {stage.makes, *stage.reads}:
            problem = f"The settings, or what it reads, have changed since {stage.makes.as_posix()} was trained."
            raise UserError(problem, f"{another} {stage.makes.as_posix()}.")


def refuse_running(book: Book) -> None:
    """A stage that outlived its pipeline, whose process was killed, must not run twice at once."""
    for entry in book.entries.values():
        if entry["process"] and _identity(entry["process"][0]) == entry["process"]:
            raise UserError(
                f"The stage {entry['title']!r} is still running, as process {entry['process'][0]}.",
                "Wait until it has ended, or end it; then the same command goes on.",
            )


def _identity(pid: int) -> list[float] | None:
    """A process by its number and the second it began in; numbers are given again. None once it has ended."""
    try:
        process = psutil.Process(pid)
        # Killed, and not yet fetched by whoever inherited it: some containers have nobody who does.
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return [pid, round(process.create_time())]
    except psutil.Error:
        return None
