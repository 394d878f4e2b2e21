"""A question of CORE as texts, and which of their tokens decide.

Before a question stand solved ones, each as it would be asked, with its answer and an empty line.

multiple_choice    the texts differ in their end: what the first difference begins is scored
schema             the texts differ in the middle: what all end with is scored
language_modeling  one text: what follows the context is scored

What texts have in common is found in their tokens, not their letters: a tokenizer may join the last letter of one part
and the first of the next.
"""

import random
from collections.abc import Sequence

from inkling.evals.core.bundle import OPTIONS, CoreTask, Item
from inkling.evals.likelihood import Span, beginning, cropped
from inkling.text.tokenizer import Tokenizer


def spans(task: CoreTask, index: int, tokenizer: Tokenizer, block_size: int) -> list[Span]:
    """One span for each option of question `index`; of language modelling, one. Long texts lose their beginning."""
    texts = render(task, index)
    before = beginning(tokenizer)
    ids = [before + tokenizer.encode(text) for text in texts]
    shortest = min(map(len, ids))
    if task.kind == "schema":
        ending = _common(ids, shortest, from_end=True)
        found = [Span(some, max(1, len(some) - ending)) for some in ids]
    else:
        # One token at least is scored, where an option is the beginning of another.
        last = len(ids[-1]) - 1 if task.kind == "language_modeling" else shortest - 1
        start = max(1, min(_common(ids, shortest), last))
        found = [Span(some, start) for some in ids]
        found = found[-1:] if task.kind == "language_modeling" else found
    return [cropped(span, block_size) for span in found]


def render(task: CoreTask, index: int) -> list[str]:
    """The texts of question `index`: one for each option; of language modelling without its continuation, and with."""
    shown = "".join(f"{_solved(task, task.items[i])}\n\n" for i in examples(task, index))
    item = task.items[index]
    if task.kind == "multiple_choice":
        return [f"{shown}{item['query']}{task.delimiter}{choice}" for choice in item["choices"]]
    if task.kind == "schema":
        return [f"{shown}{given}{task.delimiter}{item['continuation']}" for given in item["context_options"]]
    asked = f"{shown}{str(item['context']).strip()}{task.delimiter}"
    # Without its spaces at the end, which in the whole text belong to the tokens that follow.
    return [asked.strip(), f"{asked}{item['continuation']}"]


def examples(task: CoreTask, index: int) -> list[int]:
    """Which questions are shown, solved, before question `index`: any but itself.

    Python's own generator and this seed, unlike every other draw here: they make the published figures.
    """
    drawn = random.Random(1234 + index).sample(range(len(task.items) - 1), task.shots)
    return [i + (i >= index) for i in drawn]


def _solved(task: CoreTask, item: Item) -> str:
    if task.kind == "language_modeling":
        return f"{str(item['context']).strip()}{task.delimiter}{item['continuation']}"
    right = item[OPTIONS[task.kind]][item["gold"]]
    return (
        f"{item['query']}{task.delimiter}{right}"
        if task.kind == "multiple_choice"
        else (f"{right}{task.delimiter}{item['continuation']}")
    )


def _common(texts: Sequence[Sequence[int]], most: int, from_end: bool = False) -> int:
    """How many tokens all texts begin with, or end with."""
    for i in range(most):
        place = -1 - i if from_end else i
        if any(text[place] != texts[0][place] for text in texts[1:]):
            return i
    return most
