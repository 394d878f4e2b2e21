"""The world: every fact, how it is said, and which facts are kept out of the questions.

A fifth of the facts are told in prose and never asked in training (`is_prose_only`). Asked at the end, they show what
a model takes from reading alone. Which ones is decided by a fact's own words, so that a new line moves no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from inkling.data.almanac.dice import Dice
from inkling.data.almanac.facts import Fact, load_tables
from inkling.data.almanac.phrases import Manner, Relation, load_manners
from inkling.data.almanac.wording import fill
from inkling.keyed import uniform, words

PROSE_ONLY = 0.2


@dataclass(frozen=True, eq=False)
class World:
    """Facts and phrasings. `load_world` makes one."""

    facts: tuple[Fact, ...]
    manners: dict[str, Manner]
    hold_out: bool

    def relation(self, fact: Fact) -> Relation:
        """How this fact is asked and told."""
        return self.manners[fact.table].relations[fact.relation]

    def say(self, fact: Fact, template: str, capital: bool = True, wrong: str = "") -> str:
        """The template with this fact's words; `wrong` is for the gap {w}."""
        return fill(template, capital, s=fact.subject, v=fact.value, w=wrong)

    def answer(self, fact: Fact) -> str:
        """The sentence in which the fact is taught."""
        return self.say(fact, self.relation(fact).answer[0])

    def name(self, fact: Fact) -> str:
        """Its subject on its own: "France", "a cat"."""
        return fill(self.manners[fact.table].name, capital=False, s=fact.subject)

    def is_prose_only(self, fact: Fact) -> bool:
        """Whether training never asks it. A person's own facts are all asked."""
        if not self.hold_out or fact.is_own:
            return False
        pair = (fact.subject, fact.value)
        subject = min(pair) if self.relation(fact).mutual else fact.subject  # hot–cold is asked both ways or not at all
        return uniform("almanac", "prose only", fact.table, fact.relation, subject) < PROSE_ONLY

    @cached_property
    def asked(self) -> tuple[Fact, ...]:
        """The facts that training asks."""
        return tuple(fact for fact in self.facts if not self.is_prose_only(fact))

    @cached_property
    def prose_only(self) -> tuple[Fact, ...]:
        """The facts that it never asks."""
        return tuple(fact for fact in self.facts if self.is_prose_only(fact))

    @cached_property
    def by_subject(self) -> dict[tuple[str, str], list[Fact]]:
        """(table, subject) → its facts."""
        groups: dict[tuple[str, str], list[Fact]] = {}
        for fact in self.facts:
            groups.setdefault((fact.table, fact.subject), []).append(fact)
        return groups

    @cached_property
    def by_relation(self) -> dict[tuple[str, str], list[Fact]]:
        """(table, relation) → its facts."""
        groups: dict[tuple[str, str], list[Fact]] = {}
        for fact in self.facts:
            groups.setdefault((fact.table, fact.relation), []).append(fact)
        return groups

    @cached_property
    def names(self) -> frozenset[str]:
        """Every subject and value, in small letters and without a leading article."""
        texts = (text for fact in self.facts for text in (fact.subject, *fact.values))
        return frozenset(bare(text) for text in texts)

    @cached_property
    def reversible(self) -> tuple[Fact, ...]:
        """Asked facts whose value belongs to one subject only, and which can be asked from that end."""
        found: list[Fact] = []
        for facts in self.by_relation.values():
            if self.relation(facts[0]).reverse:
                right = [value for fact in facts for value in fact.values]
                found += [fact for fact in facts if right.count(fact.value) == 1 and not self.is_prose_only(fact)]
        return tuple(found)

    @cached_property
    def topics(self) -> tuple[tuple[Fact, ...], ...]:
        """The asked facts of each subject that has at least two."""
        groups = (tuple(f for f in facts if not self.is_prose_only(f)) for facts in self.by_subject.values())
        return tuple(group for group in groups if len(group) > 1)

    @cached_property
    def subjects(self) -> dict[str, list[str]]:
        """Table → its subjects."""
        groups: dict[str, list[str]] = {}
        for table, subject in self.by_subject:
            groups.setdefault(table, []).append(subject)
        return groups

    @cached_property
    def _asked_by_relation(self) -> dict[tuple[str, str], list[Fact]]:
        groups: dict[tuple[str, str], list[Fact]] = {}
        for fact in self.asked:
            groups.setdefault((fact.table, fact.relation), []).append(fact)
        return groups

    def asked_others(self, fact: Fact) -> list[Fact]:
        """The other facts of the same table and relation that training asks."""
        return [other for other in self._asked_by_relation.get((fact.table, fact.relation), ()) if other is not fact]

    def siblings(self, fact: Fact) -> list[Fact]:
        """The facts of the same table and relation, this one among them."""
        return self.by_relation[fact.table, fact.relation]

    def wrong_value(self, fact: Fact, dice: Dice) -> str:
        """Another fact's value that is no right answer here; "" where there is none."""
        wrong = sorted({other.value for other in self.siblings(fact)} - set(fact.values))
        return dice.pick(wrong) if wrong else ""

    def fingerprint(self) -> str:
        """Changes with every change of a fact or a phrasing."""
        return sha256(repr((self.facts, self.manners, self.hold_out)).encode()).hexdigest()


def load_world(extra: str | Path | None = None, hold_out: bool = True) -> World:
    """The bundled tables and those in the folder `extra`. `hold_out=False` asks every fact in training."""
    facts = load_tables(extra)
    manners = load_manners(facts, extra)
    mutual = [fact for fact in facts if manners[fact.table].relations[fact.relation].mutual]
    known = {(fact.subject.casefold(), fact.relation) for fact in facts}
    mirrored = [
        replace(fact, subject=fact.value, values=(fact.subject,))
        for fact in mutual
        if (fact.value.casefold(), fact.relation) not in known
    ]
    return World((*facts, *mirrored), manners, hold_out)


@lru_cache(maxsize=1)
def bundled_world() -> World:
    """The world that ships with inkling, read once."""
    return load_world()


def bare(text: str) -> str:
    """In small letters, without a leading article: "the Nile" → "nile"."""
    text = text.casefold()
    for article in ("the ", "an ", "a "):
        text = text.removeprefix(article)
    return text


def at(facts: Sequence[Fact], seed: int, position: int, purpose: str) -> Fact:
    """The fact at a place of an endless walk that meets each fact once in every `len(facts)` steps."""
    epoch, place = divmod(position, len(facts))
    return facts[_order(len(facts), seed, epoch, purpose)[place]]


@lru_cache(maxsize=256)
def _order(count: int, seed: int, epoch: int, purpose: str) -> np.ndarray:
    return np.argsort(words(count, "almanac", "order", purpose, seed, epoch), kind="stable")
