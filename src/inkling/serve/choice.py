"""One answer on its way to a client: tokens in, from the engine's thread; pieces of text with all that belongs to them
out, to the web's."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from inkling.infer.answer import Answer, Continuation, Event, ToolCall, ToolResult
from inkling.infer.request import Request
from inkling.infer.sampling import Likelihood
from inkling.serve.scheduler import Ended, Job


@dataclass(frozen=True)
class Noted:
    """A token of the text, how likely it was, and at which character of the text it begins."""

    likelihood: Likelihood
    offset: int


@dataclass(frozen=True)
class Piece:
    """What one token, or the end, added."""

    text: str = ""
    noted: tuple[Noted, ...] = ()
    tools: tuple[ToolCall | ToolResult, ...] = ()
    finish: Literal["", "stop", "length"] = ""
    problem: str = ""
    """why the server could not go on"""


@dataclass
class Choice:
    """`index` of the answers to one request. `send` is called in the engine's thread."""

    index: int
    voice: Answer | Continuation
    request: Request
    special: Collection[int]
    """ids that are marks and no text"""
    send: Callable[["Choice", Piece], None]
    tokens: int = 0
    """new ones so far, those of tools included"""
    _shown: int = 0
    _held: list[Noted] = field(default_factory=list)  # their text is still held back

    def job(self, seconds: float) -> Job:
        """What the scheduler takes."""
        return Job(self.request, self.take, self.end, seconds)

    def take(self, token: int, likelihood: Likelihood | None) -> None:
        """The next token has come."""
        self.tokens += 1
        is_text = not self.voice.is_calling and token not in self.special
        if likelihood is not None and is_text:
            self._held.append(Noted(likelihood, self.voice.decoded))
        piece = self._piece(self.voice.take(token))
        if piece != Piece():
            self.send(self, piece)

    def end(self, reason: Ended, problem: str) -> None:
        """No token comes any more."""
        finish: Literal["stop", "length"] = "stop" if self.voice.then == "stop" else "length"
        piece = self._piece(self.voice.finish())
        self.send(self, replace(piece, finish=finish, problem=problem if reason == "failed" else ""))

    def _piece(self, events: Iterator[Event]) -> Piece:
        text, tools = "", []
        for event in events:
            if isinstance(event, str):
                text += event
            elif isinstance(event, ToolCall | ToolResult):
                tools.append(event)
        self._shown += len(text)
        noted = tuple(note for note in self._held if note.offset < self._shown)
        self._held = self._held[len(noted) :]
        return Piece(text, noted, tuple(tools))
