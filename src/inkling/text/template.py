"""Chat templates of other models: the Jinja text that lays a conversation out for them.

A template comes with the weights, from strangers, so it runs in Jinja's sandbox, which lets it change nothing and
reach nothing. It makes one text, marks and words together. Where a person has written a mark, that text is broken
there, so that no question can pretend to be an answer.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from inkling.errors import UserError
from inkling.text.messages import Message

# What lies beside a tokenizer.json and belongs to it.
BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "generation_config.json")


@dataclass(frozen=True)
class ChatTemplate:
    """A template, and the names it may use: `bos_token` and the like."""

    source: str
    tokens: Mapping[str, str]

    def text(self, messages: Sequence[Message], answer_next: bool = False) -> str:
        """The conversation as one text, with the beginning of an answer if one is to follow."""
        names = {"messages": [dict(message) for message in messages], "add_generation_prompt": answer_next}
        try:
            return str(_compiled(self.source).render(**self.tokens, **names))
        except Exception as error:  # whatever can go wrong in a program of strangers
            raise UserError(
                f"The model's chat template does not take this conversation: {error}.",
                "Some templates want no system message, or question and answer in turn.",
            ) from None


def read_beside(folder: Path) -> dict[str, str]:
    """The texts of the files that lie beside the tokenizer.json in `folder`, by name."""
    try:
        return {name: (folder / name).read_text(encoding="utf-8") for name in BESIDE if (folder / name).is_file()}
    except UnicodeDecodeError as error:
        raise UserError(
            f"A file beside {folder / 'tokenizer.json'} is not UTF-8: {error}.", "Fetch it again."
        ) from None


def template_of(beside: Mapping[str, str]) -> ChatTemplate | None:
    """The chat template among such files, in any of the places where it can stand."""
    config = _read_json(beside, "tokenizer_config.json")
    found = beside.get("chat_template.jinja") or config.get("chat_template")
    if isinstance(found, list):  # several by name
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    if not isinstance(found, str) or not found:
        return None
    tokens = {}
    for key, value in (_read_json(beside, "special_tokens_map.json") | config).items():
        text = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(text, str):
            tokens[key] = text
    return ChatTemplate(found, tokens)


def ends_of(beside: Mapping[str, str]) -> frozenset[int]:
    """The ids that end an answer, as the model's generation settings say."""
    ids = _read_json(beside, "generation_config.json").get("eos_token_id")
    return frozenset(i for i in (ids if isinstance(ids, list) else [ids]) if isinstance(i, int))


def _read_json(beside: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        found = json.loads(beside.get(name, "{}"))
    except ValueError as error:
        raise UserError(f"{name} is not valid JSON: {error}.", "Fetch it again.") from None
    return found if isinstance(found, dict) else {}


# --- a conversation in pieces ------------------------------------------------------------------------------


def prompt_pieces(messages: Sequence[Message], template: ChatTemplate, marks: Sequence[str]) -> list[str]:
    """The text after which the assistant speaks, broken where somebody wrote one of `marks`."""
    gap = _unused(messages, 1)[0]
    return template.text(_shielded(messages, marks, gap), answer_next=True).split(gap)


def learned_pieces(
    messages: Sequence[Message], template: ChatTemplate, marks: Sequence[str]
) -> Iterator[tuple[str, bool]]:
    """The whole conversation in pieces, with whether the assistant must learn to say each.

    That is from where an answer begins (behind what `answer_next` adds) to the mark that ends it. The places are found
    by rendering once more with a sign at both ends of each answer, and it is checked that this changed nothing else.
    """
    gap, begin, end = _unused(messages, 3)
    messages = _shielded(messages, marks, gap)
    text = _with_signs(messages, template, begin, end)
    opening = _opening(messages, template)
    closing = re.compile(r"\s*(?:" + "|".join(map(re.escape, marks)) + ")") if marks else re.compile("")
    place = 0
    while (start := text.find(begin, place)) >= 0:
        stop = text.index(end, start)
        header = text.rfind(opening, place, start) if opening else -1
        first = header + len(opening) if header >= 0 else start
        behind = closing.match(text, stop + 1)
        last = behind.end() if behind else stop + 1
        yield from _broken(text[place:first], gap, False)
        yield from _broken(text[first:start] + text[start + 1 : stop] + text[stop + 1 : last], gap, True)
        place = last
    yield from _broken(text[place:], gap, False)


def _with_signs(messages: Sequence[Message], template: ChatTemplate, begin: str, end: str) -> str:
    """The rendered text with a sign before and after what each answer says."""
    plain = template.text(messages)
    for tidy in (str, str.strip):  # many templates strip what is said
        signed = [
            {**message, "content": begin + tidy(message["content"]) + end}
            if message["role"] == "assistant" and message.get("content")
            else message
            for message in messages
        ]
        text = template.text(signed)
        if text.replace(begin, "").replace(end, "") == plain:
            return text
    raise UserError(
        "The model's chat template changes what the assistant says, so it cannot be told what is to be learned.",
        "Teach a model whose template does not.",
    )


def _opening(messages: Sequence[Message], template: ChatTemplate) -> str:
    """What the template puts before an answer that is still to be given."""
    first_question = next(i for i, message in enumerate(messages) if message["role"] == "user")
    question = messages[: first_question + 1]
    return template.text(question, answer_next=True).removeprefix(template.text(question))


def _broken(text: str, gap: str, is_learned: bool) -> Iterator[tuple[str, bool]]:
    for piece in text.split(gap):
        if piece:
            yield piece, is_learned


def _shielded(messages: Sequence[Message], marks: Sequence[str], gap: str) -> list[Message]:
    """The messages with `gap` inside every mark that somebody wrote."""
    long = sorted((mark for mark in marks if len(mark) > 1), key=len, reverse=True)
    if not long:
        return list(messages)
    pattern = re.compile("|".join(map(re.escape, long)))

    def shield(text: str) -> str:
        while pattern.search(text):  # breaking one mark may leave another behind it
            text = pattern.sub(lambda found: found[0][0] + gap + found[0][1:], text)
        return text

    return [
        {**message, "content": shield(message["content"])} if isinstance(message.get("content"), str) else message
        for message in messages
    ]


def _unused(messages: Sequence[Message], count: int) -> list[str]:
    """Characters that occur nowhere in the messages, from a range that means nothing in Unicode."""
    used = set(json.dumps(list(messages), ensure_ascii=False, default=str))
    return [char for point in range(0xF0000, 0xF0000 + len(used) + count) if (char := chr(point)) not in used][:count]


# --- Jinja -------------------------------------------------------------------------------------------------


@cache
def _compiled(source: str) -> Any:
    """The template in a sandbox with what Hugging Face offers to templates."""
    from jinja2 import nodes
    from jinja2.exceptions import TemplateError
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` … `{% endgeneration %}` marks answers for other trainers; here it only contains them."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    def refuse(message: str) -> NoReturn:
        raise TemplateError(message)

    def tojson(value: Any, **options: Any) -> str:
        return json.dumps(value, **({"ensure_ascii": False} | options))

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {
        "raise_exception": refuse,
        "strftime_now": lambda form: datetime.now().strftime(form),
    }
    return environment.from_string(source)
