"""Files as blocks of bytes, plain or compressed, so that no reader needs to know which.

A stream that ends in the middle, or is damaged, is never taken for a shorter one: it is an error that names the file.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from inkling.errors import UserError

COMPRESSED = (".gz", ".zst")

BLOCK = 1 << 20  # bytes read at once, about

# Bytes of zstd input decompressed at once. A frame can grow 32,000-fold, so this bounds a block at about 128 MB.
_ZSTD_BITE = 1 << 12


def is_compressed(path: Path) -> bool:
    """Whether the file's name says so. Such a file can only be read from its start."""
    return path.suffix.lower() in COMPRESSED


def blocks(path: Path, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The bytes of a file, decompressed, in blocks; of a plain file those from `start` to `stop`."""
    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".gz":
                yield from _gunzip(file)
            elif path.suffix.lower() == ".zst":
                yield from _unzstd(file, path)
            else:
                yield from _plain(file, start, stop)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:  # BadGzipFile is an OSError: it comes first
        raise damaged(path, error) from None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.", "Check that the file may be read.") from None


def _plain(file: BinaryIO, start: int, stop: int | None) -> Iterator[bytes]:
    file.seek(start)
    left = None if stop is None else stop - start
    while block := file.read(BLOCK if left is None else min(BLOCK, left)):
        if left is not None:
            left -= len(block)
        yield block


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    with gzip.open(file, "rb") as stream:
        while block := stream.read(BLOCK):
            yield block


def _unzstd(file: BinaryIO, path: Path) -> Iterator[bytes]:
    zstandard = import_extra("zstandard")
    frame = None  # its `eof` tells a whole frame from a cut one, which zstandard's stream reader does not
    waiting: list[bytes] = []
    size = 0
    try:
        while bite := file.read(_ZSTD_BITE):
            while bite:
                if frame is None:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                waiting.append(frame.decompress(bite))
                size += len(waiting[-1])
                bite = frame.unused_data if frame.eof else b""
                frame = None if frame.eof else frame
            if size >= BLOCK:
                yield b"".join(waiting)
                waiting, size = [], 0
    except zstandard.ZstdError as error:
        raise damaged(path, error) from None
    if frame is not None:
        raise damaged(path, EOFError("it ends in the middle"))
    if size:
        yield b"".join(waiting)


def import_extra(name: str) -> Any:
    """A module that only some inputs need, and that `pip install inkling-lm` alone does not bring."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"This needs the package {name.partition('.')[0]}, which is not installed.",
            "Run: pip install 'inkling-lm[data]'",
        ) from None


def damaged(path: Path, error: Exception) -> UserError:
    """The message for a file that is cut, or is not what its name says."""
    return UserError(f"{path} is damaged or cut off: {error}.", "Fetch or make the file again.")
