"""A person's own conversations as a task: a JSONL file, one conversation a line.

The question is each conversation's last one, with all that stands before it; the right answer is the assistant's last
message. It is right to say it, whatever is said around it.
"""

import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from inkling.errors import UserError
from inkling.tasks.task import Question, choose, shuffled
from inkling.text.conversation import read_conversations
from inkling.text.messages import Message

# A number is one word, with its sign and decimals: 3 is not in 3.14 or -3, and 3-5 is a 3 and a 5.
_WORD = re.compile(r"(?<!\w)-?\d+(?:\.\d+)*|\w+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


class JsonlTask:
    """One kind of question, named after the file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.stem

    def conversations(self, seed: int) -> Iterator[Sequence[Message]]:
        """The whole file in its own order, whatever the seed: who trains on it mixes it."""
        return read_conversations(self.path)

    def questions(self, seed: int, count: int) -> list[Question]:
        """The last question of `count` conversations, or of all that there are.

        Raises UserError for an empty file, and for a conversation whose last question has no answer to compare with.
        """
        conversations = list(read_conversations(self.path))
        if not conversations:
            raise UserError(
                f"There is no conversation in {self.path}.",
                'Write one a line: {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", …}]}.',
            )
        return [self._question(conversations[index], index) for index in choose(len(conversations), count, seed)]

    @property
    def practised(self) -> tuple[str, ...]:
        """The file is its one kind."""
        return (self.name,)

    def practice(self, kind: str, seed: int, index: int) -> Question:
        """The whole file in an order of its own for each time through: a file keeps no question out."""
        return self._all[shuffled(len(self._all), seed, index)]

    @cached_property
    def _all(self) -> list[Question]:
        return self.questions(0, sys.maxsize)

    def grade(self, question: Question, reply: str) -> bool:
        """Whether the expected words stand in the reply, one after the other."""
        return any(_contains(_words(reply), _words(answer)) for answer in question.expected)

    def _question(self, messages: Sequence[Message], index: int) -> Question:
        last_asked = max(place for place, message in enumerate(messages) if message["role"] == "user")
        answer = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
        if not _words(answer):
            raise UserError(
                f"Conversation {index + 1} of {self.path} has no answer to compare with.",
                "Its last message must be the assistant's, with at least one word or number.",
            )
        return Question(self.name, messages[: last_asked + 1], (answer,))


def _words(text: str) -> list[str]:
    """Words and numbers in small letters, without punctuation: "It is 1,000!" → ["it", "is", "1000"]."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("−", "-")
    return _WORD.findall(_THOUSANDS.sub("", text))


def _contains(words: list[str], answer: list[str]) -> bool:
    """Whether `answer` stands in `words`, in one piece."""
    starts = range(len(words) - len(answer) + 1)
    return any(words[start : start + len(answer)] == answer for start in starts)
