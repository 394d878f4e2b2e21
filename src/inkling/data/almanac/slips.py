"""Questions as people type them: a small word less, or one more at either end.

A model that met each phrasing only whole holds on to its exact words. With slips it learns which words matter, and
phrasings that it never met are understood more often. No slip leads to what is kept for the exam.
"""

from collections.abc import Sequence
from functools import lru_cache

from inkling.data.almanac.dice import Dice
from inkling.data.almanac.lexicon import words_file
from inkling.data.almanac.wording import four_words, words_of
from inkling.data.almanac.world import World

SLIPS = 0.3  # how often a question has one
_SMALL = (
    "a", "an", "and", "are", "can", "could", "do", "does", "is", "it", "me", "of", "please", "so", "the", "to", "you"
)  # fmt: skip
_OPENING = ("And", "But", "Now", "OK,", "Please,", "Say,", "Then", "Well,")
_CLOSING = ("again", "for me", "now", "once more", "please", "then")


def asked(phrasings: Sequence[str], dice: Dice, world: World | None) -> str:
    """One of the phrasings, at times with a slip; without a world never."""
    phrasing = dice.pick(phrasings)
    return slipped(phrasing, dice, world) if world is not None and dice.chance(SLIPS) else phrasing


def slipped(phrasing: str, dice: Dice, world: World) -> str:
    """The phrasing with a small word left out, or one put before or after it; itself if that came near the exam."""
    words = phrasing.split(" ")
    small = [place for place, word in enumerate(words) if word.lower() in _SMALL]
    if small and len(words) > 2 and dice.chance(0.5):
        del words[dice.pick(small)]
    elif dice.chance(0.5):
        words.insert(0, dice.pick(_OPENING))
        if not words[1].startswith(("I", "{")):
            words[1] = words[1][:1].lower() + words[1][1:]
    else:
        end = words[-1].rstrip("?.!")
        words[-1] = f"{end} {dice.pick(_CLOSING)}{words[-1][len(end) :]}"
    changed = " ".join(words)
    return changed if _is_free(changed, world.held) else phrasing


@lru_cache(maxsize=1 << 16)
def _is_free(phrasing: str, held: frozenset[str]) -> bool:
    """Whether it shares no four words in a row with a held phrasing, with words around it or without, and is none."""
    around = words_file("around")
    dressed = [f"{before} {phrasing}" for before in around["before"]] + [f"{phrasing} {x}" for x in around["after"]]
    grams, whole = _grams(held)
    return words_of(phrasing) not in whole and not four_words([phrasing, *dressed]) & grams


@lru_cache(maxsize=4)
def _grams(held: frozenset[str]) -> tuple[set[tuple[str, ...]], set[tuple[str, ...]]]:
    """All four words in a row of these phrasings, and each of them whole."""
    return four_words(held), {words_of(phrasing) for phrasing in held}
