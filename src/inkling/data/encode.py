"""Units to parts: text is encoded in large groups, and the ids of about 16 MB of text make a file.

A part holds, for each split that has something in it, the ids, then where documents start among them, then for
conversations the mask. A unit whose text is longer than that gives several parts, so that even one endless compressed
file can be resumed on the way.
"""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from inkling.data.meta import SPLITS, Split
from inkling.data.reading import Piece, Rule, Seen, pieces
from inkling.data.units import Unit
from inkling.text.conversation import Rendered, render
from inkling.text.tokenizer import Separator, Tokenizer

# Characters that the encoder gets at once, and bytes of text in a part.
GROUP, PART = 4 << 20, 16 << 20


@dataclass(frozen=True)
class Job:
    """What is the same for all units."""

    folder: str
    """where parts are written"""
    run: str
    """is in the names of this run's parts, so that a helper of a killed run cannot write into them"""
    tokenizer: str
    """the path of a tokenizer.json"""
    separator: Separator
    dtype: str
    """of the ids: <u2 or <u4"""
    column: str
    conversations: bool = False
    """whether each document is a conversation, as JSON"""
    rule: Rule = Rule()


@dataclass(frozen=True)
class Count:
    """How much of one split there is. `bytes` is UTF-8 text, without separators."""

    tokens: int = 0
    documents: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Part:
    """A file of ids: first those of train, each (tokens,) ids and (documents,) uint64 starts, then those of val."""

    unit: int
    number: int
    """0, 1, … within the unit"""
    file: str
    pieces: int
    """of the unit's text: what a resumed run passes over"""
    crc32: int
    size: int
    """of the file, in bytes"""
    train: Count
    val: Count


class Tray:
    """Collects the ids of one split for a part."""

    def __init__(self, separator: Separator, tokenizer: Tokenizer) -> None:
        self._before = _mark(tokenizer.bos if separator == "bos_before" else None)
        self._after = _mark(tokenizer.eot if separator == "eot_after" else None)
        self.clear()

    def clear(self) -> None:
        """Begin the next part."""
        self.ids: list[np.ndarray] = []
        self.mask: list[np.ndarray] = []
        self.starts: list[int] = []
        self.tokens = self.bytes = 0

    def add(self, ids: np.ndarray, piece: Piece) -> None:
        """The ids of a piece, with what separates documents."""
        if piece.opens:
            self.starts.append(self.tokens)
            self._put(self._before)
        self._put(ids)
        if piece.closes:
            self._put(self._after)
        self.bytes += len(piece.text) if piece.text.isascii() else len(piece.text.encode("utf-8"))

    def add_conversation(self, rendered: Rendered, text_bytes: int) -> None:
        """A whole conversation, whose marks are among its ids."""
        self.starts.append(self.tokens)
        self._put(np.array(rendered.ids, dtype=np.uint32))
        self.mask.append(np.array(rendered.mask, dtype=np.uint8))
        self.bytes += text_bytes

    def _put(self, ids: np.ndarray) -> None:
        if len(ids):
            self.ids.append(ids)
            self.tokens += len(ids)

    def count(self) -> Count:
        return Count(self.tokens, len(self.starts), self.bytes)

    def to_bytes(self, dtype: str) -> bytes:
        """The ids, then the starts, counted from the part's first id, then the mask, where there is one."""
        ids = np.concatenate(self.ids, dtype=dtype, casting="unsafe") if self.ids else np.empty(0, dtype)
        return b"".join(
            [ids.tobytes(), np.array(self.starts, dtype="<u8").tobytes(), *map(np.ndarray.tobytes, self.mask)]
        )


Trays = dict[Split, Tray]


def _mark(token: int | None) -> np.ndarray:
    return np.array([] if token is None else [token], dtype=np.uint32)


class UnitEncoder:
    """Encodes one unit: `parts()` writes and yields its parts; then `seen` says what was in it."""

    def __init__(self, number: int, unit: Unit, job: Job, tokenizer: Tokenizer) -> None:
        self.number, self.unit, self.job, self.tokenizer = number, unit, job, tokenizer
        self.seen = Seen()
        self.trays: Trays = {split: Tray(job.separator, tokenizer) for split in SPLITS}

    def parts(self, done: int = 0, skip: int = 0) -> Iterator[Part]:
        """The parts after the first `done`, which have `skip` pieces of text in them."""
        source = pieces(self.unit, self.job.column, self.job.rule, self.seen, self.job.conversations)
        for _ in islice(source, skip):
            pass
        group: list[Piece] = []
        taken = waiting = 0
        for piece in source:
            group.append(piece)
            taken += 1
            waiting += len(piece.text)
            if waiting >= GROUP:
                self._encode(group)
                group, waiting = [], 0
                if sum(tray.bytes for tray in self.trays.values()) >= PART:
                    yield self._part(done, taken)
                    done, taken = done + 1, 0
        self._encode(group)
        if taken:
            yield self._part(done, taken)

    def _part(self, number: int, taken: int) -> Part:
        job = self.job
        return write_part(Path(job.folder), self.number, number, job.run, self.trays, job.dtype, taken)

    def _encode(self, group: list[Piece]) -> None:
        if self.job.conversations:
            for piece in group:
                messages = json.loads(piece.text)
                text_bytes = sum(len((message.get("content") or "").encode("utf-8")) for message in messages)
                self.trays[piece.split].add_conversation(render(messages, self.tokenizer), text_bytes)
            return
        ids_of = self.tokenizer.encode_documents([piece.text for piece in group])
        for ids, piece in zip(ids_of, group, strict=True):
            self.trays[piece.split].add(ids, piece)


def write_part(folder: Path, unit: int, number: int, run: str, trays: Trays, dtype: str, pieces: int = 0) -> Part:
    """Write what the trays hold as a file in `folder`, and empty them."""
    content = b"".join(tray.to_bytes(dtype) for tray in trays.values())
    name = f"{unit:06d}-{number:04d}-{run}.part"
    (folder / name).write_bytes(content)
    train, val = (tray.count() for tray in trays.values())
    for tray in trays.values():
        tray.clear()
    return Part(unit, number, name, pieces, zlib.crc32(content), len(content), train, val)


# --- as JSON, for the journal and for worker processes -------------------------------------------------------


def part_from(values: dict[str, Any]) -> Part:
    """The part that `asdict` made these values of."""
    return Part(**values | {split: Count(**values[split]) for split in SPLITS})
