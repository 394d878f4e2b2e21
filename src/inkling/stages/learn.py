"""`inkling learn`: seven exercises to build a language model yourself, with checks, hints and solutions."""

from dataclasses import dataclass
from pathlib import Path

from inkling.errors import UserError
from inkling.learn.desk import Report, check, lay_out, state_of
from inkling.learn.exercises import EXERCISES, Exercise, find, solution
from inkling.settings import Layer, build


@dataclass(frozen=True)
class LearnSettings:
    """learn"""

    folder: str = "exercises"
    """where your files are"""
    seconds: float = 120.0
    """how long the checks of one exercise may take; what takes longer has a loop that never ends"""


SETTINGS = LearnSettings
DESCRIPTION = """Build it yourself: tokenizer, attention, block, loss, optimizer, loop, sampler.

  inkling learn start            lay the skeletons into ./exercises (inkling learn start FOLDER: into another)
  inkling learn                  the exercises, and what is done
  inkling learn check 3          try your block.py: what is right, what is wrong; also a name, several, or all
  inkling learn hint 3           a hint; inkling learn hint 3 2 gives the next one
  inkling learn show 3           the solution

Your files are yours: nothing here writes into one that exists. They run in a process of their own."""

ACTIONS = ("start", "check", "hint", "show")


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    settings, _ = build(LearnSettings, [Layer("flag", flags)])
    if not settings.seconds > 0:
        raise UserError(f"seconds={settings.seconds:g} must be above 0.", status=2)
    main(positional, settings)


def main(words: list[str], settings: LearnSettings) -> None:
    """Do what the words say: start, check, hint or show; without a word, list."""
    action, *rest = words or ["list"]
    folder = Path(settings.folder)
    if action == "list":
        say_exercises(folder)
    elif action == "start" and len(rest) <= 1:
        start(Path(rest[0]) if rest else folder)
    elif action == "check":
        check_all(_chosen(rest), folder, settings.seconds)
    elif action == "hint" and len(rest) in (1, 2):
        say_hint(find(rest[0]), rest[1] if len(rest) == 2 else "1")
    elif action == "show" and len(rest) == 1:
        print(solution(find(rest[0])), end="")
    elif action in ACTIONS:
        raise UserError(f"learn {action} does not take {len(rest)} words.", "See: inkling learn --help", status=2)
    else:
        raise UserError(f"learn does not know {action!r}.", f"It knows: {', '.join(ACTIONS)}.", status=2)


def _chosen(words: list[str]) -> list[Exercise]:
    if not words or words == ["all"]:
        return list(EXERCISES)
    return [find(word) for word in words]


def start(folder: Path) -> None:
    """Lay the skeletons out and say how to go on."""
    written, kept = lay_out(folder)
    if written:
        print(f"{folder}: {', '.join(written)}")
    if kept:
        print(f"already there, and left as they are: {', '.join(kept)}")
    where = "" if str(folder) == LearnSettings.folder else f" --folder={folder}"
    print(f"Open {folder / EXERCISES[0].file}, write what its words ask for, then: inkling learn check 1{where}")


def say_exercises(folder: Path) -> None:
    """The list, and what is done."""
    states = {exercise: state_of(exercise, folder) for exercise in EXERCISES}
    for exercise, state in states.items():
        shown = {"changed": "changed since it was right", "missing": ""}.get(state, state)
        print(f"{exercise.number}  {exercise.name:<10} {exercise.title:<58} {shown}".rstrip())
    if all(state == "missing" for state in states.values()):
        print(f"\nThere are no exercises in {folder} yet: inkling learn start")
    elif open_ones := [exercise for exercise, state in states.items() if state != "done"]:
        print(f"\nNext: inkling learn check {open_ones[0].number}")
    else:
        print("\nAll seven are done.")


def check_all(exercises: list[Exercise], folder: Path, seconds: float) -> None:
    """Check one exercise after the other; raise UserError at the end where something is not right."""
    undone = []
    for exercise in exercises:
        report = check(exercise, folder, seconds)
        say_report(report, folder)
        if not report.is_done:
            undone.append(exercise)
    if undone:
        names = ", ".join(f"{exercise.number} {exercise.name}" for exercise in undone)
        raise UserError(f"Not done yet: {names}.", f"inkling learn hint {undone[0].number}")


def say_report(report: Report, folder: Path) -> None:
    """What is right and what is wrong. What is open is said once for all."""
    exercise = report.exercise
    print(f"{exercise.number} {exercise.name}: {folder / exercise.file}")
    for outcome in report.outcomes:
        print(f"  {outcome.state:<6} {outcome.says}")
        for line in [*outcome.problem.splitlines(), outcome.reason]:
            if line:
                print(f"         {line}")
    if report.printed.strip():
        lines = report.printed.strip().splitlines()[-20:]
        print("  your file printed:", *lines, sep="\n    ")
    if report.is_done:
        print(f"  All {len(report.outcomes) - 1} checks passed.")


def say_hint(exercise: Exercise, which: str) -> None:
    """One hint, and how many there are."""
    hints = exercise.hints
    if not which.isdecimal() or not 1 <= int(which) <= len(hints):
        raise UserError(f"{exercise.name} has no hint {which!r}.", f"It has hints 1 to {len(hints)}.", status=2)
    print(f"{which} of {len(hints)}: {hints[int(which) - 1]}")
    if int(which) < len(hints):
        print(f"The next one: inkling learn hint {exercise.number} {int(which) + 1}")
    else:
        print(f"The solution: inkling learn show {exercise.number}")
