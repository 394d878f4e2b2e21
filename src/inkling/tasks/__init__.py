"""What a chat model is taught and asked: each task yields conversations and questions, and grades answers."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from inkling.errors import UserError
from inkling.tasks.almanac import AlmanacTask
from inkling.tasks.arc import ArcTask
from inkling.tasks.gsm8k import Gsm8kTask
from inkling.tasks.humaneval import HumanEvalTask
from inkling.tasks.jsonl import JsonlTask
from inkling.tasks.mmlu import MmluTask
from inkling.tasks.smoltalk import SmolTalkTask
from inkling.tasks.spelling import SpellingTask
from inkling.tasks.task import Task


@dataclass(frozen=True)
class TaskSettings:
    """tasks"""

    tables: str = ""
    """a folder with your own tables of facts, which join the almanac's"""
    data_from: str = ""
    """a folder with the files of the published tasks; unset: they are fetched from the Hugging Face hub"""
    allow_python: bool = False
    """whether programs that the model writes may be run here, as a tool and to judge humaneval. They run with limits
    on time, memory, output and files; that bounds mistakes, and is no safe box"""


TASKS: dict[str, Callable[[TaskSettings], Task]] = {
    "almanac": lambda settings: AlmanacTask(settings.tables),
    "arc_easy": lambda settings: ArcTask("easy", settings.data_from),
    "arc_challenge": lambda settings: ArcTask("challenge", settings.data_from),
    "mmlu": lambda settings: MmluTask(settings.data_from),
    "gsm8k": lambda settings: Gsm8kTask(settings.data_from),
    "humaneval": lambda settings: HumanEvalTask(settings.data_from, settings.allow_python),
    "smoltalk": lambda settings: SmolTalkTask(settings.data_from),
    "spelling": lambda settings: SpellingTask(),
}

# The tasks whose mean is ChatCORE, and the share of each that guessing gets right.
CHATCORE = {"arc_easy": 0.25, "arc_challenge": 0.25, "mmlu": 0.25, "gsm8k": 0.0, "humaneval": 0.0, "spelling": 0.0}


def find_task(name: str, settings: TaskSettings = TaskSettings()) -> Task:
    """The task of this name, or the one that a `.jsonl` file is. Raises UserError, with the nearest name."""
    if name in TASKS:
        return TASKS[name](settings)
    if name.endswith(".jsonl"):
        return JsonlTask(name)
    near = difflib.get_close_matches(name, [*TASKS, "chatcore"], n=1)
    raise UserError(f"There is no task {name!r}.", f"Did you mean {near[0]}?" if near else _remedy(), status=2)


def find_tasks(names: str, settings: TaskSettings = TaskSettings()) -> list[Task]:
    """The tasks of a list with commas, as flags have it; `chatcore` stands for six of them.

    Each must have its own name, for its scores' sake.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    wanted = [each for name in wanted for each in (CHATCORE if name == "chatcore" else [name])]
    tasks = [find_task(name, settings) for name in wanted]
    if not tasks:
        raise UserError("No task is named.", _remedy(), status=2)
    for task in tasks:
        if sum(other.name == task.name for other in tasks) > 1:
            raise UserError(f"Two tasks are called {task.name}.", "Name each once, or rename a file.", status=2)
    return tasks


def _remedy() -> str:
    return f"Tasks are: {', '.join(TASKS)}, chatcore for six of them, or the path of a .jsonl file."
