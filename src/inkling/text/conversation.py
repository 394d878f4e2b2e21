"""Conversations ↔ tokens: how messages are laid out, and which tokens the assistant must learn to say.

Everything from a question to the next is one turn of the assistant, its use of tools included. «…» is learned:

    <|bos|><|user_start|>system text, blank line, question<|user_end|><|assistant_start|>«Let me see. <|python_start|>
    12*3<|python_end|>»<|output_start|>36<|output_end|>«It is 36.<|assistant_end|>»

Marks are written by id, and text is encoded as text: whatever a person writes, it can never produce a mark.
"""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from inkling.errors import UserError
from inkling.files import write_atomic
from inkling.text.messages import CONVERSATION, Message, call_text, check_messages
from inkling.text.template import ChatTemplate, learned_pieces, prompt_pieces
from inkling.text.tokenizer import Tokenizer
from inkling.text.tokenizer_json import CHAT_TOKENS


@dataclass(frozen=True)
class Rendered:
    """`mask[i]` says whether the assistant must learn to say `ids[i]`; `truncated` tokens did not fit."""

    ids: list[int]
    mask: list[bool]
    truncated: int


def render(messages: Sequence[Message], tokenizer: Tokenizer, max_tokens: int | None = None) -> Rendered:
    """A whole conversation, for training. What lies beyond `max_tokens` is cut off, and counted.

    Where the cut falls into an assistant's turn, what stands before it is still learned: it is the right beginning.
    The end of the turn is cut off with the rest, so that nobody learns to stop there.
    """
    check_messages(messages)
    template = foreign_template(tokenizer)
    ids, mask = (
        _encode(_parts(messages), tokenizer) if template is None else _encode_by_template(messages, tokenizer, template)
    )
    truncated = 0 if max_tokens is None else max(0, len(ids) - max_tokens)
    return Rendered(ids[:max_tokens], mask[:max_tokens], truncated)


def prompt(messages: Sequence[Message], tokenizer: Tokenizer) -> list[int]:
    """The ids after which the assistant speaks: the last message is a question, or the result of a tool."""
    check_messages(messages)
    if messages[-1]["role"] == "assistant":
        raise UserError("The last message is the assistant's: there is nothing to answer.", "Let it be the user's.")
    template = foreign_template(tokenizer)
    if template is not None:
        pieces = prompt_pieces(messages, template, list(tokenizer.special_tokens))
        return [i for piece in pieces for i in tokenizer.encode_marked(piece)]
    ids, _ = _encode(_parts(messages), tokenizer)
    if messages[-1]["role"] == "user":  # after a tool's result the turn is open already
        ids.append(chat_marks(tokenizer)["<|assistant_start|>"])
    return ids


def require_chat(tokenizer: Tokenizer) -> None:
    """Raise UserError for a tokenizer that can lay out no conversation: with neither our marks nor a template."""
    if foreign_template(tokenizer) is None:
        chat_marks(tokenizer)


def can_chat(tokenizer: Tokenizer) -> bool:
    """Whether `require_chat` has nothing to say."""
    return foreign_template(tokenizer) is not None or set(CHAT_TOKENS) <= tokenizer.special_tokens.keys()


def foreign_template(tokenizer: Tokenizer) -> ChatTemplate | None:
    """The chat template that came with an imported model; None where conversations are laid out in our own way."""
    return None if tokenizer.chat is None or tokenizer.chat.source == CHAT_TEMPLATE else tokenizer.chat


def chat_marks(tokenizer: Tokenizer) -> dict[str, int]:
    """The id of each mark. Raises UserError for a tokenizer without them."""
    missing = [mark for mark in CHAT_TOKENS if mark not in tokenizer.special_tokens]
    if missing:
        raise UserError(
            f"This tokenizer has no marks for conversations: {missing[0]} is missing.",
            "Train one that has them, with `inkling tokenizer train`, and a model with that tokenizer.",
        )
    return {mark: tokenizer.special_tokens[mark] for mark in CHAT_TOKENS}


# --- messages → parts → ids ------------------------------------------------------------------------------


class _Part(NamedTuple):
    """A mark or a text, and whether the assistant must learn to say it."""

    text: str
    is_mark: bool
    is_learned: bool


def _mark(name: str, learned: bool = False) -> _Part:
    return _Part(f"<|{name}|>", True, learned)


def _text(text: str, learned: bool = False) -> _Part:
    return _Part(text, False, learned)


def _parts(messages: Sequence[Message]) -> Iterator[_Part]:
    """The template. `messages` have been checked."""
    yield _mark("bos")
    system, before = "", ""
    calls: deque[str] = deque()  # asked for, and not answered yet
    for message in messages:
        role, content = message["role"], message.get("content") or ""
        if role == "system":
            system = f"{content}\n\n"
        elif role == "user":
            yield from (_mark("user_start"), _text(system + content), _mark("user_end"))
            system = ""
        elif role == "assistant":
            if before == "user":
                yield _mark("assistant_start")
            yield _text(content, learned=True)
            calls.extend(call_text(call) for call in message.get("tool_calls") or [])
            if not calls:
                yield _mark("assistant_end", learned=True)
        else:
            yield from (_mark("python_start", True), _text(calls.popleft(), True), _mark("python_end", True))
            yield from (_mark("output_start"), _text(content), _mark("output_end"))
        before = role


