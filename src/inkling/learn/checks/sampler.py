"""Exercise 7: against hand-made distributions, frequencies of many draws, and a model that only counts."""

import math
from types import ModuleType

import torch
from torch import Tensor

from inkling.learn.compare import right, same
from inkling.learn.numbers import random_tensor
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT

NEVER = -math.inf
PROBABILITIES = torch.tensor([0.1, 0.5, 0.15, 0.25])  # likeliest first: 1, 3, 2, 0
LOGITS = PROBABILITIES.log()


def check_top_k(mine: ModuleType) -> None:
    """keep_top_k: the k likeliest stay as they are"""
    kept = torch.tensor([NEVER, LOGITS[1], NEVER, LOGITS[3]])
    mistakes = {
        "One too many.": torch.tensor([NEVER, LOGITS[1], LOGITS[2], LOGITS[3]]),
        "What is cut gets −∞; a logit of 0 has a probability.": kept.nan_to_num(neginf=0.0),
        "The likeliest were cut, and the others kept.": torch.tensor([LOGITS[0], NEVER, LOGITS[2], NEVER]),
    }
    same("keep_top_k(logits, 2)", mine.keep_top_k(LOGITS.clone(), 2), kept, mistakes)
    same("keep_top_k(logits, 0), which keeps all", mine.keep_top_k(LOGITS.clone(), 0), LOGITS)
    same("keep_top_k(logits, 9), more than there are", mine.keep_top_k(LOGITS.clone(), 9), LOGITS)


def check_top_p(mine: ModuleType) -> None:
    """keep_top_p: the fewest that reach p, the one that crosses it included"""
    two = torch.tensor([NEVER, LOGITS[1], NEVER, LOGITS[3]])
    one = torch.tensor([NEVER, LOGITS[1], NEVER, NEVER])
    nothing = torch.full((4,), NEVER)
    least = "Nothing is left to draw from: the likeliest token always stays."
    same("keep_top_p(logits, 0.1)", mine.keep_top_p(LOGITS.clone(), 0.1), one, {least: nothing})
    short = "The token that crosses p belongs to the nucleus: cut what has p or more before it."
    crossing = "keep_top_p(logits, 0.7): 0.5 is not enough, 0.5 + 0.25 is"
    same(crossing, mine.keep_top_p(LOGITS.clone(), 0.7), two, {short: one})
    same("keep_top_p(logits, 1.0)", mine.keep_top_p(LOGITS.clone(), 1.0), LOGITS)
    same("keep_top_p(logits + 7, 0.4): probabilities, not logits", mine.keep_top_p(LOGITS + 7, 0.4), one + 7)


def check_greedy(mine: ModuleType) -> None:
    """draw: temperature 0 takes the likeliest token"""
    draws = {int(mine.draw(LOGITS.clone(), 0, 0, 1.0, _dice(i))) for i in range(20)}
    same("20 draws at temperature 0", sorted(draws), [1])


def check_frequencies(mine: ModuleType) -> None:
    """draw: tokens come as often as the softmax says, sharper and flatter with the temperature"""
    for temperature in (1.0, 0.5, 2.0):
        got = _frequencies(mine, temperature, 0, 1.0)
        expected = (LOGITS / temperature).softmax(-1)
        turned = (LOGITS * temperature).softmax(-1)
        reason = ""
        if not _close(got, expected):
            if temperature != 1 and _close(got, turned):
                reason = "Divide the logits by the temperature, do not multiply."
            elif temperature != 1 and _close(got, PROBABILITIES):
                reason = "The temperature changes nothing."
        what = f"Of 2,000 draws at temperature {temperature} tokens 0 to 3 got the shares {_percent(got)}; "
        right(_close(got, expected), f"{what}expected {_percent(expected)}.", reason)


