"""The exam: `python exam.py` asks what training never asked, and counts."""

import sys
from collections import Counter

import facts
from chat import reply
from data import BOT
from model import GPT
from tokenizer import Tokenizer


def main(count: int) -> dict[str, float]:
    """Ask, print the first wrong answer of each kind, and give the share of right ones."""
    model, tokenizer = GPT.load(BOT), Tokenizer.load(BOT / "tokenizer.json")
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for kind, question, expected in facts.exam(seed=99, count=count):
        answer = "".join(reply(model, tokenizer, [{"role": "user", "content": question}]))
        if expected not in answer and asked[kind] == right[kind]:
            print(f"first mistake: {question} {answer!r}, expected {expected!r}")
        asked[kind] += 1
        right[kind] += expected in answer
    for kind in asked:
        print(f"{kind:<6} {right[kind]} of {asked[kind]}")
    return {kind: right[kind] / asked[kind] for kind in asked}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 150)
