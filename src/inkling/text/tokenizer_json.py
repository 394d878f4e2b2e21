"""The file on disk: a Hugging Face `tokenizer.json`, written by us and not by a library.

So its bytes, and with them its hash, do not change with the library's version.
"""

import json
from functools import cache
from typing import Any

from inkling.text.split import PATTERNS

# Every tokenizer that is trained here ends with these. Text can never produce one: only what renders
# conversations writes them, by id.
CHAT_TOKENS = (
    "<|bos|>",
    "<|user_start|>",
    "<|user_end|>",
    "<|assistant_start|>",
    "<|assistant_end|>",
    "<|python_start|>",
    "<|python_end|>",
    "<|output_start|>",
    "<|output_end|>",
)

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_NO_SPLIT = BYTE_LEVEL | {"use_regex": False}


@cache
def byte_symbols() -> tuple[str, ...]:
    """The visible character that byte-level BPE writes for each byte, as GPT-2 chose them.

    A byte that is printable in Latin-1 stands for itself; the others take U+0100 and up, in order. So a
    vocabulary of arbitrary bytes can be stored in JSON.
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return tuple(chr(byte) if byte in visible else chr(0x100 + hidden.index(byte)) for byte in range(256))


def bpe_json(tokens: list[bytes], merges: list[tuple[int, int]], pattern: str, special: dict[str, int]) -> str:
    """The file of a byte-level BPE: the bytes of each id that is not special, pairs of ids, a name in PATTERNS."""
    symbols = byte_symbols()
    names = ["".join(symbols[byte] for byte in token) for token in tokens]
    vocabulary = {name: i for i, name in enumerate(names)}
    model = bpe_model(vocabulary, [[names[left], names[right]] for left, right in merges])
    return tokenizer_json(model, split_stage(pattern), BYTE_LEVEL, special)


def bytes_json() -> str:
    """The file of the tokenizer whose ids are the bytes."""
    vocabulary = {symbol: byte for byte, symbol in enumerate(byte_symbols())}
    return tokenizer_json(bpe_model(vocabulary, []), _NO_SPLIT, BYTE_LEVEL)


def characters_json(characters: str) -> str:
    """The file of the tokenizer whose ids number these characters."""
    model = {
        "type": "WordLevel",
        "vocab": {character: i for i, character in enumerate(characters)},
        "unk_token": "<unk>",  # not in the vocabulary, so that an unknown character is an error there too
    }
    every_character = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
    return tokenizer_json(model, every_character, {"type": "Fuse"})


def bpe_model(vocabulary: dict[str, int], merges: list[list[str]]) -> dict[str, Any]:
    """The part "model" of a byte-level BPE."""
    return {"type": "BPE", "vocab": vocabulary, "merges": merges}


def split_stage(pattern: str) -> dict[str, Any]:
    """The part "pre_tokenizer": how it splits a text into chunks, of bytes."""
    if pattern == "gpt2":
        return BYTE_LEVEL  # has GPT-2's pattern built in
    stage = {"type": "Split", "pattern": {"Regex": PATTERNS[pattern]}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [stage, _NO_SPLIT]}


def pattern_of(described: dict[str, Any]) -> str | None:
    """The name of the pattern by which a parsed file splits; None if it is not one of ours."""
    stage = described.get("pre_tokenizer") or {}
    match stage.get("pretokenizers", [stage]):
        case [{"type": "ByteLevel"} as stage] if stage.get("use_regex", True):
            return "gpt2"
        case [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "use_regex": False},
        ]:
            return next((name for name, known in PATTERNS.items() if known == regex), None)
    return None


def is_byte_level(described: dict[str, Any]) -> bool:
    """Whether its tokens are bytes, and no space is put before a text (cutting would change the ids)."""
    stage = described.get("pre_tokenizer") or {}
    parts = [part for part in stage.get("pretokenizers", [stage]) if part.get("type") == "ByteLevel"]
    return bool(parts) and not any(part.get("add_prefix_space") for part in parts)


def is_sentencepiece(described: dict[str, Any]) -> bool:
    """Whether its tokens are written as SentencePiece writes them: ▁ for a space, <0x0A> for a byte, as Llama 2's."""
    return bool(described["model"].get("byte_fallback")) and not is_byte_level(described)


def sentencepiece_bytes(token: str) -> bytes:
    """What such a token stands for."""
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.replace("▁", " ").encode("utf-8")


def prefix_of(described: dict[str, Any]) -> list[str]:
    """The special tokens that the file puts before a text, such as Llama's beginning of sequence."""
    stage = described.get("post_processor") or {}
    for part in stage.get("processors", [stage]):
        if part.get("type") == "TemplateProcessing":
            names = [piece.get("SpecialToken", {}).get("id") for piece in part.get("single", [])]
            return [name for name in names[: names.index(None)] if name] if None in names else []
    return []


def tokenizer_json(
    model: dict[str, Any], pre_tokenizer: dict, decoder: dict, special: dict[str, int] | None = None
) -> str:
    """The text of the file."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    described = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": content, **plain} for content, i in (special or {}).items()],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }
    return json.dumps(described, ensure_ascii=False, indent=1) + "\n"
