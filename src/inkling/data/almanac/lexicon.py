"""What the almanac's texts are made of besides facts: the files in `words/`, read once."""

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from inkling.data.almanac.dice import Dice
from inkling.data.almanac.facts import TABLES
from inkling.data.almanac.wording import fill
from inkling.keyed import uniform

_WORDS = Path(__file__).parent / "words"
HELD_WORDS = 0.2


@dataclass(frozen=True)
class Topic:
    """Questions that have the same answer. `held` is asked only to measure; `expect` are right answers' words."""

    ask: tuple[str, ...]
    answer: tuple[str, ...]
    held: tuple[str, ...] = ()
    expect: tuple[str, ...] = ()


@lru_cache
def words_file(name: str) -> dict[str, Any]:
    """The contents of words/NAME.toml."""
    return tomllib.loads((_WORDS / f"{name}.toml").read_text(encoding="utf-8"))


@lru_cache
def topics(name: str) -> tuple[Topic, ...]:
    """The topics of words/NAME.toml."""
    return tuple(Topic(**{key: tuple(value) for key, value in topic.items()}) for topic in words_file(name)["topic"])


# --- words to spell --------------------------------------------------------------------------------------


@lru_cache
def spelling_words(held: bool) -> tuple[str, ...]:
    """The words whose spelling is taught, or those that are held out to measure."""
    lines = (_WORDS / "spelling.txt").read_text(encoding="utf-8").splitlines()
    words = [word for line in lines if not line.startswith("#") for word in line.split()]
    return tuple(word for word in words if is_held_word(word) == held)


@lru_cache
def words_of_facts() -> tuple[str, ...]:
    """The other words that are spelled: those of the bundled tables, without what is held out."""
    text = " ".join(path.read_text(encoding="utf-8") for path in sorted(TABLES.glob("*.txt")))
    found = sorted(set(re.findall(r"\b[a-z]{3,10}\b", text)))
    held = spelling_words(held=True)
    return tuple(word for word in found if word not in held and not is_held_word(word))


def is_held_word(word: str) -> bool:
    """Whether the spelling of this word is never taught."""
    return uniform("almanac", "held word", word) < HELD_WORDS


@lru_cache
def words_of_texts() -> tuple[str, ...]:
    """The words of the spelling list, held out or not, that the almanac's own sentences and facts use."""
    files = [*sorted(_WORDS.glob("*.toml")), *sorted(TABLES.glob("*.txt"))]
    found = set(re.findall(r"[a-z]+", " ".join(path.read_text(encoding="utf-8") for path in files)))
    return tuple(word for held in (False, True) for word in spelling_words(held) if word in found)


def word_to_spell(dice: Dice) -> str:
    """A word of the list, or of the facts, or one that joins the beginning of one to the end of another: "strawning".

    Joined words are many, so that what is learned is the letters of every piece, not a list of words. Their pieces
    come from all words, held out or not: a piece that is never spelled cannot be known. A tokenizer makes a single
    token of a word that its text is full of, so half of them begin with such a word as a whole. No held word comes
    out.
    """
    words = spelling_words(held=False)
    if dice.chance(0.4):
        return dice.pick(words if dice.chance(0.5) else words_of_facts())
    pieces = (*words, *spelling_words(held=True))
    while True:
        first, second = dice.pick(pieces), dice.pick(pieces)
        start = dice.pick(words_of_texts()) if dice.chance(0.5) else first[: dice.between(2, len(first) - 1)]
        word = start + second[-dice.between(2, len(second) - 1) :]
        if len(word) <= 10 and word not in spelling_words(held=True):
            return word


def spelled(word: str) -> str:
    """Its letters: "apple" → "a p p l e".

    Spaces, because a letter with the space before it is one token, whichever letter it is: words begin so. Of "-e" and
    "-p" a small vocabulary has the first as one token and the second as two, and the model loses its place.
    """
    return " ".join(word)


# --- names of nothing ------------------------------------------------------------------------------------


def invented_name(kind: str, dice: Dice, known: frozenset[str], held: bool = False) -> str:
    """A name that nothing has: of a country, an element, a book, … Not one of `known`; `held` names are for measuring.

    Of every name it is decided by its own letters whether it is held, so no name is in both.
    """
    parts = words_file("invented")
    ends = parts["ends"].get(kind) or parts["ends"]["country"]
    while True:
        first, second = dice.sample(parts["strange"], 2)
        if kind != "person":
            second = dice.pick(["", "", *parts["plain"]])
        small = "".join(dice.shuffled([first, second])) + dice.pick(ends)
        if small not in known and (uniform("almanac", "held name", small) < HELD_WORDS) == held:
            break
    template = dice.pick(parts["forms"][kind])
    given, thing = dice.pick(parts["given"]), dice.pick(parts["thing"])
    return fill(template, capital=False, small=small, name=small.capitalize(), given=given, thing=thing)
