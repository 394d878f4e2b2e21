"""`bpe.count_chunks` for much text: the chunks of whole blocks are split, packed into integers and sorted by NumPy."""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from inkling.text.split_fast import chunks_of_block

_BLOCK = 1 << 19  # characters that are split and counted at once: 256 KB to 1 MB are equally fast
_WORKERS = min(4, os.cpu_count() or 1)


def count_chunks(
    texts: Iterable[str], pattern: str, progress: Callable[[int], None] = lambda size: None
) -> dict[bytes, int]:
    """How often each chunk of `texts` occurs. Calls `progress` with the bytes of each finished block."""
    long: Counter[bytes] = Counter()
    packed = (_Packed(1), _Packed(2))
    for block in _ahead(lambda texts: _Block(texts, pattern, packed), _blocks(texts)):
        long.update(block.long)
        for pack, found in zip(packed, block.found, strict=True):
            pack.add(found)
        progress(block.size)
    return {**packed[0].counts(), **packed[1].counts(), **long}


class _Block:
    """The counted chunks of some texts."""

    def __init__(self, texts: list[str], pattern: str, packed: "tuple[_Packed, ...]") -> None:
        raw, starts, stops = chunks_of_block(texts, pattern)
        self.size = len(raw)
        lengths = stops - starts
        # The eight bytes from each position on, as an integer.
        eight = np.ndarray(shape=(len(raw) + 8,), dtype="<u8", buffer=raw + bytes(16), strides=(1,))
        self.found = []
        for pack in packed:
            fits = lengths <= pack.longest
            self.found.append(pack.group(eight, starts[fits], lengths[fits]))
            starts, lengths = starts[~fits], lengths[~fits]
        stops = starts + lengths
        self.long = [raw[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]


class _Packed:
    """Counts short chunks as integers, 15 times as fast as in a dictionary.

    A chunk is one or two words of eight bytes; bytes after its end are zero, and the last byte is its length.
    """

    JOIN = 1 << 22  # found chunks of several blocks are put together when there are so many
    _MASKS = np.array([(1 << 8 * length) - 1 for length in range(9)], dtype=np.uint64)

    def __init__(self, words: int) -> None:
        self.words = words
        self.longest = 8 * words - 1
        self._found: list[tuple[list[np.ndarray], np.ndarray]] = []
        self._size = 0

    def group(self, eight: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """The distinct chunks, as words, and how often each occurs."""
        words = []
        for word in range(self.words):
            words.append(eight.take(starts + 8 * word) & self._MASKS.take(lengths - 8 * word, mode="clip"))
        words[-1] |= lengths.astype(np.uint64) << np.uint64(56)
        if self.words == 1:
            distinct, times = np.unique(words[0], return_counts=True)  # sorts with the processor's vectors
            return [distinct], times
        return _sum_equal(words, np.ones(len(starts), dtype=np.int64))

    def add(self, found: tuple[list[np.ndarray], np.ndarray]) -> None:
        self._found.append(found)
        self._size += len(found[1])
        if self._size > self.JOIN:
            self._join()

    def _join(self) -> None:
        words = [np.concatenate([words[word] for words, _ in self._found]) for word in range(self.words)]
        self._found = [_sum_equal(words, np.concatenate([times for _, times in self._found]))]
        self._size = 0  # of what came since

    def counts(self) -> dict[bytes, int]:
        """All that was added, as `bpe.count_chunks` has it."""
        if not self._found:
            return {}
        self._join()
        ((words, times),) = self._found
        raw = np.stack(words, axis=1).astype("<u8").tobytes()
        lengths = (words[-1] >> np.uint64(56)).tolist()
        starts = range(0, len(raw), 8 * self.words)
        chunks = (raw[start : start + length] for start, length in zip(starts, lengths, strict=True))
        return dict(zip(chunks, times.tolist(), strict=True))


def _sum_equal(words: list[np.ndarray], times: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Rows of `words` with what `times` has for them in all, each row once."""
    if not len(times):
        return words, times
    order = np.lexsort(words)
    words = [word[order] for word in words]
    changes = np.any([word[1:] != word[:-1] for word in words], axis=0)
    first = np.flatnonzero(np.append(True, changes))
    return [word[first] for word in words], np.add.reduceat(times[order], first)


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in groups of about a block, ASCII apart from the rest, which is slower to split."""
    groups: dict[bool, list[str]] = {True: [], False: []}
    sizes = {True: 0, False: 0}
    for text in texts:
        ascii_only = text.isascii()
        groups[ascii_only].append(text)
        sizes[ascii_only] += len(text)
        if sizes[ascii_only] >= _BLOCK:
            yield groups[ascii_only]
            groups[ascii_only], sizes[ascii_only] = [], 0
    yield from (group for group in groups.values() if group)


def _ahead(work: Callable[[list[str]], _Block], blocks: Iterable[list[str]]) -> Iterator[_Block]:
    """`map`, a few blocks ahead on threads: NumPy lets go of Python's lock."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        waiting: deque[Future[_Block]] = deque()
        for block in blocks:
            waiting.append(pool.submit(work, block))
            if len(waiting) > _WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
