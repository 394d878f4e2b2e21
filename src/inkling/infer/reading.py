"""Prefill: bringing rows to where only their last token is unread, which all rows then read together.

A row that is only decoding is there already. Prompts, and contexts that overflowed and start anew, are read many at
once, and what several rows have in common is read once.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch

from inkling.infer.cache import KVCache
from inkling.infer.prefixes import Prefixes
from inkling.infer.row import Row
from inkling.model.gpt import GPT

# How prompts are read together. 256 prompts of 10 to 30 tokens, each continued by 5 to 40, 4 layers, 256 wide, one CPU
# core, against reading them one by one: 1.26 times as fast with 64 rows, 1.37 with 128, 1.44 with 256.
READ_TOGETHER = 2048  # tokens at once; more gain nothing, and take memory
FILLING = 1.34  # the longest of a group by the shortest: at most a quarter of what is read only fills it up

# What is read next: (how many tokens of it are read already, all ids up to where to read now) → the rows that want it.
Wanted = dict[tuple[int, tuple[int, ...]], list[int]]


def read(
    model: GPT,
    rows: Sequence[Row],
    cache: KVCache,
    chunk: int | None,
    reads: int | None,
    prefixes: Prefixes | None,
) -> list[int]:
    """Read about `reads` tokens, a chunk of each row at most; returns the rows that have only their last unread."""
    for i, row in enumerate(rows):
        if row.fit(model.config.block_size):
            cache.reset(i)
        if prefixes:
            row.reused += prefixes.fill(cache, i, row.context[: row.given])
    wanted = _within(_wanted(rows, cache, chunk), reads)
    _read_beginnings(model, cache, wanted)
    _read_further(model, cache, wanted)
    if prefixes:
        for (start, text), members in wanted.items():
            if start % prefixes.chunk == 0 and len(text) == start + prefixes.chunk <= rows[members[0]].given:
                prefixes.keep(cache, members[0], text)
    return [i for i, row in enumerate(rows) if cache.lengths[i] == len(row.context) - 1]


def _wanted(rows: Sequence[Row], cache: KVCache, chunk: int | None) -> Wanted:
    """The next chunk of every row that is not ready. Chunks end at multiples of their size, so that equal beginnings
    are cut alike, and found to be equal."""
    wanted: Wanted = {}
    for i, row in enumerate(rows):
        start, end = int(cache.lengths[i]), len(row.context) - 1
        if chunk:
            end = min(end, (start // chunk + 1) * chunk)
        if start < end:
            wanted.setdefault((start, tuple(row.context[:end])), []).append(i)
    return wanted


def _within(wanted: Wanted, reads: int | None) -> Wanted:
    """The first of what is wanted, up to about `reads` tokens, and one at least."""
    if reads is None:
        return wanted
    chosen: Wanted = {}
    total = 0
    for (start, text), members in wanted.items():
        total += len(text) - start
        if chosen and total > reads:
            break
        chosen[start, text] = members
    return chosen


def _read_beginnings(model: GPT, cache: KVCache, wanted: Wanted) -> None:
    """What begins at the first token, several texts at once."""
    for texts in alike(text for start, text in wanted if start == 0):
        together = _read_texts(model, texts)
        for source, text in enumerate(texts):
            for i in wanted[0, text]:
                cache.copy(source, i, together)


def _read_further(model: GPT, cache: KVCache, wanted: Wanted) -> None:
    """What follows on tokens that are read: later chunks, and ids that were forced. Row by row."""
    for (start, text), members in wanted.items():
        if start:
            first, *others = members
            model.hidden(torch.tensor([text[start:]], device=cache.k.device), cache.rows(first, first + 1))
            for i in others:
                cache.copy(first, i)


def _read_texts(model: GPT, texts: list[tuple[int, ...]]) -> KVCache:
    """A cache with one row for each text.

    Short texts are filled up on the right with a token that nothing sees: attention looks back only. What was
    stored for it lies behind the row's end, where the next tokens overwrite it.
    """
    weight, longest = model.lm_head.weight, max(map(len, texts))
    cache = KVCache(model.config, len(texts), weight.device, model.compute_dtype, longest)
    filled = [[*text, *[0] * (longest - len(text))] for text in texts]
    model.hidden(torch.tensor(filled, device=weight.device), cache)  # (texts, longest, C)
    cache.lengths[:] = [len(text) for text in texts]
    return cache


def alike(texts: Iterable[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """Groups of similar length, to be read together."""
    group: list[tuple[int, ...]] = []
    for text in sorted(texts, key=len):
        if group and (len(text) > FILLING * len(group[0]) or len(text) * (len(group) + 1) > READ_TOGETHER):
            yield group
            group = []
        group.append(text)
    if group:
        yield group
