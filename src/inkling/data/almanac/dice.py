"""Choices that depend on a key and on nothing else: every text of the almanac throws its own dice.

`Dice("story", seed, index)` deals the words of `keyed.words` for that key one after another. It lives as long as one
text is being written, so the same key gives the same text, whatever was written before it.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from inkling.keyed import words

T = TypeVar("T")

_BLOCK = 64  # words fetched at a time: enough for most texts


class Dice:
    """Picks, samples and shuffles for one key."""

    def __init__(self, *key: str | int) -> None:
        self._key = key
        self._blocks = 0
        self._words: list[int] = []

    def _word(self) -> int:
        if not self._words:
            self._words = words(_BLOCK, "almanac", *self._key, self._blocks).tolist()[::-1]
            self._blocks += 1
        return self._words.pop()

    def below(self, bound: int) -> int:
        """A whole number from 0 to bound - 1."""
        return self._word() % bound

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + self.below(high - low + 1)

    def chance(self, probability: float) -> bool:
        """True so often."""
        return self._word() * 2.0**-64 < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.below(len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """All of them in another order (Fisher and Yates)."""
        result = list(options)
        for last in range(len(result) - 1, 0, -1):
            other = self.below(last + 1)
            result[last], result[other] = result[other], result[last]
        return result

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        """So many different ones, or all there are."""
        result = list(options)
        count = min(count, len(result))
        for place in range(count):
            other = place + self.below(len(result) - place)
            result[place], result[other] = result[other], result[place]
        return result[:count]

    def weighted(self, weights: Mapping[str, float]) -> str:
        """A key of `weights`, as often as its share of their sum."""
        point = self._word() * 2.0**-64 * sum(weights.values())
        for name, weight in weights.items():
            point -= weight
            if point < 0:
                return name
        return max(weights, key=lambda name: weights[name])  # rounding left nothing below zero
