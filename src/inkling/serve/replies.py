"""Answers in OpenAI's JSON. `inkling` in a choice holds what OpenAI has no place for: tools that the server used."""

from collections.abc import Sequence
from typing import Any

from inkling.infer.answer import Answer, ToolCall, ToolResult
from inkling.serve.choice import Choice, Noted, Piece
from inkling.text.tokenizer import Tokenizer

NEVER = -9999.0
"""in place of minus infinity, for which JSON has no word"""


class Replies:
    """Builds the JSON of one response. `is_chat` says which of the two shapes."""

    def __init__(self, is_chat: bool, tokenizer: Tokenizer, head: dict[str, Any], forgotten: int = 0) -> None:
        """`head` has id, created and model; `forgotten` turns of the conversation did not fit."""
        self.is_chat, self.tokenizer, self.head, self.forgotten = is_chat, tokenizer, head, forgotten
        self._names = {special: name for name, special in tokenizer.special_tokens.items()}

    def whole(self, choices: Sequence[tuple[Choice, list[Piece]]], usage: dict[str, Any]) -> dict[str, Any]:
        """The response that is not streamed."""
        kind = "chat.completion" if self.is_chat else "text_completion"
        return self.head | {
            "object": kind,
            "choices": [self._choice(choice, pieces) for choice, pieces in choices],
            "usage": usage,
        }

    def opening(self, choice: Choice) -> dict[str, Any]:
        """The first chunk of a streamed chat answer."""
        return self._chunk(choice, {"delta": {"role": "assistant", "content": ""}, "finish_reason": None})

    def piece(self, choice: Choice, piece: Piece) -> dict[str, Any]:
        """A chunk of a streamed answer."""
        body: dict[str, Any] = {"finish_reason": piece.finish or None, "logprobs": self._logprobs(choice, piece.noted)}
        if self.is_chat:
            body["delta"] = {"content": piece.text} if piece.text else {}
            extra = {"tools": [_tool(event) for event in piece.tools]} if piece.tools else {}
            if piece.finish:
                extra |= self._story(choice)
            body |= {"inkling": extra} if extra else {}
        else:
            body["text"] = piece.text
        return self._chunk(choice, body)

    def usage(self, usage: dict[str, Any]) -> dict[str, Any]:
        """The last chunk, where it is wanted."""
        return self.head | {"object": self._chunk_kind, "choices": [], "usage": usage}

    @property
    def _chunk_kind(self) -> str:
        return "chat.completion.chunk" if self.is_chat else "text_completion"

    def _chunk(self, choice: Choice, body: dict[str, Any]) -> dict[str, Any]:
        return self.head | {"object": self._chunk_kind, "choices": [{"index": choice.index} | body]}

    def _choice(self, choice: Choice, pieces: list[Piece]) -> dict[str, Any]:
        text = "".join(piece.text for piece in pieces)
        noted = [note for piece in pieces for note in piece.noted]
        body: dict[str, Any] = {
            "index": choice.index,
            "finish_reason": pieces[-1].finish,
            "logprobs": self._logprobs(choice, noted),
        }
        if not self.is_chat:
            return body | {"text": text}
        return body | {
            "message": {"role": "assistant", "content": text, "refusal": None},
            "inkling": self._story(choice),
        }

    def _story(self, choice: Choice) -> dict[str, Any]:
        """All messages of the answer, calls of tools and their results among them, to go on from; and how many of the
        oldest turns the model did not see."""
        assert isinstance(choice.voice, Answer)
        return {"messages": choice.voice.messages, "forgotten": self.forgotten}

    # --- how likely --------------------------------------------------------------------------------------

    def _logprobs(self, choice: Choice, noted: Sequence[Noted]) -> dict[str, Any] | None:
        if choice.request.alternatives is None:
            return None
        if self.is_chat:
            return {"content": [self._chat_token(note) for note in noted], "refusal": None}
        return {
            "tokens": [self._text(note.likelihood.token) for note in noted],
            "token_logprobs": [max(note.likelihood.logprob, NEVER) for note in noted],
            "top_logprobs": [{self._text(i): max(value, NEVER) for i, value in note.likelihood.top} for note in noted],
            "text_offset": [note.offset for note in noted],
        }

    def _chat_token(self, note: Noted) -> dict[str, Any]:
        likelihood = note.likelihood
        top = [self._likely(token, logprob) for token, logprob in likelihood.top]
        return self._likely(likelihood.token, likelihood.logprob) | {"top_logprobs": top}

    def _likely(self, token: int, logprob: float) -> dict[str, Any]:
        return {"token": self._text(token), "logprob": max(logprob, NEVER), "bytes": list(self._bytes(token))}

    def _text(self, token: int) -> str:
        """The token's name. Parts of characters are written as bytes, or all of them would have the same."""
        try:
            return self._names.get(token) or self._bytes(token).decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in self._bytes(token))

    def _bytes(self, token: int) -> bytes:
        return self.tokenizer.decode_bytes([token])


def _tool(event: ToolCall | ToolResult) -> dict[str, Any]:
    if isinstance(event, ToolCall):
        return {"called": event.name, "text": event.text}
    return {"result": event.text, "problem": event.problem}