def _encode(parts: Iterator[_Part], tokenizer: Tokenizer) -> tuple[list[int], list[bool]]:
    marks = chat_marks(tokenizer)
    ids: list[int] = []
    mask: list[bool] = []
    for part in parts:
        new = [marks[part.text]] if part.is_mark else tokenizer.encode(part.text)
        ids += new
        mask += [part.is_learned] * len(new)
    return ids, mask


def _encode_by_template(
    messages: Sequence[Message], tokenizer: Tokenizer, template: ChatTemplate
) -> tuple[list[int], list[bool]]:
    """The same in the words of an imported model's own template."""
    ids: list[int] = []
    mask: list[bool] = []
    for text, is_learned in learned_pieces(messages, template, list(tokenizer.special_tokens)):
        new = tokenizer.encode_marked(text)
        ids += new
        mask += [is_learned] * len(new)
    return ids, mask


# --- files of conversations ------------------------------------------------------------------------------


def read_conversations(path: str | Path) -> Iterator[list[Message]]:
    """The messages of each line of a JSONL file: `{"messages": [...]}`, or the bare list. Empty lines are skipped.

    Raises UserError with file and line for the first that is not a conversation.
    """
    try:
        with Path(path).open(encoding="utf-8-sig") as file:  # Windows puts a mark at the beginning
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield read_line(line)
                    except UserError as error:
                        raise UserError(f"{path}:{number}: {error.problem}", error.remedy) from None
    except OSError as error:
        raise UserError(f"Cannot read the conversations in {path}: {error.strerror}.", "Check the path.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from None


def read_line(line: str) -> list[Message]:
    """The messages of one line of such a file. Raises UserError where it is no conversation."""
    try:
        read = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"Not valid JSON ({error}).", f"Each line is one conversation. {CONVERSATION}") from None
    messages: Any = read.get("messages") if isinstance(read, dict) else read
    check_messages(messages)
    return messages


def append_conversation(path: str | Path, messages: Sequence[Message]) -> None:
    """Add a conversation to a JSONL file, which is made if need be. A file of anything else is left alone."""
    file, before = Path(path), ""
    try:
        if file.exists():
            for _ in read_conversations(file):
                pass
            before = file.read_text(encoding="utf-8-sig").strip("\n") + "\n"
        line = json.dumps({"messages": list(messages)}, ensure_ascii=False)
        write_atomic(file, before.lstrip("\n") + line + "\n")
    except OSError as error:
        raise UserError(f"Cannot write {file}: {error.strerror}.", "Check the path.") from None


# --- the same for others ---------------------------------------------------------------------------------

# The layout above as a Jinja chat template, for tokenizer_config.json. It makes text, whose marks the tokenizer then
# finds; so a mark that somebody wrote gets a space after its "<" here. The arguments of a call are an object,
# as Hugging Face has them (servers turn OpenAI's JSON into one); `raise_exception` is theirs too.
CHAT_TEMPLATE = """
{%- macro plain(text) -%}
  {%- set safe = namespace(text=text or '') -%}
  {%- for mark in MARKS -%}
    {%- set safe.text = safe.text | replace(mark, '< ' ~ mark[1:]) -%}
  {%- endfor -%}
  {{- safe.text -}}
{%- endmacro -%}
{%- macro asked(function) -%}
  {%- if function.arguments is string -%}
    {{- raise_exception('The arguments of a tool call must be an object, not JSON.') -}}
  {%- endif -%}
  {{- '<|python_start|>' -}}
  {{- plain(function.arguments.expression if function.name == 'calculator' else function.arguments.code) -}}
  {{- '<|python_end|>' -}}
{%- endmacro -%}
{{- '<|bos|>' -}}
{%- set state = namespace(system='', before='', calls=[], answered=0) -%}
{%- for message in messages -%}
  {%- if message.role == 'system' -%}
    {%- set state.system = message.content ~ '\\n\\n' -%}
  {%- elif message.role == 'user' -%}
    {{- '<|user_start|>' -}}{{- plain(state.system ~ message.content) -}}{{- '<|user_end|>' -}}
    {%- set state.system = '' -%}
  {%- elif message.role == 'assistant' -%}
    {%- if state.before == 'user' -%}{{- '<|assistant_start|>' -}}{%- endif -%}
    {{- plain(message.content) -}}
    {%- set state.calls = message.tool_calls or [] -%}
    {%- set state.answered = 0 -%}
    {%- if not state.calls -%}{{- '<|assistant_end|>' -}}{%- endif -%}
  {%- elif message.role == 'tool' -%}
    {{- asked(state.calls[state.answered].function) -}}
    {{- '<|output_start|>' -}}{{- plain(message.content) -}}{{- '<|output_end|>' -}}
    {%- set state.answered = state.answered + 1 -%}
  {%- endif -%}
  {%- set state.before = message.role -%}
{%- endfor -%}
{%- if add_generation_prompt and state.before == 'user' -%}{{- '<|assistant_start|>' -}}{%- endif -%}
""".strip().replace("MARKS", repr(list(CHAT_TOKENS)))
