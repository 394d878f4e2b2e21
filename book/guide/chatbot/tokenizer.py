"""Text ↔ ids: byte-pair encoding, and the marks of a conversation."""

import json
import re
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

SPECIALS = ("<|end|>", "<|user|>", "<|bot|>", "<|call|>", "<|result|>")


def split(text: str) -> list[str]:
    """A word or sign with the space before it; each digit alone, so that numbers are copied digit by digit."""
    return re.findall(r" ?[^\W\d]+|\d| ?[^\w\s]+|\s|_", text)


def merge(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """`ids` with `new` for each `pair`, from the left."""
    merged: list[int] = []
    for i in ids:
        if merged and (merged[-1], i) == pair:
            merged[-1] = new
        else:
            merged.append(i)
    return merged


def train(text: str, n_merges: int) -> list[tuple[int, int]]:
    """The merges of exercise 1. Only chunks that hold the pair are counted anew, or this would take minutes."""
    counts = Counter(split(text))
    chunks = [list(chunk.encode("utf-8")) for chunk in counts]
    times = list(counts.values())
    total: Counter[tuple[int, int]] = Counter()
    where: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for c, ids in enumerate(chunks):
        for pair in pairwise(ids):
            total[pair] += times[c]
            where[pair].add(c)
    merges: list[tuple[int, int]] = []
    while len(merges) < n_merges and total:
        best = min(total, key=lambda pair: (-total[pair], pair))
        for c in where.pop(best):
            for pair in pairwise(chunks[c]):
                total[pair] -= times[c]
            chunks[c] = merge(chunks[c], best, 256 + len(merges))
            for pair in pairwise(chunks[c]):
                total[pair] += times[c]
                where[pair].add(c)
        del total[best]
        merges.append(best)
    return merges


class Tokenizer:
    """Bytes, then merges, then the marks. Ordinary text never becomes a mark, whatever it looks like."""

    def __init__(self, merges: list[tuple[int, int]]) -> None:
        self.merges = merges
        self.tokens = [bytes([byte]) for byte in range(256)]
        for left, right in merges:
            self.tokens.append(self.tokens[left] + self.tokens[right])
        self.special = {name: len(self.tokens) + i for i, name in enumerate(SPECIALS)}
        self.vocab_size = len(self.tokens) + len(SPECIALS)
        self.known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Text → ids."""
        return [i for chunk in split(text) for i in self.encode_chunk(chunk)]

    def encode_chunk(self, chunk: str) -> list[int]:
        """One chunk; most come again, so they are remembered."""
        if chunk not in self.known:
            ids = list(chunk.encode("utf-8"))
            for i, pair in enumerate(self.merges):
                ids = merge(ids, pair, 256 + i) if len(ids) > 1 else ids
            self.known[chunk] = ids
        return self.known[chunk]

    def decode(self, ids: list[int]) -> str:
        """Ids → text. Marks are left out."""
        return b"".join(self.tokens[i] for i in ids if i < len(self.tokens)).decode("utf-8", errors="replace")

    def save(self, file: Path) -> None:
        """The merges are all there is to save."""
        file.write_text(json.dumps(self.merges), encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> "Tokenizer":
        """The inverse of `save`."""
        return cls([(left, right) for left, right in json.loads(file.read_text(encoding="utf-8"))])
