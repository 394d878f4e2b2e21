"""Exchanges about facts: a question and its answer, with the questions that may follow.

Each function here gives the messages of one exchange. `brief` answers with the bare value.
"""

from collections.abc import Sequence

from inkling.data.almanac.dice import Dice
from inkling.data.almanac.facts import Fact
from inkling.data.almanac.lexicon import Topic, invented_name, words_file
from inkling.data.almanac.phrases import load_frames
from inkling.data.almanac.skills import Message, assistant, user
from inkling.data.almanac.wording import fill, first_up
from inkling.data.almanac.world import World

_ABOUT = 3  # facts in an answer to "Tell me about …"


def ask(world: World, fact: Fact, dice: Dice, brief: bool = False) -> list[Message]:
    """What is the capital of France?"""
    question = world.say(fact, dice.pick(world.relation(fact).ask))
    if dice.chance(0.08):  # people are in a hurry
        question = question.rstrip(".?")
    return [user(question), assistant(_answer(world, fact, brief))]


def follow(world: World, fact: Fact, dice: Dice, brief: bool = False) -> list[Message]:
    """Another fact about the subject of the last answer: "And its currency?" """
    return [user(world.say(fact, dice.pick(world.relation(fact).follow))), assistant(_answer(world, fact, brief))]


def other(world: World, fact: Fact, dice: Dice, brief: bool = False) -> list[Message]:
    """The last question about another subject: "And Spain?" """
    question = fill(dice.pick(load_frames()["other"]["ask"]), name=world.name(fact))
    return [user(question), assistant(_answer(world, fact, brief))]


def follow_up(world: World, dice: Dice, brief: bool = False) -> list[Message]:
    """A question and one to three that lean on it."""
    first, *rest = dice.shuffled(dice.pick(world.topics))
    messages = ask(world, first, dice, brief)
    last = first
    leaning = [fact for fact in rest if world.relation(fact).follow]
    for fact in leaning[: dice.between(0, 3)]:
        messages += follow(world, fact, dice, brief)
        last = fact
    if last is first or dice.chance(0.4):
        for fact in dice.sample(world.asked_others(last), dice.between(1, 2)):
            messages += other(world, fact, dice, brief)
    return messages


def about(world: World, dice: Dice) -> list[Message]:
    """Tell me about France."""
    topic = dice.pick(world.topics)
    question = fill(dice.pick(load_frames()["about"]["ask"]), name=world.name(topic[0]))
    sentences = [world.answer(fact) for fact in topic[:_ABOUT]]
    return [user(question), assistant(" ".join(sentences))]


def reverse(world: World, dice: Dice) -> list[Message]:
    """Paris is the capital of which country?"""
    fact = dice.pick(world.reversible)
    relation = world.relation(fact)
    return [user(world.say(fact, dice.pick(relation.reverse))), assistant(world.say(fact, relation.reverse_answer))]


def yes_no(world: World, fact: Fact, dice: Dice) -> list[Message]:
    """Is Paris the capital of France? The answer recalls the fact first, and then judges."""
    relation = world.relation(fact)
    wrong = world.wrong_value(fact, dice)
    if not relation.check or not wrong:
        return ask(world, fact, dice)
    is_right = dice.chance(0.5)
    question = fill(dice.pick(relation.check), s=fact.subject, v=fact.value if is_right else wrong)
    verdict = "so yes" if is_right else "so no"
    return [user(question), assistant(f"{world.answer(fact).rstrip('.')}, {verdict}.")]


def choice(world: World, fact: Fact, dice: Dice) -> list[Message]:
    """Is the capital of France Paris or Rome?"""
    relation = world.relation(fact)
    wrong = world.wrong_value(fact, dice)
    if not relation.choose or not wrong:
        return ask(world, fact, dice)
    first, second = dice.shuffled([fact.value, wrong])
    question = fill(dice.pick(relation.choose), s=fact.subject, v=first, w=second)
    return [user(question), assistant(world.answer(fact))]


def _answer(world: World, fact: Fact, brief: bool) -> str:
    return f"{first_up(fact.value)}." if brief else world.answer(fact)


# --- what is not in the world ----------------------------------------------------------------------------


def unknown(world: World, dice: Dice, held: bool = False) -> list[Message]:
    """A question without an answer: half of them ask a relation of the world of a thing that is not in it."""
    if dice.chance(0.5):
        question = _of_nothing(world, dice, held)
    elif dice.chance(0.5):
        question = _beyond_the_tables(world, dice, held)
    else:
        question = _unknowable(dice, held)
    return [user(question), assistant(dice.pick(words_file("unknowable")["answer"]))]


def _of_nothing(world: World, dice: Dice, held: bool) -> str:
    """What is the capital of Zorvilesh?"""
    tables = [manner for manner in world.manners.values() if manner.invent]
    manner = dice.pick(tables)
    relation = manner.relations[dice.pick(list(manner.relations))]
    name = invented_name(manner.invent, dice, world.names, held)
    return fill(dice.pick(relation.questions(held)), s=name)


def _beyond_the_tables(world: World, dice: Dice, held: bool) -> str:
    """How many people live in France?"""
    tables = [table for table, manner in world.manners.items() if (manner.unknown_held if held else manner.unknown)]
    table = dice.pick(tables)
    subject = dice.pick(world.subjects[table])
    manner = world.manners[table]
    return fill(dice.pick(manner.unknown_held if held else manner.unknown), s=subject)


def _unknowable(dice: Dice, held: bool) -> str:
    """What did I eat this morning?"""
    words = words_file("unknowable")
    return fill(dice.pick(words["held" if held else "ask"]), who=dice.pick(words["who"]), what=dice.pick(words["what"]))


def topic_exchange(topics: Sequence[Topic], dice: Dice) -> list[Message]:
    """A greeting, a question about inkling, small talk."""
    topic = dice.pick(topics)
    return [user(dice.pick(topic.ask)), assistant(dice.pick(topic.answer))]
