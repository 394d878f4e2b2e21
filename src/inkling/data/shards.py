"""The data set on disk: a folder of token ids that is read through `numpy.memmap`, as nanoGPT's is.

train.bin  val.bin   ids, raw little-endian uint16 (uint32 when the vocabulary needs it)
train.idx  val.idx   where each document starts, raw little-endian uint64
train.mask val.mask  of conversations: a byte for each id, 1 where the assistant must learn to say it
tokenizer.json       what made the ids
meta.json            what all of this is: written last, so a folder without it is no data set

Of a large data set train.bin is train-00000.bin, train-00001.bin, …, all of the same length but the last, and so is
train.idx; meta.json lists them.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from inkling.data.assemble import assemble, publish, split_meta
from inkling.data.encode import PART, Part, Tray, Trays, write_part
from inkling.data.journal import Journal, Workplace, key_of, open_journal
from inkling.data.meta import SPLITS, Split, SplitMeta, read_meta, shards_of
from inkling.data.meta import Meta as Meta  # others know it from here
from inkling.data.reading import marked
from inkling.data.sharded import open_array
from inkling.errors import UserError
from inkling.files import sha256_of
from inkling.text.tokenizer import Separator, Tokenizer
from inkling.text.tokenizer_sources import load_tokenizer

# Tokens in a shard. A data set with fewer is one file for each split.
SHARD_TOKENS = 100_000_000


class Dataset:
    """An opened data set. `train` and `val` are ids (tokens,), `*_starts` are (documents,), all read-only.

    `*_mask` (tokens,) uint8 is None where the documents are not conversations. They are `numpy.memmap`s, or for a data
    set in shards what slices like one.
    """

    def __init__(self, path: Path, meta: Meta) -> None:
        self.path = path
        self.name = path.resolve().name
        self.meta = meta
        self.train, self.train_starts, self.train_mask = self._arrays("train", meta.train)
        self.val, self.val_starts, self.val_mask = self._arrays("val", meta.val)

    def _arrays(self, split: str, counts: SplitMeta) -> tuple[Any, Any, Any]:
        shards = shards_of(split, counts)
        ids, starts, mask = (
            [self.path / f"{shard.name}{suffix}" for shard in shards] for suffix in (".bin", ".idx", ".mask")
        )
        tokens, documents = [shard.tokens for shard in shards], [shard.documents for shard in shards]
        dtype = np.dtype(self.meta.dtype).newbyteorder("<").str
        return (
            open_array(ids, tokens, dtype),
            open_array(starts, documents, "<u8"),
            open_array(mask, tokens, "u1") if self.meta.has_mask else None,
        )

    def files(self) -> Iterator[tuple[Path, str]]:
        """Every file but meta.json, with the SHA-256 that it had when it was prepared."""
        yield self.path / self.meta.tokenizer, self.meta.tokenizer_sha256
        for split in SPLITS:
            for shard in shards_of(split, getattr(self.meta, split)):
                for suffix, sha256 in shard.files():
                    yield self.path / f"{shard.name}{suffix}", sha256

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the ids; refused when the file has changed since."""
        file = self.path / self.meta.tokenizer
        check_file(self, file, self.meta.tokenizer_sha256)
        return load_tokenizer(file)


def folder_for(name: str, data_dir: str | Path = "data") -> Path:
    """The folder of the data set `name`. A name is no path: it cannot lead out of `data_dir`."""
    if not _is_name(name):
        raise UserError(
            f"{name!r} is no name for a data set.",
            "A name has letters, digits, '_', '-' and '.', and starts with a letter or digit.",
            status=2,
        )
    return Path(data_dir) / name


def open_dataset(where: str | Path) -> Dataset:
    """Open `data/NAME` for a name, else the folder at that path. Sizes are checked, hashes are not."""
    folder = folder_for(where) if isinstance(where, str) and _is_name(where) else Path(where)
    name = folder.resolve().name
    again = f"Run: inkling prepare {name}"
    try:
        meta = read_meta(folder / "meta.json")
    except FileNotFoundError:
        raise UserError(f"There is no data set {name} at {folder}.", again) from None
    except OSError as error:
        raise UserError(f"Cannot read {folder / 'meta.json'}: {error.strerror}.", again) from None
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{folder / 'meta.json'} is damaged, or of another version of inkling.", again) from None
    for split in SPLITS:
        for shard in shards_of(split, getattr(meta, split)):
            _check_size(folder / f"{shard.name}.bin", shard.tokens * np.dtype(meta.dtype).itemsize, again)
            _check_size(folder / f"{shard.name}.idx", shard.documents * 8, again)
            if shard.mask_sha256:
                _check_size(folder / f"{shard.name}.mask", shard.tokens, again)
    return Dataset(folder, meta)


