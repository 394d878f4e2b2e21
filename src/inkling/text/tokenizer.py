"""Text to ids and back: characters, bytes, or byte-level BPE behind one interface.

Whatever the kind, a tokenizer lives on disk as a Hugging Face `tokenizer.json`, which gives the same ids when the
`tokenizers` library opens it; tokenizer_sources.py finds and makes them. `encode` is for ordinary text: what looks like
a special token in a text that someone wrote (`<|endoftext|>`) is plain characters, never the special id.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from inkling.errors import UserError
from inkling.files import write_atomic
from inkling.text.cut import cut_safely
from inkling.text.encode_fast import FastEncoder, fast_encoder
from inkling.text.template import ChatTemplate, ends_of
from inkling.text.tokenizer_json import (
    byte_symbols,
    bytes_json,
    characters_json,
    is_sentencepiece,
    prefix_of,
    sentencepiece_bytes,
)

Separator = Literal["none", "eot_after", "bos_before"]


class Tokenizer(ABC):
    """Ids are 0 … vocab_size-1. `separator` says what stands between two documents of a data set."""

    name: str
    vocab_size: int
    special_tokens: dict[str, int]
    chat: ChatTemplate | None = None
    """how conversations are laid out, where that is not our own way"""
    beside: Mapping[str, str] = MappingProxyType({})
    """files that came with tokenizer.json and go where it goes, by name"""

    @property
    def ends(self) -> frozenset[int]:
        """Ids that end an answer, beside the special ones."""
        return ends_of(self.beside)

    @property
    def prefix(self) -> list[int]:
        """What the model was trained to see before any text: other models' beginning of sequence."""
        return []

    @property
    def eot(self) -> int | None:
        """The id that ends a text, where there is one."""
        return self.special_tokens.get("<|endoftext|>")

    @property
    def bos(self) -> int | None:
        """The id that begins a sequence, where there is one."""
        return self.special_tokens.get("<|bos|>", self.prefix[0] if self.prefix else None)

    @property
    def separator(self) -> Separator:
        if self.bos is not None:
            return "bos_before"
        return "none" if self.eot is None else "eot_after"

    def encode(self, text: str) -> list[int]:
        """Ordinary text → ids."""
        return self.encode_array(text).tolist()

    def encode_marked(self, text: str) -> list[int]:
        """Text from a chat template → ids; what looks like a special token in it is one."""
        return self.encode(text)

    @abstractmethod
    def encode_array(self, text: str) -> np.ndarray:
        """The ids of `encode` as uint32, the fast way to much text."""

    def encode_documents(self, texts: list[str]) -> list[np.ndarray]:
        """`encode_array` of each text; quicker than one by one where texts are short."""
        return [self.encode_array(text) for text in texts]

    @abstractmethod
    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of `ids`: for streaming, where a character may be spread over several tokens."""

    def decode(self, ids: Iterable[int]) -> str:
        """Ids → text. Bytes that are not valid UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    @abstractmethod
    def to_json(self) -> str:
        """The text of tokenizer.json."""

    def save(self, path: str | Path) -> None:
        """Write tokenizer.json to `path`, whole or not at all, and beside it what belongs to it."""
        for name, text in self.beside.items():
            write_atomic(Path(path).parent / name, text)
        write_atomic(Path(path), self.to_json())

    def sha256(self) -> str:
        """The SHA-256 of the file that `save` writes."""
        return hashlib.sha256(self.to_json().encode("utf-8")).hexdigest()


class CharTokenizer(Tokenizer):
    """One id for each character of a fixed, sorted alphabet."""

    name = "char"

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = "".join(sorted(set(characters)))
        if not self.characters:
            raise UserError("A character vocabulary needs at least one character.", "Give it some text.")
        _utf8(self.characters)
        self.vocab_size = len(self.characters)
        self.special_tokens = {}
        points = _code_points(self.characters)  # ascending, because the characters are
        self._unknown = np.uint32(self.vocab_size)
        # Code point → id; the entry past the last character stands for every higher code point.
        self._id_of = np.full(int(points[-1]) + 2, self._unknown, dtype=np.uint32)
        self._id_of[points] = np.arange(self.vocab_size, dtype=np.uint32)
        self._bytes_of = [character.encode("utf-8") for character in self.characters]

    def encode_array(self, text: str) -> np.ndarray:
        """See Tokenizer; a character that the vocabulary lacks is the person's to mend."""
        points = _code_points(text)
        ids = self._id_of[np.minimum(points, len(self._id_of) - 1)]
        if (ids == self._unknown).any():
            missing = "".join(sorted(set(text) - set(self.characters)))
            shown = ", ".join(f"{char!r} (U+{ord(char):04X})" for char in missing[:5])
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise UserError(
                f"Not in this vocabulary of {self.vocab_size} characters: {shown}{more}.",
                "Leave them out, or prepare a data set with --tokenizer=byte, which takes any text.",
            )
        return ids

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        return b"".join(_look_up(self._bytes_of, ids))

    def to_json(self) -> str:
        return characters_json(self.characters)


