"""The fast way from text to ids: gigatoken, in all cases where it gives the ids that `tokenizers` gives.

It encodes 50 times as fast (benchmarks/tokenizer.md), because it splits without a regular expression engine and
remembers the ids of chunks. It knows well-known patterns only, newer letters than `tokenizers`, and would read
special tokens in a text as such; each is taken care of here. A fuzz test compares the two.
"""

import json
import sys
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from inkling.text.split import has_new_letters
from inkling.text.split_fast import pairs_of_digits
from inkling.text.tokenizer_json import pattern_of, split_stage

# gigatoken does not know nanochat's pattern. A text cut between any two pairs of digits has the same chunks by
# GPT-4's pattern, which takes three, as by nanochat's, which takes two.
_STANDS_FOR = {"nanochat": "cl100k"}


# It remembers every chunk for ever: 2.6 GB after 300 MB of random words. So after each stretch of text we look, and
# when the process has grown by this much it begins anew, which costs 0.2 s.
_STRETCH, _MEMORY = 8 << 20, 256 << 20


class FastEncoder:
    """Encodes ordinary text. `pattern` is a name in PATTERNS, `json_text` what gigatoken is to load."""

    def __init__(self, pattern: str, json_text: str) -> None:
        self._cut_digits = pattern == "nanochat"
        self._json = json_text
        self._begin()

    def _begin(self) -> None:
        from gigatoken import Tokenizer

        self._engine: Any = None  # the old one gives its memory back first
        self._engine = Tokenizer.from_json(self._json)
        self._memory = _memory()
        self._since = 0

    def encode(self, text: str, raw: bytes) -> np.ndarray | None:
        """The ids (tokens,) uint32 of `text`, whose UTF-8 is `raw`; None where they might not be right."""
        if has_new_letters(text):
            return None
        self._since += len(raw)
        if self._since > _STRETCH:
            self._since = 0
            if _memory() - self._memory > _MEMORY:
                self._begin()
        if self._cut_digits and (cuts := pairs_of_digits(text)):
            pieces = (text[start:stop] for start, stop in pairwise((0, *cuts, len(text))))
            return np.concatenate([self._engine.encode(piece) for piece in pieces])
        ids: np.ndarray = self._engine.encode(raw)
        return ids


def fast_encoder(described: dict[str, Any]) -> FastEncoder | None:
    """An encoder for a parsed tokenizer.json; None where gigatoken is missing or cannot do what the file says."""
    pattern = pattern_of(described)
    if pattern is None or not _is_plain(described):
        return None
    special = {token["content"] for token in described.get("added_tokens", [])}
    vocabulary = {token: i for token, i in described["model"]["vocab"].items() if token not in special}
    model = {"type": "BPE", "vocab": vocabulary, "merges": described["model"]["merges"]}
    stage = split_stage(_STANDS_FOR.get(pattern, pattern))
    try:
        return FastEncoder(pattern, json.dumps({"model": model, "pre_tokenizer": stage}))
    except ImportError:
        _note("encoding is 50 times as fast with gigatoken: pip install gigatoken")
    except Exception as error:  # it raises nothing narrower for a vocabulary that is not to its liking
        _note(f"encoded without gigatoken, which does not take this vocabulary: {error}")
    return None


def _memory() -> int:
    """Bytes of memory that this process uses."""
    import psutil

    used: int = psutil.Process().memory_info().rss
    return used


def _is_plain(described: dict[str, Any]) -> bool:
    """Whether all that the file asks for is merges, in the order of the ids they make, and special tokens."""
    model = described["model"]
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    made = [model["vocab"].get("".join(merge), -1) for merge in merges]
    unusual = (
        "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"
    )  # fmt: skip
    return (
        described.get("normalizer") is None
        and not any(model.get(key) for key in unusual)
        and all(earlier < later for earlier, later in pairwise(made))
        and all(token.get("special") for token in described.get("added_tokens", []))
    )


@cache
def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
