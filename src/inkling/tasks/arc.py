"""ARC: science questions from school exams, with a choice of answers. Clark et al. 2018, "Think you have Solved
Question Answering? Try ARC, the AI2 Reasoning Challenge".

`arc_challenge` has those that neither retrieval nor co-occurrence of words answered; `arc_easy` the others.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from inkling.errors import UserError
from inkling.tasks.letters import is_right, lettered, taught
from inkling.tasks.rows import Published, Shape
from inkling.tasks.task import Question, choose
from inkling.text.messages import Message

_COLUMNS: dict[str, Shape] = {"question": str, "choices": {"text": [str], "label": [str]}, "answerKey": str}


class ArcTask:
    """One of the two halves: 2,251 and 1,119 questions to teach, 2,376 and 1,172 to ask."""

    def __init__(self, level: Literal["easy", "challenge"], data_from: str = "") -> None:
        self.name = f"arc_{level}"
        self.published = Published("allenai/ai2_arc", f"ARC-{level.capitalize()}", _COLUMNS)
        self.data_from = data_from

    def conversations(self, seed: int) -> Iterator[Sequence[Message]]:
        """The training split, in its own order."""
        return (taught(self._question(row)) for row in self.published.rows("train", self.data_from))

    def questions(self, seed: int, count: int) -> list[Question]:
        """Of the test split."""
        rows = list(self.published.rows("test", self.data_from))
        return [self._question(rows[index]) for index in choose(len(rows), count, seed)]

    def grade(self, question: Question, reply: str) -> bool:
        """By its letter."""
        return is_right(question, reply)

    def _question(self, row: dict[str, Any]) -> Question:
        labels = row["choices"]["label"]  # A to E, or 1 to 4 in some exams: asked with letters all alike
        if row["answerKey"] not in labels:
            raise UserError(
                f"An ARC question has the answer {row['answerKey']!r}, and the choices {', '.join(labels)}.",
                f"Fetch {self.published.repo} again.",
            )
        return lettered(self.name, row["question"], row["choices"]["text"], labels.index(row["answerKey"]))
