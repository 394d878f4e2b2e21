"""Beginnings of prompts that were read before: many requests share a system text, or all of a conversation but its end.

Kept in chunks, each under all ids up to its end, because keys and values depend on everything before them. A chunk is
always read in the same piece, so alone on its machine a request gets the same numbers whether it is read or remembered.
"""

from array import array
from collections import OrderedDict
from collections.abc import Sequence

import torch

from inkling.infer.cache import KVCache


class Prefixes:
    """Keys and values of the chunks used last, up to `max_tokens` tokens."""

    def __init__(self, chunk: int, max_tokens: int) -> None:
        self.chunk = chunk
        self.max_chunks = max(1, max_tokens // chunk)
        self._places: OrderedDict[bytes, int] = OrderedDict()  # the one used longest ago comes first
        # Room for all of them at once: chunks that come and go in memory of their own leave gaps, and a server grows.
        self._k = self._v = torch.empty(0)  # (places, L, K, chunk, D) as soon as there is something to keep

    def fill(self, cache: KVCache, row: int, ids: Sequence[int]) -> int:
        """Let `row` have read as much of `ids` as is remembered, its last id excepted; returns how many it now need
        not read."""
        start = before = int(cache.lengths[row])
        while start % self.chunk == 0 and start + self.chunk < len(ids):
            place = self._places.get(_key(ids[: start + self.chunk]))
            if place is None:
                break
            cache.append(row, self._k[place], self._v[place])
            start += self.chunk
        if start > before:
            self._touch(ids[:start])
        return start - before

    def keep(self, cache: KVCache, row: int, ids: Sequence[int]) -> None:
        """Remember the last chunk of `ids`, all of which `row` has read."""
        end, key = len(ids), _key(ids)
        if end > self.max_chunks * self.chunk:  # it would push out its own beginning
            return
        self._touch(ids)
        if key not in self._places:
            part = slice(end - self.chunk, end)
            k, v = cache.k[:, row, :, part], cache.v[:, row, :, part]  # (L, K, chunk, D)
            if not self._k.numel():
                shape = (self.max_chunks, *k.shape)
                self._k, self._v = k.new_empty(shape), v.new_empty(shape)
            is_full = len(self._places) == self.max_chunks
            place = self._places.popitem(last=False)[1] if is_full else len(self._places)
            self._k[place], self._v[place] = k, v
            self._places[key] = place
            self._touch(ids)

    def _touch(self, ids: Sequence[int]) -> None:
        """Count the chunks of `ids` as used, its beginning last: an end without its beginning is of no use."""
        for end in range(len(ids) - len(ids) % self.chunk, 0, -self.chunk):
            if (key := _key(ids[:end])) in self._places:
                self._places.move_to_end(key)


def _key(ids: Sequence[int]) -> bytes:
    return array("q", ids).tobytes()
