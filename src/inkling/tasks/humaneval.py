"""HumanEval: 164 functions to write, each judged by running its tests. Chen et al. 2021, "Evaluating Large Language
Models Trained on Code".

What the model writes is run (python_runner.py), so it asks for `--allow_python`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from inkling.errors import UserError
from inkling.tasks.python_runner import run_python
from inkling.tasks.rows import Published
from inkling.tasks.task import Question, choose
from inkling.text.messages import Message

_COLUMNS = dict.fromkeys(("prompt", "canonical_solution", "test", "entry_point"), str)
_PUBLISHED = Published("openai/openai_humaneval", "openai_humaneval", _COLUMNS)

_FENCED = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"^\s*(?:async\s+)?def\s+(\w+)", re.MULTILINE)


class HumanEvalTask:
    """One kind. Nothing is taught: there are only these, and they are asked."""

    name = "humaneval"

    def __init__(self, data_from: str = "", allow_python: bool = False) -> None:
        self.data_from, self.allow_python = data_from, allow_python

    def conversations(self, seed: int) -> Iterator[Sequence[Message]]:
        """Raises UserError."""
        raise UserError("humaneval has nothing to teach: all of it is asked.", "Teach with smoltalk or gsm8k, say.")

    def questions(self, seed: int, count: int) -> list[Question]:
        """The beginning of each function, in a fence. Raises UserError where running what is written is not allowed."""
        if not self.allow_python:
            raise UserError(
                "humaneval runs the programs that the model writes, and that is off.",
                "Add --allow_python. They run with limits on time, memory and files, which bound mistakes; against "
                "a program that means harm use a container.",
                status=2,
            )
        rows = list(_PUBLISHED.rows("test", self.data_from))
        return [self._question(rows[index]) for index in choose(len(rows), count, seed)]

    def grade(self, question: Question, reply: str) -> bool:
        """Whether the tests run to their end."""
        return run_python(program(question, reply)).is_ok

    def _question(self, row: dict[str, Any]) -> Question:
        beginning, name = row["prompt"], row["entry_point"]
        content = f"Write this Python function to its end:\n\n```python\n{beginning.strip()}\n```"
        check = f"{row['test']}\n\ncheck({name})\n"
        right = beginning + row["canonical_solution"]
        return Question(self.name, [{"role": "user", "content": content}], (right,), check=check)


def program(question: Question, reply: str) -> str:
    """What is run: what stands before the function, what the model wrote, and the tests.

    The reply is code, or has some in a fence. It may be the whole function, or the rest of what it was given.
    """
    beginning, name = _asked(question)
    found = _FENCED.search(reply)
    code = found[1] if found else reply
    if name in _FUNCTION.findall(code):
        before = beginning[: _start_of(beginning, name)]
        return f"{before}\n{code}\n\n{question.check}"
    return f"{beginning}\n{code}\n\n{question.check}"


def _asked(question: Question) -> tuple[str, str]:
    """The beginning that the question has in its fence, and the name of the function: the last that it defines."""
    found = _FENCED.search(question.messages[-1]["content"])
    assert found is not None
    check = re.search(r"^check\((\w+)\)$", question.check, re.MULTILINE)
    assert check is not None
    return found[1], check[1]


def _start_of(beginning: str, name: str) -> int:
    """Where the definition of the function begins."""
    found = re.search(rf"^\s*(?:async\s+)?def\s+{name}\b", beginning, re.MULTILINE)
    return found.start() if found else len(beginning)
