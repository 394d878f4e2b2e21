"""Questions with a choice of answers, each behind a letter: how they are asked, taught and graded.

The letter stands after its answer, as a word of its own, because the model has to say just that token: what it copies
is what it has read.
"""

from collections.abc import Sequence

from inkling.errors import UserError
from inkling.tasks.task import Question
from inkling.text.messages import Message

LETTERS = "ABCDEFGHIJ"


def lettered(kind: str, question: str, options: Sequence[str], right: int) -> Question:
    """The question with its options as a list; the right one is number `right`, from 0.

    Raises UserError for what is no choice.
    """
    if not 2 <= len(options) <= len(LETTERS) or not 0 <= right < len(options):
        raise UserError(
            f"The question {question[:60]!r} has {len(options)} answers, and number {right} is said to be right.",
            f"It needs 2 to {len(LETTERS)}, counted from 0.",
        )
    letters = tuple(LETTERS[: len(options)])
    lines = [f"- {' '.join(option.split())} = {letter}" for option, letter in zip(options, letters, strict=True)]
    content = "\n".join(
        [question.strip(), "", *lines, "", f"Say only the letter of the right answer: {_list(letters)}."]
    )
    return Question(kind, [{"role": "user", "content": content}], (letters[right],), letters)


def taught(question: Question) -> list[Message]:
    """The question with its answer."""
    return [*question.messages, {"role": "assistant", "content": question.expected[0]}]


def is_right(question: Question, reply: str) -> bool:
    """Whether the reply is the letter, and nothing but that."""
    return reply.strip() in question.expected


def _list(letters: Sequence[str]) -> str:
    return f"{', '.join(letters[:-1])} or {letters[-1]}"