class ByteTokenizer(Tokenizer):
    """The 256 bytes of UTF-8; the id is the byte."""

    name = "byte"
    vocab_size = 256

    def __init__(self) -> None:
        self.special_tokens = {}
        self._bytes_of = [bytes([byte]) for byte in range(256)]

    def encode_array(self, text: str) -> np.ndarray:
        return np.frombuffer(_utf8(text), dtype=np.uint8).astype(np.uint32)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        return b"".join(_look_up(self._bytes_of, ids))

    def to_json(self) -> str:
        return bytes_json()


class BPETokenizer(Tokenizer):
    """BPE (GPT-2, GPT-4, Llama, Qwen, our own), run by `tokenizers`, much text by gigatoken.

    Nearly all is byte-level. Llama 2 has SentencePiece's kind, which spells a space ▁ and puts one before each text.
    """

    # Where gigatoken cannot help, long texts are encoded in pieces of about this many characters, on all cores. With
    # two cores that is three times as fast as in one go (1 MB of Shakespeare in 0.3 s against 0.9 s).
    PIECE = 20_000

    def __init__(self, json_text: str) -> None:
        from tokenizers import Tokenizer as Library

        self._json = json_text
        self._library = Library.from_str(json_text)
        self._library.encode_special_tokens = True  # "encode" as plain text, that is
        self._library.no_truncation()
        self._library.no_padding()
        self._vocabulary: dict[str, int] = self._library.get_vocab(with_added_tokens=True)
        self.vocab_size = max(self._vocabulary.values()) + 1
        added = self._library.get_added_tokens_decoder()
        self.special_tokens = {token.content: i for i, token in added.items() if token.special}
        self._added = {i: token.content for i, token in added.items()}
        self.name = "gpt2" if (self.vocab_size, self.eot) == (50257, 50256) else "bpe"

    def encode(self, text: str) -> list[int]:
        _utf8(text)
        ids: list[int] = self._library.encode(text, add_special_tokens=False).ids
        return ids

    def encode_marked(self, text: str) -> list[int]:
        ids: list[int] = self._marking.encode(text, add_special_tokens=False).ids
        return ids

    @cached_property
    def _marking(self) -> Any:
        from tokenizers import Tokenizer as Library

        return Library.from_str(self._json)

    @property
    def prefix(self) -> list[int]:
        return [self.special_tokens[name] for name in prefix_of(self._described) if name in self.special_tokens]

    def encode_array(self, text: str) -> np.ndarray:
        return self.encode_documents([text])[0]

    def encode_documents(self, texts: list[str]) -> list[np.ndarray]:
        fast = self._fast
        found = [fast.encode(text, raw) if fast else None for text, raw in ((text, _utf8(text)) for text in texts)]
        slow = self._encode_in_pieces([text for text, ids in zip(texts, found, strict=True) if ids is None])
        return [next(slow) if ids is None else ids for ids in found]

    def _encode_in_pieces(self, texts: list[str]) -> Iterator[np.ndarray]:
        """The ids of each text, all encoded together."""
        if is_sentencepiece(self._described):  # a piece in the middle would begin with a space
            pieces = [[text] for text in texts]
        else:
            pieces = [list(cut_safely([text], self.PIECE)) for text in texts]
        batch = iter(self._library.encode_batch_fast([p for some in pieces for p in some], add_special_tokens=False))
        for some in pieces:
            yield np.array([i for _ in some for i in next(batch).ids], dtype=np.uint32)

    @cached_property
    def _fast(self) -> FastEncoder | None:
        return fast_encoder(self._described)

    @cached_property
    def _described(self) -> dict[str, Any]:
        described: dict[str, Any] = json.loads(self._json)
        return described

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        return b"".join(_look_up(self._bytes_of, ids))

    @cached_property
    def _bytes_of(self) -> list[bytes]:
        byte_of = {symbol: byte for byte, symbol in enumerate(byte_symbols())}
        is_spelt = is_sentencepiece(self._described)
        table = [b""] * self.vocab_size
        for token, i in self._vocabulary.items():
            if i not in self._added:
                table[i] = sentencepiece_bytes(token) if is_spelt else bytes(byte_of[symbol] for symbol in token)
        for i, content in self._added.items():
            table[i] = content.encode("utf-8")
        return table

    def to_json(self) -> str:
        return self._json


# --- small tools -----------------------------------------------------------------------------------------


def _utf8(text: str) -> bytes:
    """The UTF-8 bytes, which a lone surrogate (half a character, from broken UTF-16) does not have."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"Character {error.start} of this text is the lone surrogate U+{ord(text[error.start]):04X}, "
            "which is no character.",
            "Remove it, or replace it with U+FFFD.",
        ) from None


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _look_up(table: list[bytes], ids: Iterable[int]) -> Iterator[bytes]:
    for i in ids:
        if not 0 <= i < len(table):
            raise UserError(
                f"There is no token {i}: this vocabulary has the ids 0 to {len(table) - 1}.",
                "Do the model and the tokenizer belong together?",
            )
        yield table[i]
