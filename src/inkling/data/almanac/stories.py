"""Simple stories in which facts come up in passing."""

from inkling.data.almanac.dice import Dice
from inkling.data.almanac.facts import Fact
from inkling.data.almanac.lexicon import words_file
from inkling.data.almanac.wording import choose, fill, first_up, with_article
from inkling.data.almanac.world import World

FACTS = 3  # that a story has room for
QUESTIONS = 2

_HE = {"he": "he", "He": "He", "his": "his", "his_up": "His"}
_SHE = {"he": "she", "He": "She", "his": "her", "his_up": "Her"}


def story(world: World, facts: list[Fact], questions: list[Fact], dice: Dice) -> str:
    """A story around these facts; `questions` are asked in it, so they must be facts that may be asked."""
    parts = words_file("stories")
    template = choose(_paragraphs(dice.pick(parts["stories"])), dice)
    names = dice.sample([*parts["girls"], *parts["boys"]], 2)
    thing = dice.pick(parts["thing"])
    animals = dice.sample(world.subjects["animals"], 2)
    gaps = {
        "hero": names[0],
        "friend": names[1],
        **(_SHE if names[0] in parts["girls"] else _HE),
        "thing": thing,
        "a_thing": with_article(thing),
        "animal": animals[0],
        "animal2": animals[1],
        "animal2_a": with_article(animals[1]),
        **{name: dice.pick(parts[name]) for name in ("place", "weather", "grown_up")},
    }
    for number, fact in enumerate(facts, 1):
        gaps[_numbered("fact", number)] = world.say(fact, dice.pick(world.relation(fact).say))
    for number, fact in enumerate(questions, 1):
        gaps[_numbered("ask", number)] = world.say(fact, dice.pick(world.relation(fact).ask))
        gaps[_numbered("reply", number)] = world.answer(fact)
    return first_up(fill(template, **gaps))


def _paragraphs(text: str) -> str:
    """Each paragraph on one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}{number}"
