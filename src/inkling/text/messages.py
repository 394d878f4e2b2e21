"""What a conversation is: messages in the OpenAI shape, in an order that makes sense.

A message is `{"role": "user", "content": "…"}`; the roles are system, user, assistant and tool. An assistant that uses
a tool says so in `tool_calls`, a `tool` message has the result, and the assistant goes on.
"""

import json
from collections.abc import Mapping
from typing import Any

from inkling.errors import UserError

Message = Mapping[str, Any]

# The tools there are, and the argument of each that holds its text.
TOOL_ARGUMENTS = {"calculator": "expression", "python": "code"}

CONVERSATION = (
    'A conversation is {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}.'
)
_TOOL_USE = (
    'A tool is used by three messages: {"role": "assistant", "content": "…", "tool_calls": [{"function": {"name": '
    '"calculator", "arguments": "{\\"expression\\": \\"12*3\\"}"}}]}, {"role": "tool", "content": "36"}, and the '
    "assistant's next."
)

# What may come next, by what came before. "call" is an assistant's message, or a result, after which a result is due.
_NEXT = {
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user",),
    "call": ("tool",),
    "tool": ("assistant",),
}


def check_messages(messages: Any) -> None:
    """Raise UserError, naming the message, for what is not a conversation."""
    if not isinstance(messages, list | tuple):
        raise UserError("The messages are not a list.", CONVERSATION)
    if not messages:
        raise UserError("The conversation is empty.", CONVERSATION)
    before, due = "", 0  # `due` results of tools are still to come
    for number, message in enumerate(messages, 1):
        role = _checked_role(message, number, before)
        calls = _checked_calls(message, number) if role == "assistant" else 0
        _check_content(message, number, may_lack=calls > 0)
        due = due - 1 if role == "tool" else calls
        before = "call" if due else role
    if before == "call":
        raise UserError(
            f"After message {len(messages)} the conversation ends without the result of a tool call.", _TOOL_USE
        )


def _checked_role(message: Any, number: int, before: str) -> str:
    role = message.get("role") if isinstance(message, dict | Mapping) else None
    if role not in ("system", "user", "assistant", "tool"):
        what = f"has the role {role!r}" if isinstance(role, str) else "has no role"
        raise UserError(f"Message {number} {what}.", "A role is system, user, assistant or tool.")
    if role in _NEXT[before]:
        return role
    wanted = " or ".join(_NEXT[before])
    if role == "tool":
        raise UserError(f"Message {number} is the result of a tool, and none was called.", _TOOL_USE)
    if before == "call":
        raise UserError(f"Message {number} ({role}) stands where the result of a tool call is due.", _TOOL_USE)
    if role == "system":
        raise UserError(f"Message {number} is a system message.", "There may be one, and it comes first.")
    place = f"comes after a message of the {before}" if before else "is the first"
    raise UserError(f"Message {number} ({role}) {place}.", f"There the role must be {wanted}.")


def _check_content(message: Message, number: int, may_lack: bool) -> None:
    role, content = message["role"], message.get("content")
    if content is None and may_lack:
        return
    if not isinstance(content, str):
        what = "no content" if content is None else "content that is not text"
        raise UserError(f"Message {number} ({role}) has {what}.", 'Write "content": "…".')
    if not content and role in ("system", "user"):  # a model may fall silent; a question without words is a mistake
        raise UserError(f"Message {number} ({role}) is empty.", "Fill it, or leave it out.")
    try:
        content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"Message {number} ({role}) has half a character (a lone surrogate) at place {error.start}.",
            "Remove it, or replace it with U+FFFD.",
        ) from None


def _checked_calls(message: Message, number: int) -> int:
    """How many tools the message calls."""
    calls = message.get("tool_calls") or []
    try:
        for call in calls:
            call_text(call).encode("utf-8")
    except (LookupError, TypeError, ValueError, RecursionError):
        known = ", ".join(f"{name} with {argument}" for name, argument in TOOL_ARGUMENTS.items())
        raise UserError(
            f"Message {number} (assistant) has a tool call that cannot be read.", f"Tools are: {known}. {_TOOL_USE}"
        ) from None
    return len(calls)


# --- calls of tools --------------------------------------------------------------------------------------


def make_call(name: str, text: str, call_id: str) -> dict[str, Any]:
    """An entry of `tool_calls`, as OpenAI writes it: the arguments are JSON within JSON."""
    arguments = json.dumps({TOOL_ARGUMENTS[name]: text}, ensure_ascii=False)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def call_text(call: Message) -> str:
    """What an entry of `tool_calls` asks its tool; the arguments may be JSON or an object, as Hugging Face has them."""
    function = call["function"]
    arguments = function["arguments"]
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    text = arguments[TOOL_ARGUMENTS[function["name"]]]
    if not isinstance(text, str):
        raise TypeError
    return text
