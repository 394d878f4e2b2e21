"""What a chat model is taught and asked: each task yields conversations and questions, and grades answers."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from inkling.errors import UserError
from inkling.tasks.almanac import AlmanacTask
from inkling.tasks.jsonl import JsonlTask
from inkling.tasks.task import Task


@dataclass(frozen=True)
class TaskSettings:
    """tasks"""

    tables: str = ""
    """a folder with your own tables of facts, which join the almanac's"""


TASKS: dict[str, Callable[[TaskSettings], Task]] = {
    "almanac": lambda settings: AlmanacTask(settings.tables),
}


def find_task(name: str, settings: TaskSettings = TaskSettings()) -> Task:
    """The task of this name, or the one that a `.jsonl` file is. Raises UserError, with the nearest name."""
    if name in TASKS:
        return TASKS[name](settings)
    if name.endswith(".jsonl"):
        return JsonlTask(name)
    near = difflib.get_close_matches(name, TASKS, n=1)
    remedy = f"Did you mean {near[0]}?" if near else f"Tasks are: {', '.join(TASKS)}, or the path of a .jsonl file."
    raise UserError(f"There is no task {name!r}.", remedy, status=2)


def find_tasks(names: str, settings: TaskSettings = TaskSettings()) -> list[Task]:
    """The tasks of a list with commas, as flags have it. Each must have its own name, for its scores' sake."""
    tasks = [find_task(name.strip(), settings) for name in names.split(",") if name.strip()]
    if not tasks:
        raise UserError("No task is named.", f"Tasks are: {', '.join(TASKS)}, or the path of a .jsonl file.", status=2)
    for task in tasks:
        if sum(other.name == task.name for other in tasks) > 1:
            raise UserError(f"Two tasks are called {task.name}.", "Name each once, or rename a file.", status=2)
    return tasks