def check_cuts(mine: ModuleType) -> None:
    """draw: top-k and top-p cut, and what is left shares the rest"""
    for top_k, top_p in ((2, 1.0), (0, 0.7), (3, 0.6)):
        got = _frequencies(mine, 1.0, top_k, top_p)
        expected = torch.tensor([0.0, 2 / 3, 0.0, 1 / 3])
        right(
            _close(got, expected),
            f"top_k={top_k}, top_p={top_p}: shares {_percent(got)}; expected {_percent(expected)}.",
            "Cut with top-k first; top-p then counts the probabilities of what is left." if top_k and top_p < 1 else "",
        )


def check_generate(mine: ModuleType) -> None:
    """generate: equal to inkling's at temperature 0"""
    model = GPT(GPTConfig(vocab_size=13, block_size=32, n_layer=1, n_head=2, n_embd=8))
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.copy_(random_tensor(*parameter.shape, seed=i))
    expected = model.generate([1, 2, 3], 10, temperature=0)
    got = list(mine.generate(model, [1, 2, 3], 10, block_size=32, temperature=0))
    mistakes = {"Give the new tokens only, without those that were given.": [1, 2, 3, *expected]}
    same("10 tokens", got, expected, mistakes)


def check_stop(mine: ModuleType) -> None:
    """generate: ends at `stop`, which is not part of the text, or at the limit"""
    got = list(mine.generate(_count_on, [3], 50, block_size=8, stop=6, temperature=0))
    mistakes = {
        "The stop token itself is not part of the text.": [4, 5, 6],
        "It did not stop.": [(4 + i) % 10 for i in range(50)],
    }
    same("counting on from 3 with stop=6", got, [4, 5], mistakes)
    same("three tokens at most", list(mine.generate(_count_on, [3], 3, 8, temperature=0)), [4, 5, 6])
    same("no token at all", list(mine.generate(_count_on, [3], 0, 8, temperature=0)), [])


def check_context(mine: ModuleType) -> None:
    """generate: the model never sees more than block_size tokens, and always the last ones"""
    seen: list[list[int]] = []

    def watch(ids: Tensor) -> Tensor:
        seen.append(ids[0].tolist())
        return _count_on(ids)

    prompt = [0, 1, 2]
    mine.generate(watch, prompt, 4, block_size=4, temperature=0)
    long = "The context grew beyond block_size: show the model the last block_size tokens only."
    grown = [list(range(n)) for n in range(3, 7)]
    same("what the model saw", seen, [[0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]], {long: grown})
    same("the list that was given", prompt, [0, 1, 2], {"The list of the caller was changed; copy it.": list(range(7))})


def check_seed(mine: ModuleType) -> None:
    """generate: the same seed, the same text; and not one draw repeated"""

    def flat(ids: Tensor) -> Tensor:
        return torch.zeros(1, ids.size(1), 100)

    one, two = (list(mine.generate(flat, [1], 30, 8, seed=5)) for _ in range(2))
    same("the second text with seed 5", two, one)
    right(one != list(mine.generate(flat, [1], 30, 8, seed=6)), "Another seed gave the same text.")
    again = "A new generator with the same seed was made for every token. Make one before the loop."
    right(len(set(one)) > 10, f"30 draws from 100 equal tokens gave only {len(set(one))} different ones.", again)


def _count_on(ids: Tensor) -> Tensor:
    """A model that is sure that n + 1 comes after n, of ten tokens."""
    return 50.0 * torch.nn.functional.one_hot((ids + 1) % 10, 10).float()


def _dice(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _frequencies(mine: ModuleType, temperature: float, top_k: int, top_p: float) -> Tensor:
    dice = _dice(1)
    draws = [int(mine.draw(LOGITS.clone(), temperature, top_k, top_p, dice)) for _ in range(2000)]
    return torch.bincount(torch.tensor(draws), minlength=4) / 2000


def _close(got: Tensor, expected: Tensor) -> bool:
    """Within 4 in a hundred, which is 3.5 standard deviations of 2,000 draws; and 0 where 0 is expected."""
    return got.shape == expected.shape and bool(((got - expected).abs() < 0.04).all()) and not got[expected == 0].any()


def _percent(shares: Tensor) -> str:
    return ", ".join(f"{share:.0%}" for share in shares.tolist())
