"""The person's folder: skeletons are laid into it, files are checked there in a process of their own.

What passed is noted beside them. -P keeps the folder out of that process's path while inkling and PyTorch load, so
that a file named random.py does no harm.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from inkling.errors import UserError
from inkling.files import sha256_of, write_atomic
from inkling.learn.checking import Outcome
from inkling.learn.exercises import EXERCISES, Exercise, skeleton

NOTES = "done.json"  # exercise → digest of the file that passed


@dataclass(frozen=True)
class Report:
    """What the checks of one exercise found. `printed` is what the person's file wrote."""

    exercise: Exercise
    outcomes: list[Outcome]
    printed: str

    @property
    def is_done(self) -> bool:
        """Whether every check passed."""
        return all(outcome.state == "ok" for outcome in self.outcomes)


def lay_out(folder: Path) -> tuple[list[str], list[str]]:
    """Write the skeletons that are not there yet: (names written, names kept). Nothing is ever overwritten."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file.", "Name a folder: inkling learn start FOLDER", status=2)
    folder.mkdir(parents=True, exist_ok=True)
    written, kept = [], []
    for exercise in EXERCISES:
        file = folder / exercise.file
        if file.exists():
            kept.append(exercise.file)
        else:
            write_atomic(file, skeleton(exercise))
            written.append(exercise.file)
    return written, kept


def check(exercise: Exercise, folder: Path, seconds: float) -> Report:
    """Run the checks on the person's file, for at most `seconds`, and note in the folder whether it passed."""
    file = (folder / exercise.file).resolve()
    if not file.is_file():
        raise UserError(f"There is no {folder / exercise.file}.", "inkling learn start writes the skeletons.")
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) / "results"
        words = [sys.executable, "-P", "-m", "inkling.learn.child", exercise.name, str(file), str(results)]
        printed, ended = _run(words, folder, seconds)
        lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    outcomes, begun, is_whole = [], "starting", False
    for line in map(json.loads, lines):
        if "state" in line:
            outcomes.append(Outcome(**line))
        begun = line.get("begins", begun)
        is_whole = is_whole or "end" in line
    if not is_whole:
        outcomes.append(Outcome(begun, "wrong", ended))
    report = Report(exercise, outcomes, printed)
    note(folder, exercise, sha256_of(file) if report.is_done else None)
    return report


def _run(words: list[str], folder: Path, seconds: float) -> tuple[str, str]:
    """(what the process printed, why it may not have come to its end)."""
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            env=os.environ | {"PYTHONUTF8": "1"},
        )
    except subprocess.TimeoutExpired as late:
        says = f"not done after {seconds:g} s, so it was stopped. Is there a loop that never ends?"
        return (late.stdout or b"").decode("utf-8", errors="replace"), says
    says = f"the process ended here, with status {done.returncode}."
    return done.stdout.decode("utf-8", errors="replace"), says


# --- what is done ------------------------------------------------------------------------------------------


def state_of(exercise: Exercise, folder: Path) -> str:
    """ "done", "changed" since it was done, "begun", "not begun", or "missing"."""
    file = folder / exercise.file
    if not file.is_file():
        return "missing"
    noted = _notes(folder).get(exercise.name)
    if noted:
        return "done" if noted == sha256_of(file) else "changed"
    return "not begun" if file.read_text(encoding="utf-8", errors="replace") == skeleton(exercise) else "begun"


def note(folder: Path, exercise: Exercise, passed: str | None) -> None:
    """Write down the digest of a file that passed; None takes it away."""
    notes = _notes(folder)
    notes.pop(exercise.name, None)
    if passed:
        notes[exercise.name] = passed
    write_atomic(folder / NOTES, json.dumps(notes, indent=1) + "\n")


def _notes(folder: Path) -> dict[str, str]:
    try:
        notes = json.loads((folder / NOTES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}
