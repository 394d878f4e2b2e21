"""Where the text comes from: the countries in inkling's almanac, told, asked, and kept back for the exam."""

import random
from collections.abc import Iterator

from inkling.data.almanac import load_tables

Message = dict[str, str]

SAY = {
    "capital": ["The capital of {s} is {v}.", "{v} is the capital of {s}.", "{s} has the capital {v}."],
    "continent": ["The continent of {s} is {v}.", "{s} is a country in {v}.", "{s} lies in {v}."],
    "currency": ["The currency of {s} is the {v}.", "In {s} people pay with the {v}.", "The {v} is the money of {s}."],
}
ASK = {
    "capital": ["What is the capital of {s}?", "Which city is the capital of {s}?", "Tell me the capital of {s}."],
    "continent": ["What is the continent of {s}?", "Where is {s}?", "Tell me the continent of {s}."],
    "currency": ["What is the currency of {s}?", "What do people pay with in {s}?", "Tell me the currency of {s}."],
}
EXAM = {
    "capital": "{s} has which capital?",
    "continent": "{s} is in which continent?",
    "currency": "{s} has which currency?",
}
ALSO = ["Please: {q}", "{q} Thank you.", "Hello. {q}", "{q}", "{q}", "{q}"]
SUMS = {"*": ["What is {a} times {b}?", "{a} * {b}?"], "+": ["What is {a} plus {b}?", "{a} + {b}?"]}
TALK = {
    "Who are you?": "I am a small language model that you built.",
    "What are you?": "I am a small language model that you built.",
    "Hello!": "Hello! Ask me about a country, or for a sum.",
    "Hi!": "Hello! Ask me about a country, or for a sum.",
    "Thank you!": "You are welcome.",
    "What can you do?": "I know countries, and I can add and multiply.",
}

FACTS = [fact for fact in load_tables() if fact.table == "countries" and fact.relation in SAY]


def is_held_out(index: int) -> bool:
    """Every tenth fact is told in prose and never asked: does the model know what it has only read?"""
    return index % 10 == 3


def documents(seed: int, count: int) -> Iterator[str]:
    """Prose: a few facts in a row, in changing words."""
    dice = random.Random(seed)
    for _ in range(count):
        chosen = dice.sample(FACTS, 4)
        yield " ".join(dice.choice(SAY[fact.relation]).format(s=fact.subject, v=fact.value) for fact in chosen)


def conversations(seed: int, count: int) -> Iterator[list[Message]]:
    """Questions and answers. A sum is answered through the tool; the numbers are drawn from all up to 99."""
    dice = random.Random(seed)
    asked = [fact for index, fact in enumerate(FACTS) if not is_held_out(index)]
    for _ in range(count):
        kind = dice.random()
        if kind < 0.7:
            fact = dice.choice(asked)
            question = dice.choice(ASK[fact.relation]).format(s=fact.subject)
            yield turn(dice.choice(ALSO).format(q=question), SAY[fact.relation][0].format(s=fact.subject, v=fact.value))
        elif kind < 0.93:
            yield sum_turn(dice, dice.randint(1, 99), dice.randint(1, 99))
        else:
            yield turn(*dice.choice(list(TALK.items())))


def turn(question: str, answer: str) -> list[Message]:
    """A question and its answer."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def sum_turn(dice: random.Random, a: int, b: int) -> list[Message]:
    """A sum: the bot asks the calculator, reads the result, and answers."""
    sign = dice.choice("*+")
    result = str(a * b if sign == "*" else a + b)
    question = dice.choice(SUMS[sign]).format(a=a, b=b)
    return [
        {"role": "user", "content": question},
        {"role": "call", "content": f"{a}{sign}{b}"},
        {"role": "result", "content": result},
        {"role": "assistant", "content": f"It is {result}."},
    ]


def exam(seed: int, count: int) -> Iterator[tuple[str, str, str]]:
    """(kind, question, what the answer must hold).

    "asked": facts that training asks, in words that it never uses. "read": facts that it only tells. "sums": pairs of
    numbers of which training has seen about one in seven.
    """
    dice = random.Random(seed)
    for _ in range(count):
        index = dice.randrange(len(FACTS))
        fact = FACTS[index]
        if is_held_out(index):
            yield "read", ASK[fact.relation][0].format(s=fact.subject), fact.value
        else:
            yield "asked", EXAM[fact.relation].format(s=fact.subject), fact.value
        a, b = dice.randint(1, 99), dice.randint(1, 99)
        yield "sums", f"What is {a} times {b}?", str(a * b)
