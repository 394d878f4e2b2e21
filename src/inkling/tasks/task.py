"""What a task is: conversations to learn from, questions to be asked, and a judgement of each answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from inkling.keyed import words
from inkling.text.messages import Message


@dataclass(frozen=True)
class Question:
    """A conversation up to where the model must answer."""

    kind: str
    """what the question is about; scores are by kind"""
    messages: Sequence[Message]
    """the last is the user's"""
    expected: tuple[str, ...]
    """the right answers, any of which will do; `Task.grade` knows how they are looked for"""
    letters: tuple[str, ...] = ()
    """where the answer is one of these, each a single token: the likeliest is taken, and nothing is generated"""
    check: str = ""
    """Python that tests the answer, where a task runs it"""


class Task(Protocol):
    """Something that a chat model is taught and asked."""

    @property
    def name(self) -> str:
        """What its scores are filed under: letters that any file system takes."""
        ...

    def conversations(self, seed: int) -> Iterator[Sequence[Message]]:
        """What is learned. Without end where conversations are made on the spot, else once through what there is."""
        ...

    def questions(self, seed: int, count: int) -> list[Question]:
        """At most `count` of each kind, the same for the same seed. Raises UserError where there is none."""
        ...

    def grade(self, question: Question, reply: str) -> bool:
        """Whether `reply` is right."""
        ...


@runtime_checkable
class Practice(Task, Protocol):
    """A task that also asks in training, for `inkling rl`: questions other than those of `questions`."""

    @property
    def practised(self) -> tuple[str, ...]:
        """The kinds of question that there are to practise on; each is a kind of `questions` as well."""
        ...

    def practice(self, kind: str, seed: int, index: int) -> Question:
        """The question at `index`, of which there is no end; `grade` judges the replies."""
        ...


def choose(total: int, count: int, seed: int) -> list[int]:
    """At most `count` different numbers below `total`, in rising order: which of too many questions are asked."""
    if count >= total:
        return list(range(total))
    order = words(total, "questions", seed).argsort(kind="stable")
    return sorted(order[:count].tolist())


def shuffled(total: int, seed: int, index: int) -> int:
    """The number below `total` at `index` of a walk without end, which goes through all in another order each time."""
    time, place = divmod(index, total)
    return int(words(total, "practice", seed, time).argsort(kind="stable")[place])
