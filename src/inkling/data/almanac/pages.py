"""Text to read: encyclopaedia pages, lists, comparisons, questions with answers, spelling pages and stories.

Every fact is told in all its phrasings, and at many places of a text. The sentence in which it is taught as an answer
comes up most, so that what is read and what is asked meet.
"""

from collections.abc import Iterator

from inkling.data.almanac.dice import Dice
from inkling.data.almanac.facts import Fact
from inkling.data.almanac.skills import spelling_page
from inkling.data.almanac.stories import FACTS, QUESTIONS, story
from inkling.data.almanac.wording import fill, first_up
from inkling.data.almanac.world import World, at, bundled_world

KINDS = {"page": 42.0, "list": 18.0, "comparison": 8.0, "questions": 12.0, "spelling": 13.0, "story": 7.0}
_PLACES = 8  # on the walk through the facts that each document may visit
_TAUGHT = 0.4  # how often a statement is the one that is also the answer


def prose(seed: int, index: int, world: World | None = None) -> str:
    """The document at `index`: the same for the same seed, whichever were written before."""
    world = world or bundled_world()
    dice = Dice("prose", seed, index)
    facts = [at(world.facts, seed, _PLACES * index + place, "prose") for place in range(_PLACES)]
    match dice.weighted(KINDS):
        case "page":
            return "\n\n".join(_section(world, fact, dice) for fact in facts[: dice.between(1, 3)])
        case "list":
            return _list(world, facts[0], dice)
        case "comparison":
            return " ".join(_comparison(world, fact, dice) for fact in facts[: dice.between(2, 4)])
        case "questions":
            return "\n\n".join(
                _question(world, fact, dice) for fact in _asked(world, seed, index)[: dice.between(3, 6)]
            )
        case "spelling":
            return spelling_page(dice)
        case _:
            return story(world, facts[:FACTS], _asked(world, seed, index)[:QUESTIONS], dice)


def documents(seed: int, count: int, world: World | None = None) -> Iterator[str]:
    """The first `count` documents of this seed."""
    world = world or bundled_world()
    return (prose(seed, index, world) for index in range(count))


def describe(world: World | None = None) -> str:
    """The almanac in a line."""
    world = world or bundled_world()
    subjects = len(world.by_subject)
    return f"the almanac: {len(world.facts):,} facts about {subjects:,} things in {len(world.manners)} tables"


# --- kinds -----------------------------------------------------------------------------------------------


def _section(world: World, fact: Fact, dice: Dice) -> str:
    """What there is to say about a subject; where that is a single fact, a few others of its kind join it."""
    own = world.by_subject[fact.table, fact.subject]
    if len(own) == 1:
        own = [fact, *dice.sample([other for other in world.siblings(fact) if other is not fact], dice.between(2, 4))]
    sentences = [_statement(world, other, dice) for other in dice.shuffled(own)]
    manner = world.manners[fact.table]
    if len({other.subject for other in own}) == 1:
        if manner.intro and dice.chance(0.25):
            sentences.insert(0, fill(manner.intro, s=fact.subject))
        if dice.chance(0.2):
            return f"{first_up(fact.subject)}\n\n{' '.join(sentences)}"
    return " ".join(sentences)


def _list(world: World, fact: Fact, dice: Dice) -> str:
    """The same relation of several subjects, in lines or in sentences of one form."""
    others = [other for other in world.siblings(fact) if other is not fact]
    facts = dice.shuffled([fact, *dice.sample(others, dice.between(4, 7))])
    if dice.chance(0.5):
        template = dice.pick(world.relation(fact).say)
        return "\n".join(world.say(other, template) for other in facts)
    lines = "\n".join(f"{first_up(other.subject)}: {other.value}" for other in facts)
    return f"{first_up(fact.relation)} ({fact.table})\n\n{lines}"


def _comparison(world: World, fact: Fact, dice: Dice) -> str:
    """Two subjects in one sentence."""
    others = [other for other in world.siblings(fact) if other is not fact]
    if not others:
        return _statement(world, fact, dice)
    other = dice.pick(others)
    template = dice.pick(world.relation(fact).answer)
    if other.value == fact.value:
        joined = dice.pick(["and", "and in the same way"])
    else:
        joined = dice.pick(["and", "but", "while"])
    first = world.say(fact, template).rstrip(".")
    second = world.say(other, template, capital=False)
    return f"{first}, {joined} {_lowered(second, template)}"


def _lowered(sentence: str, template: str) -> str:
    """Without its capital, where the template's first word and not a name has it."""
    return sentence if template.startswith("{") else sentence[:1].lower() + sentence[1:]


def _question(world: World, fact: Fact, dice: Dice) -> str:
    question = world.say(fact, dice.pick(world.relation(fact).ask))
    if dice.chance(0.5):
        return f"Question: {question}\nAnswer: {world.answer(fact)}"
    return f"{question}\n{world.answer(fact)}"


def _statement(world: World, fact: Fact, dice: Dice) -> str:
    relation = world.relation(fact)
    return world.say(fact, dice.pick(relation.answer if dice.chance(_TAUGHT) else relation.say))


def _asked(world: World, seed: int, index: int) -> list[Fact]:
    """Facts that may be asked, in turn."""
    return [at(world.asked, seed, _PLACES * index + place, "questions in prose") for place in range(_PLACES)]
