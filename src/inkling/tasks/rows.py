"""Published tasks as rows: parquet files from the Hugging Face hub, or from a folder of the same files."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inkling.data.estimate import in_bytes
from inkling.data.sources import hub, parquet
from inkling.errors import UserError

# What a column must hold: a type, [what each entry of a list is], or {field: what it holds}.
Shape = type | list[Any] | dict[str, Any]


@dataclass(frozen=True)
class Published:
    """Where a task's files are, and which of their columns are read."""

    repo: str
    folder: str
    columns: Mapping[str, Shape]

    def rows(self, split: str, data_from: str = "") -> Iterator[dict[str, Any]]:
        """Each row of a split, its columns checked. `data_from` is a folder of these files; "" asks the hub.

        Raises UserError where the files are out of reach, lack a column, or are empty.
        """
        count = 0
        for path in self._files(split, data_from):
            for number, row in enumerate(parquet.rows(path, list(self.columns)), 1):
                for column, shape in self.columns.items():
                    if not _fits(row[column], shape):
                        raise UserError(
                            f"Row {number:,} of {path} is not as published: its {column!r} is {_short(row[column])}.",
                            f"It must be {_in_words(shape)}. Fetch {self.repo} again.",
                        )
                count += 1
                yield row
        if not count:
            raise UserError(f"{self.repo} has no rows for {split}.", self._by_hand(split))

    def _files(self, split: str, data_from: str) -> list[Path]:
        if not data_from:
            return self._fetched(split)
        top = Path(data_from)
        if not top.is_dir():
            raise UserError(f"There is no folder {data_from}.", self._by_hand(split))
        for folder in (top / self._own_name / self.folder, top / self.folder):
            files = [*sorted(folder.glob(f"{split}-*.parquet")), *folder.glob(f"{split}.parquet")]
            if files:
                return files
        where = f"{top / self._own_name / self.folder / split}-*.parquet"
        raise UserError(f"There is no file {where}.", self._by_hand(split))

    def _fetched(self, split: str) -> list[Path]:
        listing = hub.find_files(self.repo, self.folder, f"{split}-", self._by_hand(split))
        missing = listing.size - hub.cached_bytes(listing)
        if missing:
            print(f"{self.repo}: {in_bytes(missing)} to download, for {split}", file=sys.stderr)
        return hub.fetch(listing, lambda done: None)

    @property
    def _own_name(self) -> str:
        return self.repo.rpartition("/")[2]

    def _by_hand(self, split: str) -> str:
        return (
            f"Without a network here, fetch it elsewhere:\n"
            f"  hf download --repo-type dataset {self.repo} --include '{self.folder}/{split}-*.parquet' "
            f"--local-dir tasks/{self._own_name}\n"
            f"bring the folder tasks here, and add --data_from=tasks (for `inkling prepare`: --input=tasks)"
        )


def _fits(value: Any, shape: Shape) -> bool:
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(each, shape[0]) for each in value)
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(_fits(value.get(name), inner) for name, inner in shape.items())
    return isinstance(value, shape)


def _in_words(shape: Shape) -> str:
    if isinstance(shape, list):
        return f"a list, each entry {_in_words(shape[0])}"
    if isinstance(shape, dict):
        return "fields: " + ", ".join(f"{name} {_in_words(inner)}" for name, inner in shape.items())
    return {str: "text", int: "a whole number"}[shape]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]} …"
