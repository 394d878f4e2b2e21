"""MMLU: what is asked in exams of 57 subjects, four answers each. Hendrycks et al. 2021, "Measuring Massive Multitask
Language Understanding".
"""

from collections.abc import Iterator, Sequence
from typing import Any

from inkling.tasks.letters import is_right, lettered, taught
from inkling.tasks.rows import Published
from inkling.tasks.task import Question, choose
from inkling.text.messages import Message

_PUBLISHED = Published("cais/mmlu", "all", {"question": str, "subject": str, "choices": [str], "answer": int})


class MmluTask:
    """A kind for each subject. Asked are 14,042 questions; taught 99,842 from other exams, of no subject."""

    name = "mmlu"

    def __init__(self, data_from: str = "") -> None:
        self.data_from = data_from

    def conversations(self, seed: int) -> Iterator[Sequence[Message]]:
        """What the authors set apart for training, in its own order."""
        rows = _PUBLISHED.rows("auxiliary_train", self.data_from)
        return (taught(_question(row)) for row in rows)

    def questions(self, seed: int, count: int) -> list[Question]:
        """At most `count` of each subject of the test split."""
        subjects: dict[str, list[dict[str, Any]]] = {}
        for row in _PUBLISHED.rows("test", self.data_from):
            subjects.setdefault(row["subject"], []).append(row)
        return [
            _question(rows[index]) for _, rows in sorted(subjects.items()) for index in choose(len(rows), count, seed)
        ]

    def grade(self, question: Question, reply: str) -> bool:
        """By its letter."""
        return is_right(question, reply)


def _question(row: dict[str, Any]) -> Question:
    return lettered(row["subject"] or "mmlu", row["question"], row["choices"], row["answer"])
