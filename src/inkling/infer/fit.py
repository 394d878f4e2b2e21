"""A conversation that outgrows the context: which of its oldest turns the model no longer sees.

A turn is a question with all that follows it until the next.
"""

from bisect import bisect_left
from collections.abc import Sequence

from inkling.errors import UserError
from inkling.text.conversation import prompt
from inkling.text.messages import Message, check_messages
from inkling.text.tokenizer import Tokenizer


class TooLong(UserError):
    """The last question alone does not fit the context."""


def in_turns(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """The system message, if there is one, and the turns."""
    system = [message for message in messages if message["role"] == "system"]
    turns: list[list[Message]] = []
    for message in messages[len(system) :]:
        if message["role"] == "user":
            turns.append([])
        turns[-1].append(message)
    return system, turns


def fit_prompt(
    messages: Sequence[Message], tokenizer: Tokenizer, context: int, max_new_tokens: int
) -> tuple[int, list[int]]:
    """(oldest turns to leave out, the ids that are left): whole turns only, as few as make room for an answer.

    An answer gets a quarter of the context, or `max_new_tokens` where that is less. The system text stays. Raises
    TooLong where the last turn alone does not fit, and UserError for what is no conversation that ends with a question.
    """
    check_messages(messages)
    system, turns = in_turns(messages)
    if not turns:
        raise UserError("There is no question to answer.", "Let the last message be the user's.")
    room_for_answer = min(max_new_tokens, max(1, context // 4))

    def prompt_from(first: int) -> list[int]:
        return prompt([*system, *(message for turn in turns[first:] for message in turn)], tokenizer)

    def fits(first: int) -> bool:
        return len(prompt_from(first)) + room_for_answer <= context

    first = bisect_left(range(len(turns)), True, key=fits)
    if first == len(turns):
        raise TooLong(
            f"This message is too long: {len(prompt_from(first - 1))} tokens"
            f"{' with the system text' if system else ''}. The model sees {context} tokens at once, and the "
            f"answer needs {room_for_answer} of them.",
            f"Shorten it{', or the system text' if system else ''}.",
        )
    return first, prompt_from(first)
