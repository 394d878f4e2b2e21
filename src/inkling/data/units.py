"""Units: stretches of the input that one process encodes from start to end, whatever the others do.

A unit is a slice of a large file, some row groups of a parquet file, or several small files. Units are a function of
the input alone, and so is what is made of each, and so the data set: never of how many processes there were, or of
how often they were killed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inkling.data.meta import Split
from inkling.data.sources import almanac, parquet
from inkling.data.sources.local import kind_of
from inkling.data.sources.opening import is_compressed
from inkling.data.sources.textfile import begins_at, offset_of, slices

# A unit has about this many bytes of input: small enough to keep all processes busy to the end, and large enough
# that its own files and messages cost nothing.
LARGEST, SMALLEST, UNITS = 16 << 20, 1 << 20, 32


@dataclass(frozen=True)
class Stretch:
    """A part of a file, or the whole of it."""

    kind: str
    """txt, jsonl, parquet, bundled or almanac"""
    path: str = ""
    """of the almanac: a folder of own tables"""
    start: int = 0
    """in bytes; in a parquet file in row groups; in the almanac in documents"""
    stop: int | None = None
    """None: to the end"""
    split: Split | None = None
    """where all of it goes; None: each document goes where its hash says"""
    opens: bool = True
    """whether a document begins where this begins; not so in later slices of a .txt file"""
    closes: bool = True
    val_rows: tuple[int, ...] | None = None
    """rows, counted from the stretch's first, that are for validation; None: by their hash"""
    seed: int = 0
    """of the almanac"""


@dataclass(frozen=True)
class Unit:
    """What one process reads in one go. `size` is in bytes: of files as they are on disk, of parquet as text."""

    stretches: tuple[Stretch, ...]
    size: int


def unit_size(files: Iterable[Path]) -> int:
    """How many bytes of these files make a unit."""
    return max(SMALLEST, min(LARGEST, sum(file.stat().st_size for file in files) // UNITS))


def plan(
    files: Sequence[Path],
    column: str,
    split_of: Mapping[str, Split],
    val_rows: Sequence[int] | None = None,
) -> list[Unit]:
    """The units of all files, in order.

    `split_of` says where a .txt file goes whole; it must do so for each that is larger than a unit. `val_rows` are
    the rows of all parquet files together, ascending, that are for validation.
    """
    size = unit_size(files)
    stretches: list[tuple[Stretch, int]] = []
    rows_before = 0
    for file in files:
        kind, path, bytes_of_file = kind_of(file), str(file), file.stat().st_size
        if kind == "parquet":
            for start, stop, rows, length in _row_ranges(file, column, size):
                chosen = None
                if val_rows is not None:
                    chosen = tuple(row - rows_before for row in val_rows if rows_before <= row < rows_before + rows)
                stretches.append((Stretch(kind, path, start, stop, split_of.get(path), val_rows=chosen), length))
                rows_before += rows
        elif is_compressed(file) or bytes_of_file <= size:
            stretches.append((Stretch(kind, path, split=split_of.get(path)), bytes_of_file))
        elif kind == "txt":
            begin = begins_at(file)
            stretches += _text_slices(file, begin, bytes_of_file, size, split_of[path])
        else:
            for start in range(0, bytes_of_file, size):
                stop = min(start + size, bytes_of_file)
                stretches.append((Stretch(kind, path, start, stop), stop - start))
    return list(_grouped(stretches, size))


def plan_single(file: Path, cut: int) -> list[Unit]:
    """The units of one plain .txt file: the first `cut` characters are for training, the rest for validation."""
    size = unit_size([file])
    begin, middle, end = begins_at(file), offset_of(file, cut), file.stat().st_size
    train = _text_slices(file, begin, middle, size, "train")
    return list(_grouped(train + _text_slices(file, middle, end, size, "val"), size))


def plan_almanac(documents: int, seed: int, tables: str, conversations: bool) -> list[Unit]:
    """The units of so many documents of the almanac."""
    length = almanac.CHAT_BYTES if conversations else almanac.TEXT_BYTES
    at_once = SMALLEST // length
    ranges = [(start, min(start + at_once, documents)) for start in range(0, documents, at_once)]
    return [Unit((Stretch("almanac", tables, a, b, seed=seed),), (b - a) * length) for a, b in ranges]


def _text_slices(file: Path, start: int, stop: int, size: int, split: Split) -> list[tuple[Stretch, int]]:
    cuts = list(slices(file, start, stop, size))
    return [(Stretch("txt", str(file), a, b, split, opens=a == start, closes=b == stop), b - a) for a, b in cuts]


def _row_ranges(file: Path, column: str, size: int) -> Iterator[tuple[int, int, int, int]]:
    """(first row group, the one after the last, rows, bytes of text) of ranges of about `size` bytes of text."""
    start = rows = length = 0
    groups = parquet.row_groups(file, column)
    for number, group in enumerate(groups, start=1):
        rows, length = rows + group.rows, length + group.bytes
        if length >= size or number == len(groups):
            yield start, number, rows, length
            start, rows, length = number, 0, 0


def _grouped(stretches: list[tuple[Stretch, int]], size: int) -> Iterator[Unit]:
    """Neighbours together until they are a unit's size, so that a million small files are not a million units."""
    waiting: list[Stretch] = []
    total = 0
    for stretch, length in stretches:
        if waiting and total + length > size:
            yield Unit(tuple(waiting), total)
            waiting, total = [], 0
        waiting.append(stretch)
        total += length
    if waiting:
        yield Unit(tuple(waiting), total)
