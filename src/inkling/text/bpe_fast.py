"""`bpe.learn_merges` for much text: many merges at a time, on whole arrays with NumPy.

With `count_fast` this trains 32,768 tokens on 100 MB in about four seconds on two cores (benchmarks/tokenizer.md), the
same for every split pattern; experiments/LOG.md tells why no library does it.
"""

from collections.abc import Callable, Mapping

import numpy as np

from inkling.text.bpe import ALPHABET, Pair, id_of_byte


def learn_merges(
    counts: Mapping[bytes, int], n_merges: int, progress: Callable[[int], None] = lambda merges: None
) -> list[Pair]:
    """The first `n_merges` merges, the same as `bpe.learn_merges` finds. Calls `progress` with those of each sweep.

    Many merges are made in one sweep. The most frequent pairs, in order, are the next merges as long as no symbol
    is the left half of one and the right half of another. For then no two of them overlap in the text, so none
    changes the count of another. And the pairs that they create come later: where (a, b) is merged before a y, the
    new pair is at most as frequent as (b, y) was, which is not among them, for b is a right half, and so came after
    them; at equal counts it comes after them too, because new symbols have the highest numbers. The same holds on
    the left. In 100 MB of text a sweep has 24 merges on average.
    """
    text = _Text(counts)
    merges: list[Pair] = []
    while len(merges) < n_merges:
        sweep = text.next_merges(n_merges - len(merges))
        if not sweep:
            break
        merges += [(int(text.left[pair]), int(text.right[pair])) for pair in sweep]
        text.merge(sweep, first_symbol=len(ALPHABET) + len(merges) - len(sweep))
        progress(len(sweep))
    return merges


