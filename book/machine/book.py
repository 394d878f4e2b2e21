"""The book as it lies on the disk: its pages, its lists in book.toml, and the source that it is about."""

import tomllib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from book.machine.parts import Page, read_page
from book.machine.spans import SourceFile
from inkling.errors import UserError

LISTS = "book.toml"


class Book:
    """A repository with a book in it. Pages and sources are read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "book"
        self._sources: dict[str, SourceFile] = {}

    @cached_property
    def lists(self) -> dict[str, Any]:
        """What book.toml says: the order of the pages, what each analysis covers, what is not there yet."""
        file = self.folder / LISTS
        try:
            return tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"There is no {file}.", "Run this from the root of the repository.") from None
        except tomllib.TOMLDecodeError as error:
            raise UserError(f"{file} is not valid TOML: {error}.", "Mend that line.") from None

    @cached_property
    def pages(self) -> dict[str, Page]:
        """Path in the book → page, in the book's order; pages that the order does not know come last."""
        paths = [file.relative_to(self.folder).as_posix() for file in sorted(self.folder.rglob("*.md"))]
        order = {path: i for i, path in enumerate(self.planned)}
        paths.sort(key=lambda path: (order.get(path, len(order)), path))
        return {path: read_page(path, self.read(path)) for path in paths}

    @property
    def planned(self) -> list[str]:
        """Every page of the book in its order, written or not."""
        return [path for paths in self.lists.get("order", {}).values() for path in paths]

    @property
    def not_written(self) -> set[str]:
        """Pages, and anchors in pages, that are promised and not there yet."""
        return set(self.lists.get("not_written_yet", []))

    def read(self, path: str) -> str:
        """A page's file, with newlines as one character."""
        return (self.folder / path).read_text(encoding="utf-8")

    def source(self, path: str) -> SourceFile:
        """A file of the project, read once."""
        if path not in self._sources:
            self._sources[path] = SourceFile(self.root, path)
        return self._sources[path]

    def source_files(self, patterns: Iterable[str] = ("src/inkling/**/*.py",)) -> list[str]:
        """The files that globs mean, sorted, as paths from the root."""
        found = {file for pattern in patterns for file in self.root.glob(pattern) if file.is_file()}
        return sorted(file.relative_to(self.root).as_posix() for file in found)
