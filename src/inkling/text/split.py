"""Where byte-pair encoding may not merge: a pattern splits a text into chunks, roughly words and numbers.

Merges happen within chunks only. So "dog." and "dog!" share a token, and the work of training and encoding
is done once for each distinct chunk. The patterns are those of well-known vocabularies, in the form in which
their tokenizer.json files write them:

gpt2      GPT-2: a chunk is a space and letters, a space and digits, or a space and symbols
cl100k    GPT-4, Llama 3: any one symbol may lead a word ("(self", ".join"), digits in threes from the left,
          a newline stays with the symbols before it, 'S is a suffix like 's
nanochat  the same with digits in twos, which leaves more of a small vocabulary for words
qwen      the same with each digit on its own

`split` is the plain way; `split_fast` does the same for much text with NumPy.
"""

from functools import cache
from typing import Any, Final

import numpy as np

from inkling.errors import UserError

_LIKE_GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": _LIKE_GPT4.replace("DIGITS", r"\p{N}{1,3}"),
    "nanochat": _LIKE_GPT4.replace("DIGITS", r"\p{N}{1,2}"),
    "qwen": _LIKE_GPT4.replace("DIGITS", r"\p{N}"),
}
DEFAULT_PATTERN: Final = "cl100k"

# Letters and digits that came with Unicode 17 and 18. The `regex` package knows them all, gigatoken knows some,
# and `tokenizers` 0.23, by which the ids on disk are judged, takes them for symbols. Found by asking the three
# about every code point; a test asks again.
_NEW_LETTERS = """
558 58B-58C 88F C5C CDC 208F 209D-209F A7CE-A7CF A7D2 A7D4 A7DD A7E2 A7F1 AB6C-AB6D 107BB-107BF 10940-10959
10EC5-10EC7 10ED9-10EEE 11B0A 11DB0-11DDB 11DE0-11DE9 11DF1 1246F 12475-1247F 12550-12686 16EA0-16EB8 16EBB-16ED3
16FF2-16FF6 187F8-187FF 18CD6-18CDA 18D09-18D20 18D80-18DF2 18E00-19191 191A0-191D2 1B123-1B128 1B168 1D6A6
1DF1F-1DF24 1DF2B-1DF81 1DF90-1DF96 1DFCD-1DFFF 1E6C0-1E6DE 1E6E0-1E6E2 1E6E4-1E6E5 1E6E7-1E6ED 1E6F0-1E6F4
1E6FE-1E6FF 2B73A-2B73F 2B81E 2CEA2-2CEAD 323B0-33479 3D000-3FC3F
"""


def split(text: str, pattern: str) -> list[str]:
    """The chunks of `text` by the pattern of that name; joined, they are the text."""
    seen = text
    if has_new_letters(text):  # show the pattern a symbol in the place of each
        table = new_letters()
        seen = "".join("\ue000" if table[ord(character)] else character for character in text)
    return [text[match.start() : match.end()] for match in _compiled(pattern).finditer(seen)]


def check_pattern(pattern: str) -> None:
    """Refuse a name that is not in PATTERNS."""
    if pattern not in PATTERNS:
        raise UserError(f"There is no split pattern {pattern!r}.", f"Choose one of {', '.join(PATTERNS)}.", status=2)


def code_points(text: str) -> np.ndarray:
    """The characters as numbers (uint8 where all are ASCII, else uint32)."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def has_new_letters(text: str) -> bool:
    """Whether the libraries may disagree about `text`. Costs 2 ms for a million characters, nothing for ASCII."""
    return not text.isascii() and bool(new_letters()[code_points(text)].any())


@cache
def new_letters() -> np.ndarray:
    """For each code point (0x110000,), whether it is a letter or digit that `tokenizers` does not know yet."""
    table = np.zeros(0x110000, dtype=bool)
    for item in _NEW_LETTERS.split():
        first, _, last = item.partition("-")
        table[int(first, 16) : int(last or first, 16) + 1] = True
    return table


@cache
def _compiled(pattern: str) -> Any:
    import regex

    check_pattern(pattern)
    return regex.compile(PATTERNS[pattern])
