"""Arrays that lie in one file, or in several that follow each other, read through `numpy.memmap`."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

# Files that are mapped at once, in each array: a mapping holds an open file, and macOS grants 256 to a process.
MAPPED = 64


class ShardedArray:
    """Behaves like the one-dimensional, read-only array of all its files together, as far as slices go."""

    ndim = 1

    def __init__(self, files: Sequence[Path], lengths: Sequence[int], dtype: str) -> None:
        self.files = tuple(files)
        self.dtype = np.dtype(dtype)
        self._stops = list(accumulate(lengths))
        self._mapped = lru_cache(MAPPED)(self._map)

    def __len__(self) -> int:
        return self._stops[-1]

    @property
    def shape(self) -> tuple[int]:
        return (len(self),)

    @property
    def size(self) -> int:
        return len(self)

    @property
    def nbytes(self) -> int:
        return len(self) * self.dtype.itemsize

    def __getitem__(self, index: Any) -> Any:
        """An id for a number, and for a slice the ids as an array: a view unless the slice crosses files."""
        if not isinstance(index, slice):
            at = range(len(self))[index]
            return self[at : at + 1][0]
        start, stop, step = index.indices(len(self))
        if step != 1:
            return np.asarray(self)[index]
        first = bisect_right(self._stops, start)
        found = []
        for number in range(first, len(self.files)):
            begin = self._stops[number - 1] if number else 0
            if begin >= stop:
                break
            found.append(self._mapped(number)[max(0, start - begin) : stop - begin])
        if len(found) == 1:
            return found[0]
        return np.concatenate(found) if found else np.empty(0, self.dtype)

    def __iter__(self) -> Iterator[Any]:
        for number in range(len(self.files)):
            yield from self._mapped(number)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it in memory: for the starts of documents, not for the ids of a large data set."""
        whole = np.concatenate([self._mapped(number) for number in range(len(self.files))])
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def astype(self, dtype: Any) -> np.ndarray:
        """All of it in memory, as numbers of another kind."""
        return np.asarray(self, dtype)

    def tolist(self) -> list[int]:
        """All of it, as Python's numbers."""
        found: list[int] = np.asarray(self).tolist()
        return found

    def _map(self, number: int) -> np.ndarray:
        file = self.files[number]
        return np.memmap(file, self.dtype, "r") if file.stat().st_size else np.empty(0, self.dtype)


def open_array(files: Sequence[Path], lengths: Sequence[int], dtype: str) -> Any:
    """One file as a plain `numpy.memmap`, which has no cost of its own; several as a `ShardedArray`."""
    if len(files) == 1:
        return np.memmap(files[0], dtype, "r")
    return ShardedArray(files, lengths, dtype)
