"""Where a tokenizer comes from: a tokenizer.json, GPT-2's own files, merges just learned, or what a person named."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from inkling.errors import UserError
from inkling.text.bpe import BytePairEncoding, Pair
from inkling.text.gpt2 import vocabulary_files
from inkling.text.template import read_beside, template_of
from inkling.text.tokenizer import BPETokenizer, ByteTokenizer, CharTokenizer, Tokenizer
from inkling.text.tokenizer_json import (
    BYTE_LEVEL,
    CHAT_TOKENS,
    bpe_json,
    bpe_model,
    byte_symbols,
    is_byte_level,
    is_sentencepiece,
    tokenizer_json,
)

_CHOICES = (
    "--tokenizer takes char, byte, gpt2, or the path of a tokenizer.json or of a folder that has one, "
    "or of a folder with vocab.bpe and encoder.json."
)


def char_tokenizer(characters: Iterable[str]) -> Tokenizer:
    """A tokenizer of these characters, sorted by code point."""
    return CharTokenizer(characters)


def byte_tokenizer() -> Tokenizer:
    return ByteTokenizer()


def gpt2_tokenizer(folder: str | Path | None = None) -> Tokenizer:
    """OpenAI's GPT-2 tokenizer, from the vocab.bpe and encoder.json in `folder` or fetched by tiktoken."""
    merges, encoder = vocabulary_files(None if folder is None else Path(folder))
    vocabulary = json.loads(encoder)
    lines = merges.decode("utf-8").splitlines()[1:]  # the first line is the version
    model = bpe_model(vocabulary, [line.split(" ") for line in lines if line])
    end_of_text = vocabulary["<|endoftext|>"]
    return BPETokenizer(tokenizer_json(model, BYTE_LEVEL, BYTE_LEVEL, {"<|endoftext|>": end_of_text}))


def trained_tokenizer(merges: list[Pair], pattern: str) -> BPETokenizer:
    """The tokenizer of learned merges (`bpe.learn_merges`), with the chat tokens at the end of the vocabulary."""
    tokens = BytePairEncoding(pattern, merges).tokens
    special = {content: len(tokens) + i for i, content in enumerate(CHAT_TOKENS)}
    return BPETokenizer(bpe_json(tokens, merges, pattern, special))


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a tokenizer.json, or the one in a folder, and make the kind of tokenizer that it describes."""
    path = Path(path)
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        text = file.read_bytes().decode("utf-8")
        described: dict[str, Any] = json.loads(text)
        model, vocabulary = described["model"], described["model"]["vocab"]
        kind = model["type"]
    except OSError as error:
        raise UserError(f"Cannot read the tokenizer {file}: {error.strerror}.", _CHOICES) from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} is not a Hugging Face tokenizer.json.", _CHOICES) from None
    if kind == "WordLevel" and all(len(word) == 1 for word in vocabulary):
        return CharTokenizer(vocabulary)
    is_bytes = kind == "BPE" and vocabulary == {symbol: byte for byte, symbol in enumerate(byte_symbols())}
    if is_bytes and not described.get("added_tokens"):
        return ByteTokenizer()
    if kind != "BPE" or not (is_byte_level(described) or is_sentencepiece(described)):
        raise UserError(
            f"{file} is neither a character, a byte nor a byte-level BPE tokenizer.",
            "inkling reads the kind that GPT-2, GPT-4, Llama, Qwen and nanochat use, and its own.",
        )
    try:
        tokenizer = BPETokenizer(text)
    except Exception as error:  # the library raises nothing narrower
        raise UserError(f"{file} does not load: {error}.", _CHOICES) from None
    tokenizer.beside = read_beside(file.parent)
    tokenizer.chat = template_of(tokenizer.beside)
    return tokenizer


def tokenizer_from_name(name: str, characters: Iterable[str] = "") -> Tokenizer:
    """What `--tokenizer` says: char (of `characters`), byte, gpt2, or the path of a file or folder."""
    if name == "char":
        return char_tokenizer(characters)
    if name == "byte":
        return byte_tokenizer()
    if name == "gpt2":
        return gpt2_tokenizer()
    path = Path(name)
    if not path.exists():
        raise UserError(f"There is no tokenizer {name}.", _CHOICES)
    if path.is_dir() and not (path / "tokenizer.json").exists():
        return gpt2_tokenizer(path)
    return load_tokenizer(path)
