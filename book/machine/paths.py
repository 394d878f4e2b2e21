"""Paths as links have them: with / on every system, relative to the page in which they stand."""

import posixpath
from pathlib import PurePosixPath


def link(page: str, target: str) -> str:
    """A target in the book (`glossary.md#loss`) as it is written in the page `page`."""
    path, mark, anchor = target.partition("#")
    return posixpath.relpath(path, PurePosixPath(page).parent) + mark + anchor


def link_to_source(page: str, path: str) -> str:
    """A path from the root of the repository as it is written in a page of the book."""
    return posixpath.relpath(path, PurePosixPath("book", page).parent)


def joined(page: str, link: str) -> str:
    """Where a relative link in a page leads, as a path from the book's folder."""
    return posixpath.normpath(str(PurePosixPath(page).parent / link))
