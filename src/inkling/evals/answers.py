"""Many dialogues answered at once: the engine decodes them in one batch, and each gets what it would get alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from inkling.infer.answer import CALCULATOR, Answer, Event, ToolCall, ToolResult, ask
from inkling.infer.engine import Engine, Request
from inkling.infer.fit import TooLong, fit_prompt
from inkling.infer.sampling import SamplingSettings
from inkling.infer.tools import Tool
from inkling.model.config import GPTConfig
from inkling.model.cost import kv_cache_bytes
from inkling.model.gpt import GPT
from inkling.text.messages import Message
from inkling.text.tokenizer import Tokenizer

GREEDY = SamplingSettings(temperature=0)

# Many rows, because a step costs little more for them: 256 decode 1.26 times as fast as 64 (4 layers, 256 wide, one CPU
# core). Fewer where their keys and values would take more memory than this.
MAX_ROWS, MAX_CACHE_BYTES = 256, 2**30


@dataclass(frozen=True)
class Reply:
    """What the model said to one dialogue."""

    text: str
    """the words, without what was asked of tools: what is graded"""
    shown: str
    """the words and, in brackets, what was asked of tools and what they said: what people want to see"""
    tokens: int
    """how many were said, marks and results of tools included"""
    end: Literal["said", "cut", "too long"]
    """cut: at `max_new_tokens`, or the end of the context; too long: the question did not fit, so nothing was said"""


def answer_all(
    model: GPT,
    tokenizer: Tokenizer,
    dialogues: Sequence[Sequence[Message]],
    max_new_tokens: int = 256,
    tools: Mapping[str, Tool] = CALCULATOR,
    progress: Callable[[int], None] = lambda done: None,
    sampling: SamplingSettings = GREEDY,
    seeds: Sequence[int] | None = None,
) -> list[Reply]:
    """The reply to each dialogue, in their order: the likeliest, unless `sampling` says otherwise, which then draws by
    each dialogue's own of `seeds`. Each ends with a question, or the result of a tool.

    The oldest turns of a dialogue that does not fit the context are left out, as in a chat. `progress` is told how
    many replies have come since last time. Raises UserError for a tokenizer without marks, and for messages that are
    no conversation.
    """
    speakers = [
        _Speaker(model, tokenizer, messages, max_new_tokens, tools, sampling, seed)
        for messages, seed in zip(dialogues, [0] * len(dialogues) if seeds is None else seeds, strict=True)
    ]
    able = [speaker for speaker in speakers if speaker.request is not None]
    progress(len(speakers) - len(able))
    requests = [speaker.request for speaker in able if speaker.request is not None]
    for index, token in Engine(model, rows_for(model.config, requests)).stream(requests):
        able[index].take(token)
        if able[index].is_done:
            progress(1)
    return [speaker.reply() for speaker in speakers]


def rows_for(config: GPTConfig, requests: Sequence[Request]) -> int:
    """How many requests decode at once."""
    longest = max((len(request.ids) + request.max_new_tokens for request in requests), default=1)
    in_a_row = kv_cache_bytes(config, rows=1, tokens=longest, bytes_per_number=4)
    return max(1, min(MAX_ROWS, MAX_CACHE_BYTES // in_a_row))


class _Speaker:
    """One reply while it comes."""

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        messages: Sequence[Message],
        max_new_tokens: int,
        tools: Mapping[str, Tool],
        sampling: SamplingSettings,
        seed: int,
    ) -> None:
        self.answer = Answer(tokenizer, tools=tools)
        self.events: list[Event] = []
        self.tokens = 0
        self.request: Request | None = None
        context = model.config.block_size
        try:
            _, ids = fit_prompt(messages, tokenizer, context, max_new_tokens)
        except TooLong:  # a question among thousands: it counts as not answered, and the others are asked
            return
        budget = min(max_new_tokens, context - len(ids))
        self.request = ask(self.answer, ids, budget, sampling, seed)

    def take(self, token: int) -> None:
        self.tokens += 1
        self.events += self.answer.take(token)

    @property
    def is_done(self) -> bool:
        return self.answer.then == "stop" or (self.request is None or self.tokens == self.request.max_new_tokens)

    def reply(self) -> Reply:
        """What was answered, once no token follows."""
        if self.request is None:
            return Reply("", "", 0, "too long")
        events = [*self.events, *self.answer.finish()]
        text = "".join(event for event in events if isinstance(event, str))
        shown = "".join(_shown(event) for event in events)
        return Reply(text, shown, self.tokens, "said" if self.answer.then == "stop" else "cut")


def _shown(event: Event) -> str:
    if isinstance(event, ToolCall):
        return f"[{event.text} "
    if isinstance(event, ToolResult):
        return f"→ {event.text}]"
    return event if isinstance(event, str) else ""
