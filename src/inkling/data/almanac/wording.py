"""Sentences with gaps: how a template becomes a sentence, and which words in a row two templates share.

A gap is `{name}`. Before a gap "a" becomes "an" where the word wants it, "{s}'s" becomes "the Bahamas'" where the
word ends with s, and a sentence begins with a capital. `[one|other]` is a choice.
"""

import re
from collections.abc import Iterable

from inkling.data.almanac.dice import Dice

_GAP = re.compile(r"(?P<article>\b[Aa] )?\{(?P<name>\w+)\}(?P<possessive>'s)?")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SENTENCE_ENDS = (". ", "! ", "? ", "\n", ' "')
_SOUNDS_LIKE_A_CONSONANT = re.compile(r"(eu|ew|uni|use|ukulele|one\b)", re.IGNORECASE)
_GRAM = 4


def fill(template: str, capital: bool = True, **gaps: str) -> str:
    """The sentence, its gaps filled; `capital=False` for one that stands within another."""

    def put(gap: re.Match[str]) -> str:
        """What stands in place of one gap, and of the article before it."""
        value = gaps[gap["name"]]
        if gap["possessive"]:
            value += "'" if value.endswith("s") else "'s"
        if gap["article"]:
            article = gap["article"].strip()
            return f"{article}n {value}" if _takes_an(value) else f"{article} {value}"
        is_start = template[: gap.start()].endswith(_SENTENCE_ENDS) or template[: gap.start()] == '"'
        return first_up(value) if is_start else value

    sentence = _GAP.sub(put, template)
    return first_up(sentence) if capital else sentence


def choose(template: str, dice: Dice) -> str:
    """The template with each `[one|other]` decided."""
    return _CHOICE.sub(lambda choice: dice.pick(choice[1].split("|")), template)


def gaps_of(template: str) -> set[str]:
    """The names of the gaps."""
    return {gap["name"] for gap in _GAP.finditer(template)}


def first_up(text: str) -> str:
    """With a capital at its beginning."""
    return text[:1].upper() + text[1:]


def with_article(word: str) -> str:
    """ "a cat", "an owl"."""
    return f"an {word}" if _takes_an(word) else f"a {word}"


def _takes_an(word: str) -> bool:
    return word[:1].lower() in tuple("aeiou") and not _SOUNDS_LIKE_A_CONSONANT.match(word)


# --- what two templates share ----------------------------------------------------------------------------


def words_of(template: str) -> tuple[str, ...]:
    """Its words in small letters, without punctuation; a gap is "_", whatever it is called, and "an" counts as "a"."""
    words = re.findall(r"[\w'+*/=×÷−-]+", _GAP.sub(r"\g<article>_\g<possessive>", template).lower())
    return tuple("a" if word == "an" else word for word in words)


def four_words(templates: Iterable[str]) -> set[tuple[str, ...]]:
    """All sequences of four words in these templates."""
    grams: set[tuple[str, ...]] = set()
    for template in templates:
        words = words_of(template)
        grams.update(words[start : start + _GRAM] for start in range(len(words) - _GRAM + 1))
    return grams
