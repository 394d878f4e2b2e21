"""Byte-pair encoding in plain Python: how a vocabulary is learned from text, and how text becomes its ids.

Start with the 256 bytes as symbols. Find the pair of neighbouring symbols that is most frequent in the text, make it
a new symbol, put it in the place of the pair everywhere, and repeat: after n merges there are 256 + n symbols, and
what is frequent is short. To encode a text, apply the merges to its bytes in the order in which they were learned.
(Sennrich, Haddow and Birch 2016, arXiv:1508.07909; on bytes since GPT-2: Radford et al. 2019.)

This is the slow twin: `count_fast` and `bpe_fast` learn the same merges, `encode_fast` gives the same ids, and tests
compare them. It is quick enough for megabytes, because each distinct chunk is counted once and a merge touches only
its own places.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from inkling.text.split import split
from inkling.text.tokenizer_json import byte_symbols

Pair = tuple[int, int]

# The first 256 ids: the bytes in the order of the characters that stand for them in tokenizer.json, so "!" is 0.
# GPT-2 has it so, and `tokenizers` too; it matters because ids decide between equally frequent pairs.
ALPHABET = tuple(sorted(range(256), key=byte_symbols().__getitem__))


@cache
def id_of_byte() -> np.ndarray:
    """(256,) int32: the inverse of ALPHABET."""
    ids = np.empty(256, dtype=np.int32)
    ids[list(ALPHABET)] = np.arange(256)
    return ids


# --- learning --------------------------------------------------------------------------------------------


def count_chunks(texts: Iterable[str], pattern: str) -> Counter[bytes]:
    """How often each chunk (see `split`) occurs in `texts`. Merges never cross chunks, so this is all that counts."""
    counts: Counter[bytes] = Counter()
    for text in texts:
        counts.update(chunk.encode("utf-8") for chunk in split(text, pattern))
    return counts


def learn_merges(counts: Mapping[bytes, int], n_merges: int) -> list[Pair]:
    """The first `n_merges` merges as pairs of ids, fewer if no pairs are left. Merge i makes the id 256 + i.

    The next merge is the most frequent pair; among equally frequent ones that with the lower left id, then with the
    lower right id. That is the rule of `tokenizers`. A pair is counted at each place where it stands, so twice
    in aaa, though only one of the two can be merged: the first.
    """
    # Every chunk once, as a linked list of symbols. `weight` is how often the chunk occurs. -1 is no place.
    symbol: list[int] = []
    before: list[int] = []
    after: list[int] = []
    weight: list[int] = []
    for chunk, times in counts.items():
        start = len(symbol)
        symbol += id_of_byte()[list(chunk)].tolist()
        before += [-1, *range(start, len(symbol) - 1)]
        after += [*range(start + 1, len(symbol)), -1]
        weight += [times] * len(chunk)

    count: defaultdict[Pair, int] = defaultdict(int)
    places: defaultdict[Pair, list[int]] = defaultdict(list)  # where a pair was formed; it may be gone since
    for p, q in enumerate(after):
        if q >= 0:
            count[symbol[p], symbol[q]] += weight[p]
            places[symbol[p], symbol[q]].append(p)
    queue = [(-number, pair) for pair, number in count.items()]
    heapq.heapify(queue)

    merges: list[Pair] = []
    while len(merges) < n_merges and queue:
        number, pair = heapq.heappop(queue)
        if -number != count[pair]:  # out of date: other merges have taken some of its places
            if count[pair]:
                heapq.heappush(queue, (-count[pair], pair))
            continue
        a, b = pair
        new = len(ALPHABET) + len(merges)
        merges.append(pair)
        formed = set()
        for p in places.pop(pair):
            q = after[p]
            if symbol[p] != a or q < 0 or symbol[q] != b:
                continue
            left, right = before[p], after[q]
            symbol[p], symbol[q] = new, -1
            after[p] = right
            if left >= 0:
                count[symbol[left], a] -= weight[p]
                count[symbol[left], new] += weight[p]
                places[symbol[left], new].append(left)
                formed.add((symbol[left], new))
            if right >= 0:
                before[right] = p
                count[b, symbol[right]] -= weight[p]
                count[new, symbol[right]] += weight[p]
                places[new, symbol[right]].append(p)
                formed.add((new, symbol[right]))
        del count[pair]
        for grown in formed:
            if count[grown]:
                heapq.heappush(queue, (-count[grown], grown))
    return merges


# --- using -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BytePairEncoding:
    """A vocabulary: the bytes, then the merges in order, then the special tokens."""

    pattern: str
    merges: list[Pair]
    specials: tuple[str, ...] = ()

    @cached_property
    def tokens(self) -> list[bytes]:
        """The bytes of every id."""
        tokens = [bytes([byte]) for byte in ALPHABET]
        for left, right in self.merges:
            tokens.append(tokens[left] + tokens[right])
        return tokens + [special.encode("utf-8") for special in self.specials]

    @cached_property
    def _merged(self) -> dict[Pair, int]:
        return {pair: len(ALPHABET) + i for i, pair in enumerate(self.merges)}

    def encode(self, text: str) -> list[int]:
        """Ordinary text → ids. What looks like a special token is plain characters."""
        known: dict[str, list[int]] = {}  # most chunks of a text come again
        ids: list[int] = []
        for chunk in split(text, self.pattern):
            if chunk not in known:
                known[chunk] = self.encode_chunk(chunk.encode("utf-8"))
            ids += known[chunk]
        return ids

    def encode_chunk(self, chunk: bytes) -> list[int]:
        """The merges, in order, applied to the bytes of one chunk; among equal ones the leftmost first.

        A queue holds the merges that are possible, so that a chunk of n bytes takes n log n steps, not n².
        """
        symbol = id_of_byte()[list(chunk)].tolist()
        before = list(range(-1, len(symbol) - 1))
        after = [*range(1, len(symbol)), -1]
        queue: list[tuple[int, int]] = []  # (the id it would make, its place)

        def consider(p: int) -> None:
            if p >= 0 and after[p] >= 0:
                new = self._merged.get((symbol[p], symbol[after[p]]))
                if new is not None:
                    heapq.heappush(queue, (new, p))

        for p in range(len(symbol)):
            consider(p)
        while queue:
            new, p = heapq.heappop(queue)
            q = after[p]
            if q < 0 or self._merged.get((symbol[p], symbol[q])) != new:
                continue  # another merge has taken one of the two
            symbol[p], symbol[q] = new, -1
            after[p] = after[q]
            after[q] = -1
            if after[p] >= 0:
                before[after[p]] = p
            consider(before[p])
            consider(p)
        return [i for i in symbol if i >= 0]

    def decode(self, ids: Iterable[int]) -> bytes:
        """Ids → the bytes of the text. They are valid UTF-8 if the ids came from a text."""
        return b"".join(self.tokens[i] for i in ids)
