"""Parquet: a document in each row of one column, read a few rows at a time.

Only that column is read, and of it never a whole row group: some writers put a whole file into one. Tasks read rows of
several columns in the same way.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inkling.data.sources.opening import damaged, import_extra
from inkling.errors import UserError

LONGEST = 64 << 20  # bytes of a row that are read; what is beyond is left out, and that is said

# What is decoded at once: so many bytes by the average row, but never more rows than that. With 5 KB to a row,
# 512 rows read as fast as 10,000.
_BATCH_BYTES, _BATCH_ROWS = 4 << 20, 512


@dataclass(frozen=True)
class RowGroup:
    """What the file's footer says of a row group: its rows, and the bytes of the column when decompressed."""

    rows: int
    bytes: int


def row_groups(path: Path, column: str) -> list[RowGroup]:
    """The row groups of a file, from its footer. Checks that `column` is there and holds text."""
    with _opened(path) as file:
        index = _check_column(file, path, column)
        found = []
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            chunk = group.column(index)
            found.append(RowGroup(group.num_rows, chunk.total_uncompressed_size))
        return found


def documents(path: Path, first: int, stop: int, column: str, note: Callable[[str], None]) -> Iterator[str]:
    """The texts in row groups `first` to `stop`, a NULL as "". `note` takes what should be said."""
    with _opened(path) as file:
        index = _check_column(file, path, column)
        before = sum(file.metadata.row_group(number).num_rows for number in range(first))
        for number in range(first, stop):
            group = file.metadata.row_group(number)
            average = group.column(index).total_uncompressed_size // max(1, group.num_rows)
            rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, average)))
            nulls = 0
            for batch in file.iter_batches(rows, [number], [column], use_threads=False):
                nulls += batch.column(0).null_count
                for row, text in enumerate(_texts(batch.column(0), path, before), start=before + 1):
                    if text is not None and len(text) > LONGEST // 4 and len(text.encode("utf-8")) > LONGEST:
                        text = text.encode("utf-8")[:LONGEST].decode("utf-8", "ignore")
                        note(f"row {row:,} of {path} is longer than {LONGEST >> 20} MB: its text is cut there")
                    yield text or ""
                before += len(batch)
            if nulls:
                note(f"{nulls:,} rows of {path} have no text (NULL) and are left out")


def rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a file as dictionaries of these columns, lists and structures of columns included.

    Raises UserError where one of them is missing.
    """
    with _opened(path) as file:
        there = file.schema_arrow.names
        missing = [column for column in columns if column not in there]
        if missing:
            raise UserError(
                f"{path} has no column {missing[0]!r}.", f"It needs {', '.join(columns)}, and has {', '.join(there)}."
            )
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(columns), use_threads=False):
            try:
                yield from batch.to_pylist()
            except UnicodeDecodeError as error:
                problem = f"A row of {path} is not valid UTF-8 ({error.reason})."
                raise UserError(problem, "Write the file again from text.") from None


def _texts(column: Any, path: Path, before: int) -> list[str | None]:
    try:
        texts: list[str | None] = column.to_pylist()
        return texts
    except UnicodeDecodeError as error:
        raise UserError(
            f"A row of {path} after row {before:,} is not valid UTF-8 ({error.reason}).",
            "Write the file again from text.",
        ) from None


def _check_column(file: Any, path: Path, column: str) -> int:
    """The place of the column among the file's columns of plain values; refused when it is missing or no text."""
    pa = import_extra("pyarrow")
    schema = file.schema_arrow
    named = [f"{field.name} ({field.type})" for field in schema]
    if column not in schema.names:
        raise UserError(f"{path} has no column {column!r}.", f"Choose with --column one of: {', '.join(named)}.")
    kind = schema.field(column).type
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)):
        raise UserError(
            f"The column {column!r} of {path} holds no text but {kind}.",
            f"Choose with --column a text column of: {', '.join(named)}.",
        )
    return next(i for i in range(len(file.schema)) if file.schema.column(i).path == column)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    parquet, pa = import_extra("pyarrow.parquet"), import_extra("pyarrow")
    try:
        # With a buffer a column is read as it is decoded; without one, a whole row group of it beforehand.
        with parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True) as file:
            yield file
    except pa.ArrowException as error:
        raise damaged(path, ValueError(str(error).partition("\n")[0].rstrip("."))) from None
    except PermissionError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.", "Check that the file may be read.") from None
    except OSError as error:  # Arrow says so, too, of pages that cannot be decompressed
        raise damaged(path, ValueError(str(error).partition("\n")[0].rstrip("."))) from None
