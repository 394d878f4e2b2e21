"""The exam: questions that training never asks in this form, and the answers that count.

facts_heldout_phrasing   facts that training asks, in phrasings that it does not know
facts_prose_only         facts that were only read, in phrasings that training knows
follow_up                "And its currency?", "And Spain?", in phrasings that it does not know
arithmetic               numbers and phrasings that it does not know
spelling, letter_count   words and phrasings that it does not know
identity, greeting       phrasings that it does not know
unknown                  what is not in the world, under names and in phrasings that training does not know
false_refusal            known facts, half in known phrasings: how often is it *not* refused to answer?
"""

from collections.abc import Iterator
from dataclasses import dataclass

from inkling.data.almanac import skills, talk
from inkling.data.almanac.dice import Dice
from inkling.data.almanac.facts import Fact
from inkling.data.almanac.lexicon import topics
from inkling.data.almanac.phrases import load_frames
from inkling.data.almanac.skills import Message, assistant, user
from inkling.data.almanac.wording import fill
from inkling.data.almanac.world import World, at, bundled_world
from inkling.errors import UserError

EXAM_KINDS = (
    "facts_heldout_phrasing",
    "facts_prose_only",
    "follow_up",
    "arithmetic",
    "spelling",
    "letter_count",
    "identity",
    "greeting",
    "unknown",
    "false_refusal",
)
PRACTICE_KINDS = ("facts_heldout_phrasing", "arithmetic", "spelling", "letter_count", "identity", "greeting", "unknown")
_TOPICS = {"identity": "identity", "greeting": "greetings"}


@dataclass(frozen=True)
class ExamItem:
    """A conversation up to the question, and the answers that are right (grading.py says how they are looked for)."""

    kind: str
    messages: list[Message]
    expected: tuple[str, ...]


def exam(kind: str, seed: int, index: int, world: World | None = None) -> ExamItem:
    """The item at `index`. Facts come in turn: none twice before all have come."""
    world = world or bundled_world()
    dice = Dice("exam", kind, seed, index)
    match kind:
        case "facts_heldout_phrasing":
            fact = at(world.asked, seed, index, kind)
            return _asks(kind, world, fact, dice.pick(world.relation(fact).questions(held=True)))
        case "facts_prose_only":
            if not world.prose_only:
                raise UserError("In this world no fact is kept for prose only.", "Load it with hold_out=True.")
            fact = at(world.prose_only, seed, index, kind)
            return _asks(kind, world, fact, dice.pick(world.relation(fact).ask))
        case "false_refusal":
            fact = at(world.asked, seed, index, kind)
            return _asks(kind, world, fact, dice.pick(world.relation(fact).questions(held=index % 2 == 1)))
        case "follow_up":
            return _follow_up(world, dice)
        case "arithmetic":
            return _with_answer(kind, skills.sum_exchange(dice, held=True))
        case "spelling":
            return _spelling(dice, held=True)
        case "letter_count":
            return _with_answer(kind, skills.letters_exchange(dice, held=True))
        case "identity" | "greeting":
            topic = dice.pick(topics(_TOPICS[kind]))
            return ExamItem(kind, [user(dice.pick(topic.held))], topic.expect)
        case "unknown":
            return ExamItem(kind, talk.unknown(world, dice, held=True)[:1], ())
    raise UserError(f"There is no exam in {kind!r}.", f"There are: {', '.join(EXAM_KINDS)}.", status=2)


def practice(kind: str, seed: int, index: int, world: World | None = None) -> ExamItem:
    """A question of this kind as training asks it, to learn from by trial: known words, numbers and phrasings."""
    world = world or bundled_world()
    dice = Dice("practice", kind, seed, index)
    match kind:
        case "facts_heldout_phrasing":
            fact = at(world.asked, seed, index, "practice")
            return _asks(kind, world, fact, dice.pick(world.relation(fact).ask))
        case "arithmetic":
            return _with_answer(kind, skills.sum_exchange(dice))
        case "spelling":
            return _spelling(dice, held=False)
        case "letter_count":
            return _with_answer(kind, skills.letters_exchange(dice))
        case "identity" | "greeting":
            topic = dice.pick(topics(_TOPICS[kind]))
            return ExamItem(kind, [user(dice.pick(topic.ask))], topic.expect)
        case "unknown":
            return ExamItem(kind, talk.unknown(world, dice)[:1], ())
    raise UserError(f"There is no practice in {kind!r}.", f"There is in: {', '.join(PRACTICE_KINDS)}.", status=2)


def exam_items(seed: int, count: int, world: World | None = None) -> Iterator[ExamItem]:
    """`count` items of each kind."""
    return (exam(kind, seed, index, world) for kind in EXAM_KINDS for index in range(count))


def _asks(kind: str, world: World, fact: Fact, template: str) -> ExamItem:
    return ExamItem(kind, [user(world.say(fact, template))], fact.values)


def _with_answer(kind: str, exchange: list[Message]) -> ExamItem:
    """From an exchange whose answer ends with what is expected: "The answer is 84." """
    answer = exchange[-1]["content"].rstrip(".").split()[-1]
    return ExamItem(kind, exchange[:1], (answer,))


def _spelling(dice: Dice, held: bool) -> ExamItem:
    question, answer = skills.spelling_exchange(dice, held)
    return ExamItem("spelling", [question], (answer["content"].replace(" ", ""),))


def _follow_up(world: World, dice: Dice) -> ExamItem:
    """A question in an unknown phrasing, its right answer, and what leans on it: half of each kind."""
    first, second = dice.sample(dice.pick(world.topics), 2)
    opening = [
        user(world.say(first, dice.pick(world.relation(first).questions(held=True)))),
        assistant(world.answer(first)),
    ]
    others = world.asked_others(first)
    leaning = world.relation(second).follow_held
    if leaning and (not others or dice.chance(0.5)):
        question = world.say(second, dice.pick(leaning))
    elif not others:  # a person's own table, with one subject and no phrasings for this
        question = world.say(second, dice.pick(world.relation(second).questions(held=True)))
    else:
        second = dice.pick(others)
        question = fill(dice.pick(load_frames()["other"]["held"]), name=world.name(second))
    return ExamItem("follow_up", [*opening, user(question)], second.values)
