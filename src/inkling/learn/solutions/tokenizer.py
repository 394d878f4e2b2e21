"""Exercise 1: a tokenizer by byte-pair encoding. Text becomes numbers, and back, without loss.

The ids 0 to 255 are the bytes. Each merge makes a new id, 256, 257, …, out of a pair of ids that often stand side by
side. Merges never cross the border of a chunk (`split`, which is given): so "dog." and "dog!" share a token.
"""

import re
from collections import Counter
from itertools import pairwise

Pair = tuple[int, int]


def split(text: str) -> list[str]:
    """Text → chunks: a word or a sign, each with the space before it. Joined, they are the text."""
    # given
    return re.findall(r" ?\w+| ?[^\w\s]+|\s", text)


def count_pairs(chunks: dict[tuple[int, ...], int]) -> Counter[Pair]:
    """How often each pair of neighbours occurs. `chunks` says of each chunk, as ids, how often it is in the text.

    A pair is counted at every place where it stands: {(7, 7, 7): 5} gives {(7, 7): 10}. No pair crosses a chunk.
    """
    counts: Counter[Pair] = Counter()
    for ids, times in chunks.items():
        for pair in pairwise(ids):
            counts[pair] += times
    return counts


def merge(ids: tuple[int, ...], pair: Pair, new: int) -> tuple[int, ...]:
    """`ids` with `new` in the place of each `pair`, from the left: merge((7, 7, 7), (7, 7), 256) is (256, 7)."""
    merged: list[int] = []
    i = 0
    while i < len(ids):
        if ids[i : i + 2] == pair:
            merged.append(new)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return tuple(merged)


def train(text: str, n_merges: int) -> list[Pair]:
    """Learn `n_merges` merges (fewer when no pair is left). Merge number i makes the id 256 + i.

    The next merge is the most frequent pair; of equally frequent ones the smallest: (3, 9) comes before (4, 1).
    """
    chunks: Counter[tuple[int, ...]] = Counter(tuple(chunk.encode("utf-8")) for chunk in split(text))
    merges: list[Pair] = []
    while len(merges) < n_merges:
        counts = count_pairs(chunks)
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        new = 256 + len(merges)
        merges.append(best)
        merged: Counter[tuple[int, ...]] = Counter()
        for ids, times in chunks.items():
            merged[merge(ids, best, new)] += times
        chunks = merged
    return merges


def encode(text: str, merges: list[Pair]) -> list[int]:
    """Text → ids: in each chunk the merges are done in the order in which they were learned."""
    ids: list[int] = []
    known: dict[str, tuple[int, ...]] = {}  # a text says the same words again and again
    for chunk in split(text):
        if chunk not in known:
            known[chunk] = tuple(chunk.encode("utf-8"))
            for i, pair in enumerate(merges):
                known[chunk] = merge(known[chunk], pair, 256 + i)
        ids += known[chunk]
    return ids


def decode(ids: list[int], merges: list[Pair]) -> str:
    """Ids → text. Bytes that are no UTF-8 become "\N{REPLACEMENT CHARACTER}": a model may write any ids.

    A character may lie across two tokens, so join the bytes of all ids first.
    """
    tokens = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return b"".join(tokens[i] for i in ids).decode("utf-8", errors="replace")