def check_dataset(dataset: Dataset) -> None:
    """Read every file and compare its SHA-256 with the one in meta.json."""
    for file, sha256 in dataset.files():
        check_file(dataset, file, sha256)


def check_file(dataset: Dataset, file: Path, expected: str) -> None:
    """Compare the SHA-256 of one file."""
    if not file.exists():
        raise UserError(f"{file} is missing.", f"Run: inkling prepare {dataset.name}")
    if sha256_of(file) != expected:
        raise UserError(
            f"{file} has changed since it was prepared (its SHA-256 differs).",
            f"Run: inkling prepare {dataset.name} again.",
        )


# --- from documents in memory ----------------------------------------------------------------------------------


class DatasetWriter:
    """Writes documents that a program has: `writer.train.add(document)`, `writer.val.add(document)`, in a `with` block.

    The files appear under their names when the block ends well. What was in the folder before is untouched
    until then; a process that is killed leaves the old data set, or none, and never a mixture.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer, source: str, separator: Separator | None = None) -> None:
        self.tokenizer = tokenizer
        self.source = source
        self.separator: Separator = tokenizer.separator if separator is None else separator
        self._workplace = Workplace(folder, resumable=False)
        self.trays: Trays = {split: Tray(self.separator, tokenizer) for split in SPLITS}

    def __enter__(self) -> Self:
        self._workplace.__enter__()
        self._journal, _ = open_journal(self._workplace, key_of(once=os.urandom(8).hex()))
        self._parts: list[Part] = []
        self.train, self.val = SplitWriter(self, "train"), SplitWriter(self, "val")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.write_part()
                finish(self._workplace, self._journal, self._parts, self.tokenizer, self.separator, self.source)
        finally:
            self._workplace.__exit__(kind, error, trace)

    def write_part(self) -> None:
        """Put on disk what the trays hold."""
        dtype = dtype_for(self.tokenizer)
        self._parts.append(write_part(self._workplace.path, 0, len(self._parts), "", self.trays, dtype))


class SplitWriter:
    """Takes the documents of one split."""

    def __init__(self, writer: DatasetWriter, split: Split) -> None:
        self._writer = writer
        self._split = split

    def add(self, texts: Iterable[str]) -> None:
        """One document: its pieces, encoded, with the separator."""
        tray = self._writer.trays[self._split]
        for piece in marked(texts, self._split):
            tray.add(self._writer.tokenizer.encode_array(piece.text), piece)
            if tray.bytes >= PART:
                self._writer.write_part()


def finish(
    workplace: Workplace,
    journal: Journal,
    parts: Sequence[Part],
    tokenizer: Tokenizer,
    separator: Separator,
    source: str,
    shard_tokens: int = SHARD_TOKENS,
    mask: bool = False,
) -> None:
    """Make shards of all parts, give them their names, and say in meta.json what they are."""
    dtype = dtype_for(tokenizer)
    assemble(parts, journal, workplace, dtype, shard_tokens, mask)
    meta = Meta(
        dtype="uint16" if dtype == "<u2" else "uint32",
        vocab_size=tokenizer.vocab_size,
        separator=separator,
        tokenizer="tokenizer.json",
        tokenizer_sha256=tokenizer.sha256(),
        source=source,
        train=split_meta(parts, "train", journal.shards["train"]),
        val=split_meta(parts, "val", journal.shards["val"]),
    )
    publish(workplace, meta, tokenizer)


def dtype_for(tokenizer: Tokenizer) -> str:
    """Two bytes for an id where they are enough."""
    return "<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4"


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text) is not None


def _check_size(file: Path, expected: int, remedy: str) -> None:
    if not file.exists():
        raise UserError(f"{file} is missing.", remedy)
    found = file.stat().st_size
    if found != expected:
        raise UserError(f"{file} has the wrong size: {expected:,} bytes expected, {found:,} found.", f"{remedy} again.")
