"""Spelling, made on the spot: which letters a word has, and how often one of them.

A model sees tokens and not letters, so it has to learn what its tokens are made of. To count it writes the letters one
by one with a running number, which it can do with what it just wrote, and then asks the calculator to be sure. (The
almanac asks the same of a model too small for such a chain: one letter after the other, or the calculator alone.)
"""

from collections.abc import Iterator, Sequence
from itertools import count as numbers

from inkling.data.almanac.dice import Dice
from inkling.data.almanac.grading import grade
from inkling.data.almanac.lexicon import spelled, spelling_words, word_to_spell
from inkling.tasks.task import Question, choose
from inkling.text.messages import Message, make_call

# How people ask, in training and when it counts.
_SPELL = (
    "Spell {w}.",
    "How is {w} spelled?",
    "Write {w} letter by letter.",
    "Can you spell the word {w} for me?",
    "Which letters make up {w}?",
)
_SPELL_HELD = ("Please spell out {w}.", "What are the letters of {w}?")
_COUNT = (
    "How many {c} are in {w}?",
    "How often does {c} occur in {w}?",
    "Count the letter {c} in {w}.",
    "In the word {w}, how many times is there a {c}?",
    "how many {c}s in {w}",
)
_COUNT_HELD = ("What number of times does {w} contain {c}?", "Tell me how many letters of {w} are {c}.")

_LETTERS = "aeioulnrstd"


class SpellingTask:
    """Two kinds: `spell` a word, and `count` a letter. The words that are asked are never spelled in training."""

    name = "spelling"
    practised = ("spell", "count")

    def conversations(self, seed: int) -> Iterator[Sequence[Message]]:
        """Made on the spot, without end: half of each kind."""
        return (_conversation(seed, index) for index in numbers())

    def questions(self, seed: int, count: int) -> list[Question]:
        """`count` of each kind, or as many as there are words."""
        words = spelling_words(held=True)
        asked = [(words[index], Dice("spelling", "asked", seed, index)) for index in choose(len(words), count, seed)]
        spell = [_asked(word, dice, _SPELL_HELD) for word, dice in asked]
        return [*spell, *(_counted(word, dice, _COUNT_HELD) for word, dice in asked)]

    def practice(self, kind: str, seed: int, index: int) -> Question:
        """Made on the spot, of the words and phrasings that training knows."""
        dice = Dice("spelling", "practice", seed, index)
        word = word_to_spell(dice)
        return _counted(word, dice, _COUNT) if kind == "count" else _asked(word, dice, _SPELL)

    def grade(self, question: Question, reply: str) -> bool:
        """The letters one by one, or the last number."""
        return grade("spelling" if question.kind == "spell" else "letter_count", reply, question.expected)


def _conversation(seed: int, index: int) -> list[Message]:
    dice = Dice("spelling", seed, index)
    word = word_to_spell(dice)
    if index % 2:
        letter = _letter(word, dice)
        return [_user(dice.pick(_COUNT).format(w=word, c=letter)), *count_aloud(word, letter)]
    return [_user(dice.pick(_SPELL).format(w=word)), {"role": "assistant", "content": spelled(word)}]


def _asked(word: str, dice: Dice, forms: Sequence[str]) -> Question:
    return Question("spell", [_user(dice.pick(forms).format(w=word))], (word,))


def _counted(word: str, dice: Dice, forms: Sequence[str]) -> Question:
    letter = _letter(word, dice)
    content = dice.pick(forms).format(w=word, c=letter)
    return Question("count", [_user(content)], (str(word.count(letter)),))


def count_aloud(word: str, letter: str) -> list[Message]:
    """The answer to how often `letter` is in `word`: letter by letter, then by the calculator."""
    so_far, steps = 0, []
    for each in word:
        so_far += each == letter
        steps.append(f"{each} {so_far}" if each == letter else each)
    call = make_call("calculator", f'" {word}".count("{letter}")', "call_1")  # the space: see almanac/skills.py
    return [
        {"role": "assistant", "content": f"{', '.join(steps)}. ", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": str(so_far)},
        {"role": "assistant", "content": f"The letter {letter} is in {word} this often: {so_far}."},
    ]


def _letter(word: str, dice: Dice) -> str:
    """One that is in the word, and now and then any."""
    return dice.pick(_LETTERS) if dice.chance(0.2) else dice.pick(word)


def _user(content: str) -> Message:
    return {"role": "user", "content": content}
