"""Conversations: exchanges put together, in any amount, each a function of the seed and its index."""

from collections.abc import Iterator, Mapping

from inkling.data.almanac import skills, talk
from inkling.data.almanac.dice import Dice
from inkling.data.almanac.lexicon import topics, words_file
from inkling.data.almanac.skills import Message
from inkling.data.almanac.world import World, at, bundled_world
from inkling.errors import UserError

# How often each kind comes up. Facts are most of it, for there are thousands and each must be met several times.
KINDS = {
    "fact": 32.0,
    "follow_up": 10.0,
    "about": 3.0,
    "reverse": 3.0,
    "yes_no": 3.0,
    "choice": 2.0,
    "arithmetic": 9.0,
    "spelling": 21.0,
    "letter_count": 8.0,
    "word_length": 1.0,
    "unknown": 14.0,
    "identity": 8.0,
    "greeting": 5.0,
    "small_talk": 1.0,
    "mixed": 6.0,
}
_FACTS = 3  # at most so many facts in one conversation of the kind "fact"
_DRESSED = 0.2  # how often a question has some words before or after it
_PLAIN = ("greeting", "small_talk")  # kinds without
_MIXED = ("fact", "follow_up", "arithmetic", "spelling", "unknown", "identity", "greeting")


def conversation(
    seed: int, index: int, weights: Mapping[str, float] = KINDS, world: World | None = None
) -> dict[str, list[Message]]:
    """The conversation at `index`, in the OpenAI shape: `{"messages": [...]}`."""
    world = world or bundled_world()
    dice = Dice("conversation", seed, index)
    kind = dice.weighted(_checked(weights))
    system = words_file("systems")
    brief = kind in ("fact", "follow_up") and dice.chance(0.06)
    messages: list[Message] = []
    if brief or dice.chance(0.08):
        messages.append({"role": "system", "content": dice.pick(system["brief" if brief else "plain"])})
    if kind != "greeting" and dice.chance(0.06):
        messages += talk.topic_exchange(topics("greetings")[:1], dice)
    messages += exchanges(kind, seed, index, dice, world, brief)
    return {"messages": messages if kind in _PLAIN else [_dressed(message, dice) for message in messages]}


def conversations(
    seed: int, count: int, weights: Mapping[str, float] = KINDS, world: World | None = None
) -> Iterator[dict[str, list[Message]]]:
    """The first `count` conversations of this seed."""
    world = world or bundled_world()
    return (conversation(seed, index, weights, world) for index in range(count))


def exchanges(kind: str, seed: int, index: int, dice: Dice, world: World, brief: bool = False) -> list[Message]:
    """The messages of one kind. Facts are met in turn, so that none is asked much more often than another."""
    facts = [at(world.asked, seed, _FACTS * index + number, "conversations") for number in range(_FACTS)]
    match kind:
        case "fact":
            return [m for fact in facts[: dice.between(1, _FACTS)] for m in talk.ask(world, fact, dice, brief)]
        case "follow_up":
            return talk.follow_up(world, dice, brief)
        case "about":
            return talk.about(world, dice)
        case "reverse":
            return talk.reverse(world, dice)
        case "yes_no":
            return talk.yes_no(world, facts[0], dice)
        case "choice":
            return talk.choice(world, facts[0], dice)
        case "arithmetic":
            return skills.sum_exchange(dice)
        case "spelling":
            return skills.spelling_exchange(dice)
        case "letter_count":
            return skills.letters_exchange(dice)
        case "word_length":
            return skills.length_exchange(dice)
        case "unknown":
            return talk.unknown(world, dice)
        case "identity":
            return talk.topic_exchange(topics("identity"), dice)
        case "greeting":
            return talk.topic_exchange(topics("greetings"), dice)
        case "small_talk":
            return talk.topic_exchange(topics("smalltalk"), dice)
        case "mixed":
            kinds = dice.sample(_MIXED, dice.between(2, 4))
            return [m for inner in kinds for m in exchanges(inner, seed, index, dice, world)]
    raise AssertionError(kind)


def _dressed(message: Message, dice: Dice) -> Message:
    """A question, at times with words around it that change nothing: "Hm. What is the capital of France?" """
    if message["role"] != "user" or not dice.chance(_DRESSED):
        return message
    question, around = message["content"], words_file("around")
    if dice.chance(0.6):
        return skills.user(f"{dice.pick(around['before'])} {question}")
    return skills.user(f"{question} {dice.pick(around['after'])}")


def _checked(weights: Mapping[str, float]) -> Mapping[str, float]:
    for kind in weights:
        if kind not in KINDS:
            raise UserError(f"There is no kind of conversation {kind!r}.", f"Kinds are: {', '.join(KINDS)}.", status=2)
    if min(weights.values(), default=0) < 0 or sum(weights.values()) <= 0:
        raise UserError("The weights of conversations must not be negative, and not all be 0.", status=2)
    return weights
