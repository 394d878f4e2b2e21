"""SmolTalk: conversations about anything, made by larger models for small ones. Allal et al. 2025, "SmolLM2: When Smol
Goes Big". This is the selection for models below a billion parameters.
"""

import sys
from collections.abc import Iterator, Sequence

from inkling.errors import UserError
from inkling.tasks.rows import Published
from inkling.tasks.task import Question
from inkling.text.messages import Message, check_messages

_MESSAGES = {"messages": [{"role": str, "content": str}]}
_PUBLISHED = Published("HuggingFaceTB/smol-smoltalk", "data", _MESSAGES)


class SmolTalkTask:
    """460,000 conversations to teach. They have no right answers, so nothing is asked."""

    name = "smoltalk"

    def __init__(self, data_from: str = "") -> None:
        self.data_from = data_from

    def conversations(self, seed: int) -> Iterator[Sequence[Message]]:
        """The training split, in its own order. What is no conversation is left out, and counted on stderr."""
        left_out = found = 0
        for row in _PUBLISHED.rows("train", self.data_from):
            messages = [{"role": message["role"], "content": message["content"]} for message in row["messages"]]
            try:
                check_messages(messages)
                if messages[-1]["role"] != "assistant":
                    raise UserError("It ends without an answer.")
            except UserError:
                left_out += 1
                continue
            found += 1
            yield messages
        if left_out:
            print(f"note: {left_out:,} of {left_out + found:,} rows are no conversations, left out", file=sys.stderr)

    def questions(self, seed: int, count: int) -> list[Question]:
        """Raises UserError."""
        raise UserError(
            "smoltalk has nothing to ask: talk has no right answer.", "Ask almanac or gsm8k, say.", status=2
        )

    def grade(self, question: Question, reply: str) -> bool:
        """Of no question."""
        return False