class _Text:
    """All distinct chunks, one after another, as symbols in a doubly linked list; and the pairs in them.

    symbol, before, after, weight, pair: (positions + 1,). The last position stands for "there is none". `weight` is
    how often the chunk occurs. `pair` numbers the pair that starts at a position; -1 where none does.
    left, right, count: (pairs,). A pair is numbered when it is first formed; all its places are formed at once,
    and are places[places_from[pair] : places_from[pair + 1]], some of them outdated.
    """

    CANDIDATES = 1000
    SORTED = 300

    def __init__(self, counts: Mapping[bytes, int]) -> None:
        raw = np.frombuffer(b"".join(counts), dtype=np.uint8)
        none = len(raw)
        lengths = np.fromiter(map(len, counts), dtype=np.int64, count=len(counts))
        self.symbol = np.append(id_of_byte()[raw], np.int32(-1))
        self.weight = np.append(np.repeat(np.fromiter(counts.values(), np.int64, len(counts)), lengths), 0)
        self.after = np.arange(1, none + 2, dtype=np.int32)
        self.before = np.arange(-1, none, dtype=np.int32)
        stops = np.cumsum(lengths)
        self.after[stops - 1] = self.before[stops - lengths] = none
        self.after[none] = self.before[none] = none
        self.pair = np.full(none + 1, -1, dtype=np.int32)
        self.none = none
        self.pairs = 0
        self.left, self.right = np.empty(0, np.int32), np.empty(0, np.int32)
        self.count, self.places_from = np.empty(0, np.int64), np.zeros(1, np.int64)
        self.places = np.empty(0, np.int32)
        self.floor = np.iinfo(np.int64).max  # all pairs with at least this count are candidates
        self.candidates = np.empty(0, dtype=np.int64)
        self._form_pairs(np.flatnonzero(self.after[:none] < none).astype(np.int32))

    def next_merges(self, limit: int) -> list[int]:
        """The most frequent pairs in order, at most `limit`, that can be merged in one sweep."""
        sweep: list[int] = []
        lefts: set[int] = set()
        rights: set[int] = set()
        ordered = self._most_frequent()[:limit]
        for pair, left, right in zip(
            ordered.tolist(), self.left[ordered].tolist(), self.right[ordered].tolist(), strict=True
        ):
            if left in rights or right in lefts or (left == right and sweep):
                break
            sweep.append(pair)
            if left == right:  # overlaps itself
                break
            lefts.add(left)
            rights.add(right)
        return sweep

    def _most_frequent(self) -> np.ndarray:
        """The first few hundred pairs by count, then by symbols."""
        self.candidates = self.candidates[self.count[self.candidates] >= self.floor]
        if len(self.candidates) < self.CANDIDATES // 4 and self.floor > 1:
            counts = self.count[: self.pairs]
            self.floor = max(1, _nth_largest(counts, self.CANDIDATES))
            self.candidates = np.flatnonzero(counts >= self.floor)
        counts = self.count[self.candidates]
        best = self.candidates[counts >= _nth_largest(counts, self.SORTED)]
        return best[np.lexsort((self.right[best], self.left[best], -self.count[best]))]

    def merge(self, sweep: list[int], first_symbol: int) -> None:
        """Join the places of the pairs of `sweep`; the first becomes `first_symbol`, the next one more, ..."""
        places = [self.places[self.places_from[pair] : self.places_from[pair + 1]] for pair in sweep]
        which = np.repeat(np.arange(len(sweep), dtype=np.int32), [len(some) for some in places])
        at = np.concatenate(places)
        still = self.pair[at] == np.array(sweep)[which]
        at, which = at[still], which[still]
        if self.left[sweep[0]] == self.right[sweep[0]]:
            at = self._every_other(at)
            which = which[: len(at)]
        gone = self.after[at]
        previous, following = self.before[at], self.after[gone]
        self.symbol[at] = first_symbol + which
        self.symbol[gone] = -1
        previous = previous[self.symbol[previous] >= 0]  # unless it is none, or went in this sweep
        broken = np.concatenate((previous, gone))
        broken = broken[self.pair[broken] >= 0]
        np.subtract.at(self.count, self.pair[broken], self.weight[broken])
        self.count[sweep] = 0
        self.pair[at] = self.pair[gone] = -1
        self.after[at] = following
        self.before[following] = at
        self._form_pairs(np.concatenate((previous, at[following != self.none])))

    def _every_other(self, at: np.ndarray) -> np.ndarray:
        """Of the places of a pair of equal symbols those that do not overlap, from the left: aaaaa is aa aa a."""
        kept, taken = [], -1
        at = np.sort(at)
        for place, following in zip(at.tolist(), self.after[at].tolist(), strict=True):
            if place != taken:
                kept.append(place)
                taken = following
        return np.array(kept, dtype=np.int32)

    def _form_pairs(self, at: np.ndarray) -> None:
        """Number the new pairs that start at the places `at`, and count them."""
        keys = (self.symbol[at].astype(np.int64) << 32) | self.symbol[self.after[at]]
        # Pairs of bytes fit into 16 bits, which NumPy sorts ten times as fast.
        order = np.argsort(keys if self.pairs else ((keys >> 24) | keys).astype(np.uint16), kind="stable")
        keys, at = keys[order], at[order]
        first = _first_of_each(keys)
        old, new = self.pairs, self.pairs + len(first)
        start = self.places_from[old]
        self.left = _extend(self.left, old, keys[first] >> 32)
        self.right = _extend(self.right, old, keys[first] & 0xFFFFFFFF)
        self.count = _extend(self.count, old, np.add.reduceat(self.weight[at], first) if len(first) else first)
        self.places = _extend(self.places, start, at)
        self.places_from = _extend(self.places_from, old + 1, start + np.append(first[1:], len(at))[: len(first)])
        self.pair[at] = np.repeat(np.arange(old, new, dtype=np.int32), np.diff(np.append(first, len(at))))
        self.pairs = new
        self.candidates = np.append(self.candidates, np.flatnonzero(self.count[old:new] >= self.floor) + old)


def _first_of_each(ordered: np.ndarray) -> np.ndarray:
    """Where each group of equal values starts: (groups,)."""
    if not len(ordered):
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))


def _nth_largest(values: np.ndarray, n: int) -> int:
    """The n-th largest value, or the smallest where there are fewer."""
    if not len(values):
        return 0
    n = min(n, len(values))
    return int(np.partition(values, len(values) - n)[len(values) - n])


def _extend(array: np.ndarray, size: int, more: np.ndarray) -> np.ndarray:
    """`array`, of which `size` entries are in use, with `more` after them; twice as long when it is full."""
    if size + len(more) > len(array):
        array = np.concatenate((array[:size], np.empty(size + 2 * len(more), dtype=array.dtype)))
    array[size : size + len(more)] = more
    return array
