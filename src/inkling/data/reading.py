"""From stretches of input to pieces of text that an encoder takes: each with its document and its split.

The hash of a document decides whether it is for training or for validation: the same documents are chosen on every
machine, in any order, and two equal documents stay together.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inkling.data.meta import Split
from inkling.data.sources import almanac, bundled, jsonl, parquet, textfile
from inkling.data.sources.opening import is_compressed
from inkling.data.sources.textfile import Document, TextFile
from inkling.data.units import Stretch, Unit
from inkling.text.cut import cut_safely


class Piece(NamedTuple):
    """A document, or a part of one: `opens` and `closes` say whether it has the document's beginning and end."""

    text: str
    split: Split
    opens: bool
    closes: bool


@dataclass(frozen=True)
class Rule:
    """How documents are shared out between training and validation."""

    limit: int = 0
    """a document whose hash is below this is for validation; 64 bits"""
    cut: int | None = None
    """the one document that there is: its first `cut` characters are for training, the others for validation"""


@dataclass
class Seen:
    """What reading a unit learns, beside its text. Hashes are those of documents that were not decided otherwise."""

    documents: int = 0
    characters: int = 0
    """of the last document"""
    lowest: int | None = None
    highest: int | None = None
    decided: int = 0
    """documents whose split nothing but the hash decided"""
    notes: list[str] = field(default_factory=list)


def pieces(unit: Unit, column: str, rule: Rule, seen: Seen, conversations: bool = False) -> Iterator[Piece]:
    """The text of a unit, in order. `seen` is complete when the last piece is out.

    With `conversations` each document is one, as JSON, and a piece of its own.
    """
    of = _whole if conversations else _of
    for stretch in unit.stretches:
        if stretch.kind == "txt" and stretch.split is not None:
            seen.documents += stretch.opens
            text = TextFile(Path(stretch.path), stretch.start, stretch.stop)
            yield from marked(text, stretch.split, stretch.opens, stretch.closes)
            continue
        for row, document in enumerate(documents(stretch, column, seen, conversations)):
            if not document:
                continue
            seen.documents += 1
            if rule.cut is not None:
                yield from marked(characters(document, 0, rule.cut), "train")
                yield from marked(characters(document, rule.cut, None), "val")
            elif stretch.val_rows is not None:
                yield from of(document, "val" if row in stretch.val_rows else "train")
            elif stretch.split is not None:
                yield from of(document, stretch.split)
            else:
                number = _hash(document)
                seen.lowest = number if seen.lowest is None else min(seen.lowest, number)
                seen.highest = number if seen.highest is None else max(seen.highest, number)
                seen.decided += 1
                yield from of(document, "val" if number < rule.limit else "train")
            if isinstance(document, str):
                seen.characters = len(document)


def documents(stretch: Stretch, column: str, seen: Seen, conversations: bool = False) -> Iterator[Document]:
    """The documents of a stretch. A text of any length is a TextFile, and "" is no document."""
    path = Path(stretch.path)
    if stretch.kind == "bundled":
        yield from bundled.documents()
    elif stretch.kind == "almanac":
        assert stretch.stop is not None
        yield from almanac.documents(stretch.start, stretch.stop, stretch.seed, stretch.path, conversations)
    elif stretch.kind == "txt":
        file = TextFile(path, stretch.start, stretch.stop)
        if is_compressed(path):
            yield file if any(file.raw()) else ""
        else:  # no larger than a unit, else it would have been sliced
            yield "".join(file)
    elif stretch.kind == "jsonl":
        yield from jsonl.documents(path, stretch.start, stretch.stop, column, seen.notes.append, conversations)
    else:
        assert stretch.stop is not None
        yield from parquet.documents(path, stretch.start, stretch.stop, column, seen.notes.append)


def characters(document: Document, start: int, stop: int | None) -> Iterator[str]:
    """The characters from `start` to `stop` of a document, in its pieces."""
    at = 0
    for piece in _texts(document):
        if stop is not None and at >= stop:
            return
        part = piece[max(0, start - at) : None if stop is None else stop - at]
        at += len(piece)
        if part:
            yield part


def _hash(document: Document) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for block in [document.encode("utf-8")] if isinstance(document, str) else document.raw():
        digest.update(block)
    return int.from_bytes(digest.digest(), "little")


def _of(document: Document, split: Split) -> Iterable[Piece]:
    if isinstance(document, str) and len(document) <= textfile.PIECE:
        return (Piece(document, split, True, True),)
    return marked(_texts(document), split)


def _whole(document: Document, split: Split) -> Iterable[Piece]:
    assert isinstance(document, str)
    return (Piece(document, split, True, True),)


def _texts(document: Document) -> Iterable[str]:
    return cut_safely([document], textfile.PIECE) if isinstance(document, str) else document


def marked(texts: Iterable[str], split: Split, opens: bool = True, closes: bool = True) -> Iterator[Piece]:
    """The texts as the pieces of one document."""
    before: str | None = None
    for text in texts:
        if before is not None:
            yield Piece(before, split, opens, False)
            opens = False
        before = text
    if before is not None:
        yield Piece(before, split, opens, closes)


# --- what must be known of the whole input before any of it is encoded -----------------------------------------


def hashes(unit: Unit) -> dict[str, int]:
    """The hash of each .txt file of a unit of whole files. Empty ones are no documents and have none."""
    found = {}
    for stretch in unit.stretches:
        file = TextFile(Path(stretch.path))
        if any(file.raw()):
            found[stretch.path] = _hash(file)
    return found


def alphabet(unit: Unit, column: str) -> str:
    """The characters that occur in a unit, sorted."""
    seen = np.zeros(0x110000, dtype=bool)  # indexing is eight times as fast as a set of characters
    for stretch in unit.stretches:
        is_slice = stretch.kind == "txt" and stretch.split is not None
        file = TextFile(Path(stretch.path), stretch.start, stretch.stop)
        for document in [file] if is_slice else documents(stretch, column, Seen()):
            for text in _texts(document):
                seen[np.frombuffer(text.encode("utf-32-le"), dtype="<u4")] = True
    return "".join(map(chr, np.flatnonzero(seen).tolist()))
