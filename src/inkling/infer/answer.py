"""What a model says, while it says it: tokens in, what the person sees out, and tools used in between.

`Answer` is the assistant's in a dialogue, `Continuation` that of any text. They decode nothing themselves. Whoever does
gives them each token, and does after it what `then` says: a hook of the engine, which `ask` sets.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inkling.infer.request import Request, Then
from inkling.infer.sampling import SamplingSettings
from inkling.infer.textstream import TextStream
from inkling.infer.tools import Tool, ToolError, calculate
from inkling.text.conversation import chat_marks, foreign_template
from inkling.text.messages import Message, make_call
from inkling.text.tokenizer import Tokenizer

CALCULATOR: Mapping[str, Tool] = {"calculator": calculate}

# A model that calls a tool again and again gets no further by calling it once more.
MAX_TOOL_CALLS = 8


@dataclass(frozen=True)
class ToolCall:
    """The model asked the tool `name`."""

    name: str
    text: str


@dataclass(frozen=True)
class ToolResult:
    """What the model reads as the tool's answer: `error` where there is none, whose reason is then in `problem`."""

    text: str
    problem: str = ""


@dataclass(frozen=True)
class Forgotten:
    """The dialogue outgrew the context: the model no longer sees the oldest `turns`."""

    turns: int


@dataclass(frozen=True)
class Cut:
    """The answer was not finished: it reached the most tokens it may have, or the end of the context."""


Event = str | ToolCall | ToolResult | Forgotten | Cut


class Continuation:
    """A text while it goes on, until a stop text or the mark that ends a document."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self.then: Then = "continue"
        self.is_calling = False
        """whether what comes now is said to a tool and not shown"""
        self._special = set(tokenizer.special_tokens.values())
        self._text = TextStream(tokenizer, stop)

    def take(self, token: int) -> Iterator[Event]:
        """What `token` adds to what the person sees."""
        if token in self._special:
            self.then = "stop"
        else:
            yield from _if_any(self._text.push(token))
            if self._text.stopped:
                self.then = "stop"

    def finish(self) -> Iterator[Event]:
        """What was still held back, once the tokens have ended."""
        yield from _if_any(self._text.finish())

    @property
    def decoded(self) -> int:
        """Characters so far, those included that may be the beginning of a stop text."""
        return self._text.decoded


class Answer:
    """One answer while it is being said: tokens in, events out; `then` is the hook's answer after each token."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        stop: Sequence[str] = (),
        tools: Mapping[str, Tool] = CALCULATOR,
        first_call: int = 0,
    ) -> None:
        """`first_call` numbers the calls, whose ids are unique in a conversation."""
        self.tokenizer, self.stop, self.tools, self.first_call = tokenizer, stop, tools, first_call
        self.then: Then = "continue"
        # Another model's template has its own way with tools, which is not spoken here: it only talks.
        self._marks = chat_marks(tokenizer) if foreign_template(tokenizer) is None else {}
        self._special = {*tokenizer.special_tokens.values(), *tokenizer.ends}
        self._text = TextStream(tokenizer, stop)
        self._shown = ""  # since the last result
        self._called: list[int] | None = None  # what the model asks a tool, while it does
        self._forced = 0  # ids that we made the model say, and that are still to come by here
        self._before: list[dict[str, Any]] = []  # messages that are complete
        self._decoded_before = 0  # characters of them

    def take(self, token: int) -> Iterator[Event]:
        """What `token` adds to what the person sees. A mark that does not belong here ends the answer."""
        if self._forced:
            self._forced -= 1
            return
        self.then = "continue"
        if self._called is None and token == self._marks.get("<|python_start|>"):
            yield from self._show(self._text.finish())
            self._called = []
        elif self._called is not None and token == self._marks.get("<|python_end|>"):
            yield from self._use_tool(self.tokenizer.decode(self._called))
        elif token in self._special:
            self.then = "stop"
        elif self._called is not None:
            self._called.append(token)
        else:
            yield from self._show(self._text.push(token))
            if self._text.stopped:
                self.then = "stop"

    def finish(self) -> Iterator[Event]:
        """What was still held back, once the tokens have ended."""
        if self._called is None:
            yield from self._show(self._text.finish())

    @property
    def is_calling(self) -> bool:
        """Whether what comes now is said to a tool and not shown."""
        return self._called is not None

    @property
    def decoded(self) -> int:
        """Characters so far, those included that may be the beginning of a stop text."""
        return self._decoded_before + self._text.decoded

    @property
    def has_spoken(self) -> bool:
        """Whether there is anything to remember."""
        return bool(self._shown or self._before)

    @property
    def messages(self) -> list[Message]:
        """All that was said, in the OpenAI shape: calls, results, and what the assistant said last."""
        return [*self._before, {"role": "assistant", "content": self._shown}]

    def _show(self, text: str) -> Iterator[Event]:
        self._shown += text
        yield from _if_any(text)

    def _use_tool(self, text: str) -> Iterator[Event]:
        count = sum(message["role"] == "tool" for message in self._before)
        if count == MAX_TOOL_CALLS:
            self.then = "stop"
            return
        name, result = self._ask_tools(text)
        call_id = f"call_{self.first_call + count + 1}"
        self._before += [
            {"role": "assistant", "content": self._shown, "tool_calls": [make_call(name, text, call_id)]},
            {"role": "tool", "tool_call_id": call_id, "content": result.text},
        ]
        self._decoded_before += self._text.decoded
        self._text, self._shown, self._called = TextStream(self.tokenizer, self.stop), "", None
        forced = self.tokenizer.encode(result.text)
        self.then = [self._marks["<|output_start|>"], *forced, self._marks["<|output_end|>"]]
        self._forced = len(self.then)
        yield ToolCall(name, text)
        yield result

    def _ask_tools(self, text: str) -> tuple[str, ToolResult]:
        """The marks name no tool, so they are asked in order, and the first that can answer does."""
        problem = "there is no tool"
        for name, tool in self.tools.items():
            try:
                return name, ToolResult(tool(text))
            except ToolError as error:
                problem = str(error)
        return next(iter(self.tools), "calculator"), ToolResult("error", problem)


def _if_any(text: str) -> Iterator[Event]:
    if text:
        yield text


def ask(
    voice: Answer | Continuation,
    ids: Sequence[int],
    budget: int,
    sampling: SamplingSettings,
    seed: int,
    alternatives: int | None = None,
) -> Request:
    """What to ask the engine for at most `budget` tokens, each of which `voice` takes as it comes."""
    return Request(ids, budget, sampling, seed, lambda new: voice.then, alternatives)
