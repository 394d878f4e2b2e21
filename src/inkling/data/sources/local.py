"""Text in your own files: a .txt file is one document, a .jsonl file has one on each line, under "text".

Everything is read as strict UTF-8, a block at a time, so a file may be larger than memory. What is in a file
reaches the tokenizer as it stands, line endings included; only a byte order mark at the start is dropped.
"""

import codecs
import glob
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from inkling.data.sources import Document
from inkling.errors import UserError
from inkling.text.cut import cut_safely

SUFFIXES = (".txt", ".jsonl")
_LATER = (".parquet", ".gz", ".zst")

_BLOCK = 1 << 20  # bytes read at once, and characters in a piece, about


def documents(files: list[Path]) -> Iterator[Document]:
    """The documents in `files`, in order, without empty ones."""
    for path in files:
        if path.suffix.lower() == ".jsonl":
            yield from _lines(path)
        elif any(TextFile(path)):  # reads one block
            yield TextFile(path)


def files_of(where: str) -> list[Path]:
    """The text files that `where` means: a file, a folder (searched to the bottom), or a glob."""
    path = Path(where)
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file()]
    elif path.exists():
        if path.suffix.lower() not in SUFFIXES:
            raise _wrong_kind(path)
        return [path]
    else:
        found = [file for name in _matches(where) if (file := Path(name)).is_file()]
        if not found:
            raise UserError(f"There is no file, folder or match for {where}.", "Check --input.")
    texts = sorted((file for file in found if file.suffix.lower() in SUFFIXES), key=Path.as_posix)
    if not texts:
        later = [file for file in found if file.suffix.lower() in _LATER]
        if later:
            raise _wrong_kind(min(later))
        raise UserError(
            f"{where} has no .txt or .jsonl file.", "--input wants text: a file, a folder or a glob of them."
        )
    return texts


def _matches(pattern: str) -> list[str]:
    return glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns


def _wrong_kind(path: Path) -> UserError:
    if path.suffix.lower() in _LATER:
        return UserError(
            f"{path}: {path.suffix} files are not supported yet.",
            'Convert it to .txt, or to .jsonl with one {"text": "…"} on each line.',
        )
    return UserError(
        f"{path} ends in {path.suffix or 'nothing'}; inkling reads .txt and .jsonl.",
        "If it is plain UTF-8 text, rename it to end in .txt.",
    )


@dataclass(frozen=True)
class TextFile:
    """A file of text as a document: opened anew, and read from the start, by each iteration."""

    path: Path

    def __iter__(self) -> Iterator[str]:
        return cut_safely(self._blocks(), _BLOCK)

    def _blocks(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        offset = 0  # in the file, of the first byte that the decoder has not turned into text
        with _open(self.path) as file:
            start = file.read(len(codecs.BOM_UTF8))
            if start == codecs.BOM_UTF8:
                offset, start = len(start), b""
            while True:
                block = start + file.read(_BLOCK)
                start = b""
                held_back = len(decoder.getstate()[0])
                try:
                    text = decoder.decode(block, final=not block)
                except UnicodeDecodeError as error:
                    raise _bad_byte(self.path, offset + error.start, error) from None
                if not block:
                    return
                offset += held_back + len(block) - len(decoder.getstate()[0])
                yield text


def _lines(path: Path) -> Iterator[list[str]]:
    with _open(path) as file:
        offset = 0
        for number, line in enumerate(file, start=1):
            start = offset
            offset += len(line)
            if number == 1 and line.startswith(codecs.BOM_UTF8):
                line = line[len(codecs.BOM_UTF8) :]
                start += len(codecs.BOM_UTF8)
            if line.strip():
                text = _text_of(line, path, number, start)
                if text:
                    yield [text]


def _text_of(line: bytes, path: Path, number: int, start: int) -> str:
    remedy = 'Each line must be one JSON object with a text: {"text": "…"}.'
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _bad_byte(path, start + error.start, error) from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}:{number} is not JSON.", remedy) from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise UserError(f'{path}:{number} has no "text".', remedy)
    text: str = record["text"]
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # JSON can escape half a character
        raise UserError(
            f"{path}:{number} has a lone surrogate (\\ud800 to \\udfff), which is no character.", remedy
        ) from None
    return text


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.", "Check that the file may be read.") from None


def _bad_byte(path: Path, offset: int, error: UnicodeDecodeError) -> UserError:
    if error.start < len(error.object):
        found = f"byte 0x{error.object[error.start]:02x}"
    else:
        found = "the end"
    return UserError(
        f"{path} is not valid UTF-8: {found} at offset {offset:,} ({error.reason}).",
        "Convert it, for example with: iconv -f WINDOWS-1252 -t UTF-8 OLD.txt > NEW.txt",
    )
