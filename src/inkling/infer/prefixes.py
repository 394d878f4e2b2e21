"""Beginnings of prompts that were read before: many requests share a system text, or all of a conversation but its end.

Kept in chunks, each under all ids up to its end, because keys and values depend on everything before them. A chunk is
always read in the same piece, so alone on its machine a request gets the same numbers whether it is read or remembered.
"""

from array import array
from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor

from inkling.infer.cache import KVCache


class Prefixes:
    """Keys and values of the chunks used last, up to `max_tokens` tokens."""

    def __init__(self, chunk: int, max_tokens: int) -> None:
        self.chunk = chunk
        self.max_chunks = max(1, max_tokens // chunk)
        self._kept: OrderedDict[bytes, tuple[Tensor, Tensor]] = OrderedDict()  # the one used longest ago comes first

    def fill(self, cache: KVCache, row: int, ids: Sequence[int]) -> int:
        """Let `row` have read as much of `ids` as is remembered, its last id excepted; returns how many it now need
        not read."""
        start = before = int(cache.lengths[row])
        while start % self.chunk == 0 and start + self.chunk < len(ids):
            key = _key(ids[: start + self.chunk])
            if key not in self._kept:
                break
            cache.append(row, *self._kept[key])
            start += self.chunk
        if start > before:
            self._touch(ids[:start])
        return start - before

    def keep(self, cache: KVCache, row: int, ids: Sequence[int]) -> None:
        """Remember the last chunk of `ids`, all of which `row` has read."""
        end = len(ids)
        if end > self.max_chunks * self.chunk:  # it would push out its own beginning
            return
        part = slice(end - self.chunk, end)
        self._kept[_key(ids)] = cache.k[:, row, :, part].clone(), cache.v[:, row, :, part].clone()  # (L, K, chunk, D)
        self._touch(ids)
        if len(self._kept) > self.max_chunks:
            self._kept.popitem(last=False)

    def _touch(self, ids: Sequence[int]) -> None:
        """Count the chunks of `ids` as used, its beginning last: an end without its beginning is of no use."""
        for end in range(len(ids) - len(ids) % self.chunk, 0, -self.chunk):
            if (key := _key(ids[:end])) in self._kept:
                self._kept.move_to_end(key)


def _key(ids: Sequence[int]) -> bytes:
    return array("q", ids).tobytes()
