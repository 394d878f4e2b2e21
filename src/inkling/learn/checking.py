"""Load a person's file and ask it an exercise's checks. Whatever happens in it becomes a sentence about it."""

import importlib
import importlib.util
import linecache
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from inkling.learn.compare import Wrong
from inkling.learn.exercises import Exercise

Check = Callable[[ModuleType], None]


@dataclass(frozen=True)
class Outcome:
    """How a check ended. `reason` is what to do, where the check knows it."""

    says: str
    state: Literal["ok", "wrong", "open"]
    problem: str = ""
    reason: str = ""


def checks_of(exercise: Exercise) -> dict[str, Check]:
    """What each check says → the check, in their order."""
    module = importlib.import_module(f"inkling.learn.checks.{exercise.name}")
    found = [value for name, value in vars(module).items() if name.startswith("check_")]
    return {(check.__doc__ or "").strip(): check for check in found}


def ask(exercise: Exercise, file: Path) -> Iterator[Outcome]:
    """Load the file, which is the first outcome, and run each check. None runs where the file cannot be loaded."""
    loading = f"{file.name} can be loaded"
    try:
        mine = load(file)
    except BaseException as error:
        yield Outcome(loading, "wrong", describe(error, file))
        return
    yield Outcome(loading, "ok")
    for says, check in checks_of(exercise).items():
        yield try_check(says, check, mine, file)


def load(file: Path) -> ModuleType:
    """The person's file as a module; other files of its folder can be imported from it."""
    sys.path.insert(0, str(file.parent.resolve()))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


def try_check(says: str, check: Check, mine: ModuleType, file: Path) -> Outcome:
    """One check, and its end in words."""
    try:
        check(mine)
    except Wrong as wrong:
        return Outcome(says, "wrong", wrong.problem, wrong.reason.strip())
    except NotImplementedError as error:
        return Outcome(says, "open", str(error) or "not written yet")
    except AttributeError as error:
        if error.obj is mine:
            return Outcome(says, "wrong", f"{file.name} has no {error.name!r}.", "Keep the names of the skeleton.")
        return Outcome(says, "wrong", describe(error, file))
    except BaseException as error:  # also what ends a process: a file may call sys.exit()
        return Outcome(says, "wrong", describe(error, file))
    return Outcome(says, "ok")


def describe(error: BaseException, file: Path) -> str:
    """What went wrong and where in the person's file, in two lines at most."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).name == file.name:
        return f"line {error.lineno} is not Python ({error.msg}): {(error.text or '').strip()}"
    words = str(error).strip().split("\n")[0]
    what = f"{type(error).__name__}{': ' if words else ''}{words}"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
    if not own:
        return what
    line = linecache.getline(own[-1].filename, own[-1].lineno or 0).strip()
    return f"{what}\nin line {own[-1].lineno}, {own[-1].name}: {line}"
