"""Units shared out among processes, each a Python of its own that speaks JSON lines over its pipes.

Plain pipes rather than `multiprocessing`: no pickle, no need for `if __name__ == "__main__"` in a program that calls
`prepare`, and a helper whose parent was killed reads the end of its input and ends as well.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inkling.data.encode import Job, Part, UnitEncoder, part_from
from inkling.data.journal import Keep
from inkling.data.reading import Rule, Seen, alphabet, hashes
from inkling.data.units import Stretch, Unit
from inkling.errors import UserError
from inkling.text.tokenizer import Tokenizer

# Below this many bytes of input helpers would take longer to start than they save.
WORTH_HELPERS = 16 << 20


@dataclass(frozen=True)
class Task:
    """Something to do with a unit: encode it, or read it for its `alphabet` or for the `hashes` of its files."""

    do: str
    number: int
    unit: Unit
    done: int = 0
    """parts of it that are written already"""
    skip: int = 0
    """pieces of text in those"""


Result = tuple[int, Any]
"""The task's number, and: a Part, the Seen of a finished unit, or what else was asked for."""


@dataclass(frozen=True)
class Failure:
    """Why a task, by its number, could not be done."""

    number: int
    error: BaseException


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def perform(task: Task, job: Job, tokenizer: Tokenizer | None) -> Iterator[Any]:
    """Do a task in this process. The last result says that it is finished."""
    if task.do == "alphabet":
        yield alphabet(task.unit, job.column)
    elif task.do == "hashes":
        yield hashes(task.unit)
    else:
        assert tokenizer is not None
        encoder = UnitEncoder(task.number, task.unit, job, tokenizer)
        yield from encoder.parts(task.done, task.skip)
        yield encoder.seen


def perform_all(tasks: Sequence[Task], job: Job, workers: int, tokenizer: Tokenizer | None = None) -> Iterator[Result]:
    """The results of all tasks: of one task in order, of several as they come. Encoding takes the job's tokenizer."""
    helpers = min(workers, len(tasks)) - 1
    if not sys.executable or sum(task.unit.size for task in tasks) < WORTH_HELPERS:
        helpers = 0
    team = _Team(tasks, job, helpers, tokenizer)
    try:
        yield from team.results()
    finally:
        team.end()


class _Team:
    """This process and its helpers. For each helper a thread hands it tasks and listens to it."""

    def __init__(self, tasks: Sequence[Task], job: Job, helpers: int, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer
        self._todo = deque(tasks)
        self._job = job
        self._results: queue.SimpleQueue[Result | Failure | None] = queue.SimpleQueue()
        self._failed = threading.Event()
        # There is a process for each core, so each encodes on one.
        environment = os.environ | {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        package = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        words = [sys.executable, "-m", "inkling.data.worker"]
        pipe = subprocess.PIPE
        self._helpers = [
            subprocess.Popen(words, stdin=pipe, stdout=pipe, env=environment, encoding="utf-8", bufsize=1)
            for _ in range(helpers)
        ]
        for helper in self._helpers:
            threading.Thread(target=self._lead, args=(helper,), daemon=True).start()

    def results(self) -> Iterator[Result]:
        """Until all are in. Of several mistakes in the input the first one by its place is raised."""
        failures: list[Failure] = []
        leading = len(self._helpers)
        mine: Iterator[Result | Failure] | None = self._own_work()
        while leading or mine:
            # This process works as well; it looks up from its own work for what the helpers have done meanwhile.
            try:
                waiting = [next(mine) if mine else self._results.get()]
            except StopIteration:
                mine = None
                continue
            while not self._results.empty():
                waiting.append(self._results.get())
            for each in waiting:
                if each is None:
                    leading -= 1
                elif isinstance(each, Failure):
                    failures.append(each)
                else:
                    yield each
        if failures:
            raise min(failures, key=lambda failure: failure.number).error

    def _own_work(self) -> Iterator[Result | Failure]:
        while task := self._next():
            try:
                for result in perform(task, self._job, self._tokenizer):
                    yield task.number, result
            except UserError as error:
                self._failed.set()
                yield Failure(task.number, error)

    def _next(self) -> Task | None:
        try:
            return None if self._failed.is_set() else self._todo.popleft()
        except IndexError:
            return None

    def end(self) -> None:
        """Stop what still runs."""
        self._failed.set()
        for helper in self._helpers:
            helper.kill()
            helper.wait()

    def _lead(self, helper: "subprocess.Popen[str]") -> None:
        """Give a helper one task after the other. None tells that there are no more."""
        task = None
        try:
            assert helper.stdin and helper.stdout
            print(json.dumps(asdict(self._job)), file=helper.stdin, flush=True)
            while task := self._next():
                print(json.dumps(asdict(task)), file=helper.stdin, flush=True)
                while line := helper.stdout.readline():
                    what, value = json.loads(line)
                    if what == "error":
                        raise UserError(*value)
                    self._results.put((task.number, _result(what, value)))
                    if what != "part":
                        break
                else:
                    raise _ended(helper.wait())
        except BaseException as error:
            self._failed.set()
            if isinstance(error, OSError):  # the helper has closed its pipe
                error = _ended(helper.wait())
            self._results.put(Failure(task.number if task else -1, error))
        finally:
            self._results.put(None)


def _ended(status: int) -> Keep:
    how = f"by signal {-status}" if status < 0 else f"with status {status}"
    return Keep(
        f"A helper process was ended {how}; memory may have run out.",
        "Run the same command again: it goes on from here. --workers=1 takes the least memory.",
    )


# --- JSON ----------------------------------------------------------------------------------------------------


def _result(what: str, value: Any) -> Any:
    if what == "part":
        return part_from(value)
    return Seen(**value) if what == "seen" else value


def line_of(result: Any) -> str:
    """A result as a helper writes it: [kind, value]."""
    if isinstance(result, Part):
        return json.dumps(["part", asdict(result)])
    return json.dumps(["seen", asdict(result)] if isinstance(result, Seen) else ["found", result])


def job_from(values: dict[str, Any]) -> Job:
    """The job that `asdict` made these values of."""
    return Job(**values | {"rule": Rule(**values["rule"])})


def task_from(values: dict[str, Any]) -> Task:
    """The task that `asdict` made these values of."""
    unit = values["unit"]
    stretches = tuple(Stretch(**stretch) for stretch in unit["stretches"])
    return Task(**values | {"unit": Unit(stretches, unit["size"])})
