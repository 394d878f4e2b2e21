"""From token ids, as they come, to text that can be shown at once.

Two things must wait: the first bytes of a character whose last bytes are in the next token, and text that
may be the beginning of a stop text.
"""

import codecs
from collections.abc import Sequence
from typing import Literal

from inkling.text.tokenizer import Tokenizer


class TextStream:
    """`push` each token and show what it returns; at the end, show what `finish` returns.

    Ends at the first of `stops`, which is not shown itself; `stopped` then says so.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = ()) -> None:
        self.tokenizer = tokenizer
        self.stops = [stop for stop in stops if stop]
        self.stopped = False
        self.decoded = 0  # characters so far, held back ones included
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""  # decoded, but perhaps the beginning of a stop text

    def push(self, token: int) -> str:
        """The text that `token` completes, often "" and sometimes more than the token's own."""
        return self._show(self._decoder.decode(self.tokenizer.decode_bytes([token])), is_last=False)

    def finish(self) -> str:
        """What was still held back; half a character becomes U+FFFD."""
        return self._show(self._decoder.decode(b"", final=True), is_last=True)

    def hook(self, new: Sequence[int]) -> Literal["continue", "stop"]:
        """For a `Request` whose tokens are pushed here: ends it once the stop text has come."""
        return "stop" if self.stopped else "continue"

    def _show(self, text: str, is_last: bool) -> str:
        if self.stopped:
            return ""
        self.decoded += len(text)
        text = self._held + text
        found = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        keep = 0 if is_last else max((_overlap(text, stop) for stop in self.stops), default=0)
        shown = len(text) - keep
        self._held = text[shown:]
        return text[:shown]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` are a beginning of `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
