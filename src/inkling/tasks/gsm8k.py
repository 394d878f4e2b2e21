"""GSM8K: word problems of primary school, solved in steps. Cobbe et al. 2021, "Training Verifiers to Solve Math Word
Problems".

Its solutions mark each calculation, `48/2 = <<48/2=24>>24`. Taught is a call of the calculator in that place: the model
writes what is in front of the `=`, and reads what is behind it.
"""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from functools import cached_property

from inkling.errors import UserError
from inkling.tasks.rows import Published
from inkling.tasks.task import Question, choose, shuffled
from inkling.text.messages import Message, make_call

_PUBLISHED = Published("openai/gsm8k", "main", {"question": str, "answer": str})

_CALCULATION = re.compile(r"<<([^<>=]+)=([^<>]*)>>")
_NUMBER = re.compile(r"-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
_RESULT = "####"


class Gsm8kTask:
    """One kind. 7,473 problems to teach and to practise on, 1,319 to ask."""

    name = "gsm8k"
    practised = (name,)

    def __init__(self, data_from: str = "") -> None:
        self.data_from = data_from

    def conversations(self, seed: int) -> Iterator[Sequence[Message]]:
        """The training split, in its own order, with the calculator."""
        for row in _PUBLISHED.rows("train", self.data_from):
            yield [{"role": "user", "content": row["question"]}, *solution(row["answer"])]

    def questions(self, seed: int, count: int) -> list[Question]:
        """Of the test split. What is expected is the number."""
        rows = list(_PUBLISHED.rows("test", self.data_from))
        return [self._question(rows[index]) for index in choose(len(rows), count, seed)]

    def practice(self, kind: str, seed: int, index: int) -> Question:
        """Of the training split, all of it in an order of its own for each time through."""
        return self._question(self._taught[shuffled(len(self._taught), seed, index)])

    @cached_property
    def _taught(self) -> list[dict[str, str]]:
        return list(_PUBLISHED.rows("train", self.data_from))

    def grade(self, question: Question, reply: str) -> bool:
        """Whether the reply's number is the expected one: that behind the last ####, or without one its last number."""
        said = _result(reply)
        return said is not None and any(said == _value(expected) for expected in question.expected)

    def _question(self, row: dict[str, str]) -> Question:
        marked = row["answer"].rpartition(_RESULT)
        number = marked[2].strip().replace(",", "")
        if not marked[1] or _value(number) is None:
            raise UserError(
                f"A solution of GSM8K does not end with {_RESULT} and a number: {row['answer'][-60:]!r}.",
                f"Fetch {_PUBLISHED.repo} again.",
            )
        return Question(self.name, [{"role": "user", "content": row["question"]}], (number,))


def solution(answer: str) -> list[Message]:
    """A published solution as messages: what the assistant says, and its calls of the calculator in between."""
    messages: list[Message] = []
    at = 0
    for number, found in enumerate(_CALCULATION.finditer(answer), 1):
        call = make_call("calculator", found[1], f"call_{number}")
        messages.append({"role": "assistant", "content": answer[at : found.start()], "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": found[2]})
        at = found.end()
    return [*messages, {"role": "assistant", "content": answer[at:]}]


def _result(reply: str) -> Decimal | None:
    _, mark, behind = reply.replace("−", "-").rpartition(_RESULT)
    numbers = _NUMBER.findall(behind)
    if mark:
        return _value(numbers[0]) if numbers else None
    return _value(numbers[-1]) if numbers else None


def _value(number: str) -> Decimal | None:
    try:
        return Decimal(number.replace(",", ""))
    except InvalidOperation:
        return None
