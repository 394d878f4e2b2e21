"""A .txt file is one document, however long. It is read as strict UTF-8, a piece at a time.

What is in a file reaches the tokenizer as it stands, line endings included; only a byte order mark at the start is
dropped.
"""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from inkling.data.sources import opening
from inkling.errors import UserError
from inkling.text.cut import cut_safely

# Characters in a piece, about. One letter that the fast encoder does not know sends its piece the slow way.
PIECE = 1 << 18

# How far beyond a wished-for place a safe cut is looked for. Text has one every few words.
_NEAR, _FAR = 1 << 13, 1 << 21  # bytes


@dataclass(frozen=True)
class TextFile:
    """A file of text, or its bytes from `start` to `stop`: opened anew by each iteration, which yields pieces."""

    path: Path
    start: int = 0
    stop: int | None = None

    def __iter__(self) -> Iterator[str]:
        return cut_safely(self._decoded(), PIECE)

    def raw(self) -> Iterator[bytes]:
        """The text's UTF-8 in blocks, not checked. This is what its hash is taken of."""
        first = self.start == 0
        for block in opening.blocks(self.path, self.start, self.stop):
            yield block.removeprefix(codecs.BOM_UTF8) if first else block
            first = False

    def _decoded(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        offset = self.start  # in the file, of the first byte that the decoder has not turned into text
        for block in chain(opening.blocks(self.path, self.start, self.stop), [b""]):
            if offset == 0 and block.startswith(codecs.BOM_UTF8):
                offset, block = len(codecs.BOM_UTF8), block[len(codecs.BOM_UTF8) :]
            held_back = len(decoder.getstate()[0])
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise bad_byte(self.path, offset + error.start, error) from None
            offset += held_back + len(block) - len(decoder.getstate()[0])
            yield text


Document = str | TextFile


def begins_at(path: Path) -> int:
    """Where the text of a plain file begins: after the byte order mark, where there is one."""
    with path.open("rb") as file:
        return len(codecs.BOM_UTF8) if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0


def count_characters(blocks: Iterator[bytes]) -> int:
    """Characters in valid UTF-8: the bytes that do not continue one. 2.4 GB/s, a tenth of that for decoding."""
    return sum(_starts(block) for block in blocks)


def offset_of(path: Path, character: int) -> int:
    """Where in a plain file character number `character` of its text begins, in bytes from the file's start."""
    offset = begins_at(path)
    for block in opening.blocks(path, offset):
        starts = _starts(block)
        if starts > character:
            return offset + int(np.flatnonzero(np.frombuffer(block, np.int8) >= -64)[character])
        character -= starts
        offset += len(block)
    return offset


def _starts(block: bytes) -> int:
    # As signed numbers the continuation bytes, 0x80 to 0xBF, are those below -64.
    return int(np.count_nonzero(np.frombuffer(block, np.int8) >= -64))


def slices(path: Path, start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of stretches of about `size` bytes whose ids are together those of the whole.

    Where no safe cut is near, there is none: such a stretch is longer.
    """
    with path.open("rb") as file:
        begin = start
        while stop - begin > size:
            cut = begin + size
            while cut < stop and not (found := _safe_cut_after(file, cut, stop)):
                cut += size
            if cut >= stop:
                break
            yield begin, found
            begin = found
        yield begin, stop


def _safe_cut_after(file: BinaryIO, offset: int, stop: int) -> int:
    """A place at or after `offset`, at most _FAR bytes on, where `cut_safely` would cut; 0: none."""
    window = _NEAR
    while True:
        file.seek(offset)
        raw = file.read(min(window, stop - offset))
        # Bytes of a character that the window's edge divides become one to three surrogates; they are left out,
        # because what they belong to may be a space. The others are one byte again when encoded.
        text = raw.decode("utf-8", "surrogateescape")
        inner = text[3:-3]
        piece = next(cut_safely([inner], 1), inner)
        if len(piece) < len(inner):
            return offset + len((text[:3] + piece).encode("utf-8", "surrogateescape"))
        if window >= _FAR or offset + window >= stop:
            return 0
        window *= 16


def bad_byte(path: Path, offset: int, error: UnicodeDecodeError) -> UserError:
    """The message for bytes that are not UTF-8."""
    if error.start < len(error.object):
        found = f"byte 0x{error.object[error.start]:02x}"
    else:
        found = "the end"
    return UserError(
        f"{path} is not valid UTF-8: {found} at offset {offset:,} ({error.reason}).",
        "Convert it, for example with: iconv -f WINDOWS-1252 -t UTF-8 OLD.txt > NEW.txt",
    )
