"""The almanac as a task: its conversations teach, its exam asks what they keep out.

Spelling and the counting of letters are two of its kinds, on words that training never spells; spelling.py asks the
same of larger models.
"""

from collections.abc import Iterator, Sequence
from itertools import count as numbers

from inkling.data.almanac import (
    PRACTICE_KINDS,
    bundled_world,
    conversation,
    exam_items,
    grade,
    load_world,
    practice,
)
from inkling.tasks.task import Question
from inkling.text.messages import Message


class AlmanacTask:
    """Ten kinds of questions; see data/almanac/exams.py."""

    name = "almanac"
    practised = PRACTICE_KINDS

    def __init__(self, tables: str = "") -> None:
        """`tables` is a folder of the person's own tables, which join the bundled ones."""
        self.world = load_world(tables) if tables else bundled_world()

    def conversations(self, seed: int) -> Iterator[Sequence[Message]]:
        """Made on the spot, without end."""
        return (conversation(seed, index, world=self.world)["messages"] for index in numbers())

    def questions(self, seed: int, count: int) -> list[Question]:
        """`count` of each kind."""
        return [Question(item.kind, item.messages, item.expected) for item in exam_items(seed, count, self.world)]

    def practice(self, kind: str, seed: int, index: int) -> Question:
        """With the words, numbers and phrasings that training knows."""
        item = practice(kind, seed, index, self.world)
        return Question(item.kind, item.messages, item.expected)

    def grade(self, question: Question, reply: str) -> bool:
        """As the kind wants it: a name as whole words, a sum's last number, letters one by one."""
        return grade(question.kind, reply, question.expected)
