"""A dialogue: a question in, the words of the answer out, and a history that fits the context."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from inkling.errors import UserError
from inkling.infer.answer import CALCULATOR, Answer, Cut, Event, Forgotten, ask
from inkling.infer.engine import Engine
from inkling.infer.fit import fit_prompt, in_turns
from inkling.infer.sampling import SamplingSettings
from inkling.infer.tools import Tool
from inkling.keyed import seed_for
from inkling.model.gpt import GPT
from inkling.text.conversation import append_conversation, read_conversations, require_chat
from inkling.text.messages import TOOL_ARGUMENTS, Message, check_messages
from inkling.text.tokenizer import Tokenizer

DEFAULT_SAMPLING = SamplingSettings()


class Dialogue:
    """Turns of a person and a model. `system` and `sampling` may be changed between questions.

    `events` and `say` answer while they are iterated over. An answer that is abandoned (the iterator is closed, or
    Ctrl-C) stays in the history as far as it was shown; if nothing was, the question goes as well.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        system: str = "",
        sampling: SamplingSettings = DEFAULT_SAMPLING,
        max_new_tokens: int = 512,
        stop: Sequence[str] = (),
        tools: Mapping[str, Tool] = CALCULATOR,
        seed: int = 1337,
    ) -> None:
        """`stop` ends an answer before any of these texts. Raises UserError for a tokenizer without marks."""
        require_chat(tokenizer)
        unknown = ", ".join(tools.keys() - TOOL_ARGUMENTS.keys())
        if unknown:
            raise UserError(f"There is no tool {unknown}.", f"Tools are: {', '.join(TOOL_ARGUMENTS)}.")
        if max_new_tokens < 1:
            raise UserError(f"max_new_tokens={max_new_tokens} must be at least 1.", status=2)
        self.model, self.tokenizer, self.system = model, tokenizer, system
        self.sampling, self.max_new_tokens, self.stop, self.tools = sampling, max_new_tokens, stop, tools
        self.seed = seed
        self.forgotten = 0
        """how many of the oldest turns did not fit when the model was asked last"""
        self._asked = 0
        self._turns: list[list[Message]] = []

    # --- asking ------------------------------------------------------------------------------------------

    def say(self, question: str) -> Iterator[str]:
        """The words of the answer, as they come."""
        return _words(self.events(question))

    def events(self, question: str) -> Generator[Event, None, None]:
        """The answer as it comes: words, and what happens between them.

        Raises UserError at once where the question alone does not fit the context.
        """
        if not question:
            raise UserError("The question is empty.", "Write something.")
        turn: list[Message] = [{"role": "user", "content": question}]
        context = self.model.config.block_size
        forgotten, ids = fit_prompt([*self.messages, *turn], self.tokenizer, context, self.max_new_tokens)
        self._asked += 1
        calls_before = sum(message["role"] == "tool" for message in self.messages)
        answer = Answer(self.tokenizer, self.stop, self.tools, first_call=calls_before)
        seed = seed_for("answer", self.seed, self._asked)  # the same question asked again gets another answer
        request = ask(answer, ids, min(self.max_new_tokens, context - len(ids)), self.sampling, seed)
        tokens = Engine(self.model).stream([request])
        return self._answer(turn, forgotten, answer, tokens)

    def _answer(
        self, turn: list[Message], forgotten: int, answer: Answer, tokens: Iterator[tuple[int, int]]
    ) -> Generator[Event, None, None]:
        is_whole = False
        try:
            if forgotten != self.forgotten:
                self.forgotten = forgotten
                if forgotten:
                    yield Forgotten(forgotten)
            for _, token in tokens:
                yield from answer.take(token)
            yield from answer.finish()
            is_whole = True
            if answer.then != "stop":
                yield Cut()
        finally:
            if is_whole or answer.has_spoken:
                self._turns.append([*turn, *answer.messages])

    # --- history -----------------------------------------------------------------------------------------

    @property
    def messages(self) -> list[Message]:
        """The whole history in the OpenAI shape, forgotten turns included."""
        return self._with_system(self._turns)

    def clear(self) -> None:
        """Forget all turns; the system text stays."""
        self._turns, self.forgotten = [], 0

    def undo(self) -> str | None:
        """Take the last question and its answer back; returns the question, or None if there is none."""
        return self._turns.pop()[0]["content"] if self._turns else None

    def restore(self, messages: Sequence[Message]) -> None:
        """Go on from this history, system text included, in place of the present one."""
        check_messages(messages)
        if messages[-1]["role"] != "assistant":
            raise UserError("The conversation ends without an answer.", "Its last message must be the assistant's.")
        self.clear()
        system, self._turns = in_turns(messages)
        self.system = system[0]["content"] if system else ""

    def save(self, path: str | Path) -> None:
        """Append the history to a JSONL file, as one line."""
        if not self._turns:
            raise UserError("There is nothing to save yet.", "Say something first.")
        append_conversation(path, self.messages)

    def load(self, path: str | Path) -> None:
        """Go on from the last conversation in a JSONL file."""
        conversations = list(read_conversations(path))
        if not conversations:
            raise UserError(f"There is no conversation in {path}.", "Save one there first.")
        self.restore(conversations[-1])

    def _with_system(self, turns: Sequence[Sequence[Message]]) -> list[Message]:
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *(message for turn in turns for message in turn)]


def _words(events: Generator[Event, None, None]) -> Iterator[str]:
    with closing(events):
        for event in events:
            if isinstance(event, str):
                yield event
