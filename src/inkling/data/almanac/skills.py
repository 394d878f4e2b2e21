"""Sums, spelling and the counting of letters: made on the spot, the sums and counts with the calculator.

Some pairs of numbers (`is_held_sum`) and some words (lexicon.py) are never used in training.
"""

from typing import Any

from inkling.data.almanac.dice import Dice
from inkling.data.almanac.lexicon import spelled, spelling_words, word_to_spell, words_file
from inkling.data.almanac.wording import fill
from inkling.keyed import uniform
from inkling.text.messages import make_call

Message = dict[str, Any]
HELD_SUMS = 0.1
_MAX_DIGITS = 4


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def with_calculator(expression: str, result: str, answer: str) -> list[Message]:
    """The assistant asks the calculator, reads the result, and answers."""
    call = make_call("calculator", expression, "call_1")
    return [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": result},
        assistant(answer),
    ]


# --- sums ------------------------------------------------------------------------------------------------


def is_held_sum(a: int, operator: str, b: int) -> bool:
    """Whether this sum is never shown in training."""
    return uniform("almanac", "held sum", a, operator, b) < HELD_SUMS


def sum_exchange(dice: Dice, held: bool = False) -> list[Message]:
    """A sum of two numbers of up to four digits. `held`: numbers and phrasing that training never shows."""
    skills = words_file("skills")
    kind = skills["sums"][dice.pick(list(skills["sums"]))]
    operator = kind["operator"]
    a, b = _operands(operator, dice)
    while is_held_sum(a, operator, b) != held:
        a, b = _operands(operator, dice)
    question = fill(dice.pick(kind["held" if held else "ask"]), a=str(a), b=str(b))
    result = str(compute(a, operator, b))
    answer = fill(dice.pick(skills["answer"]), n=result)
    return [user(question), *with_calculator(f"{a}{operator}{b}", result, answer)]


def compute(a: int, operator: str, b: int) -> int:
    """The result, which is whole: "/" is used only where it comes out even."""
    match operator:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "/" | "//":
            return a // b
    raise AssertionError(operator)


def _operands(operator: str, dice: Dice) -> tuple[int, int]:
    a, b = _number(dice), _number(dice)
    if operator == "-" and not dice.chance(0.1):  # now and then the result is below zero
        return max(a, b), min(a, b)
    if operator == "//":
        return max(a, b), max(1, min(a, b))
    if operator == "/":  # a must be a multiple of b, and both short
        b = 1 + dice.below(99)
        return b * dice.below(10**_MAX_DIGITS // b), b
    return a, b


def _number(dice: Dice) -> int:
    """One to four digits, each length as often as the others."""
    return dice.below(10 ** dice.between(1, _MAX_DIGITS))


# --- letters ---------------------------------------------------------------------------------------------


def spelling_exchange(dice: Dice, held: bool = False) -> list[Message]:
    """ "Spell apple." "a p p l e" """
    word = dice.pick(spelling_words(held=True)) if held else word_to_spell(dice)
    question = fill(dice.pick(words_file("skills")["spell"]["held" if held else "ask"]), w=word)
    return [user(question), assistant(spelled(word))]


def letters_exchange(dice: Dice, held: bool = False) -> list[Message]:
    """How often a letter is in a word: `" strawberry".count("r")`.

    The space is there because a tokenizer joins it to the word: so the call has the very tokens of the question, and
    a small model only has to copy them. Right after a quotation mark the word would be cut into others.
    """
    word = dice.pick(spelling_words(held=True)) if held else word_to_spell(dice)
    letter = dice.pick("aeioulnrstd") if dice.chance(0.2) else dice.pick(word)
    skills = words_file("skills")
    question = fill(dice.pick(skills["letters"]["held" if held else "ask"]), w=word, c=letter)
    count = str(word.count(letter))
    answer = fill(dice.pick(skills["answer"]), n=count)
    return [user(question), *with_calculator(f'" {word}".count("{letter}")', count, answer)]


def length_exchange(dice: Dice) -> list[Message]:
    """How long a word is: `len(" strawberry")-1`, with the space for the same reason."""
    word = word_to_spell(dice)
    skills = words_file("skills")
    answer = fill(dice.pick(skills["answer"]), n=str(len(word)))
    question = fill(dice.pick(skills["length"]), w=word)
    return [user(question), *with_calculator(f'len(" {word}")-1', str(len(word)), answer)]


def spelling_page(dice: Dice) -> str:
    """Words and their letters, for reading: a page of a spelling book."""
    return "\n".join(f"- {word}: {spelled(word)}" for word in (word_to_spell(dice) for _ in range(dice.between(5, 9))))
