"""The data set on disk: a folder of token ids that is read through `numpy.memmap`, as nanoGPT's is.

train.bin  val.bin   ids, raw little-endian uint16 (uint32 when the vocabulary needs it)
train.idx  val.idx   where each document starts, raw little-endian uint64
tokenizer.json       what made the ids
meta.json            what all of this is: written last, so a folder without it is no data set
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from inkling.errors import UserError
from inkling.files import part_of, replace_file, sha256_of, sync_folder, write_atomic
from inkling.text.tokenizer import Separator, Tokenizer, load_tokenizer

SPLITS = ("train", "val")


@dataclass(frozen=True)
class SplitMeta:
    """`bytes` counts the UTF-8 bytes of the text, without separators: what bits per byte divides by."""

    tokens: int
    bytes: int
    documents: int
    sha256: str
    idx_sha256: str


@dataclass(frozen=True)
class Meta:
    """What meta.json says."""

    dtype: str
    vocab_size: int
    separator: Separator
    tokenizer: str
    tokenizer_sha256: str
    source: str
    train: SplitMeta
    val: SplitMeta


class Dataset:
    """An opened data set. `train` and `val` are ids (tokens,), `*_starts` are (documents,), all read-only."""

    def __init__(self, path: Path, meta: Meta) -> None:
        self.path = path
        self.name = path.resolve().name
        self.meta = meta
        dtype = np.dtype(meta.dtype).newbyteorder("<")
        self.train = np.memmap(path / "train.bin", dtype=dtype, mode="r")
        self.val = np.memmap(path / "val.bin", dtype=dtype, mode="r")
        self.train_starts = np.memmap(path / "train.idx", dtype="<u8", mode="r")
        self.val_starts = np.memmap(path / "val.idx", dtype="<u8", mode="r")

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the ids; refused when the file has changed since."""
        file = self.path / self.meta.tokenizer
        _check_hash(self, file, self.meta.tokenizer_sha256)
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
        meta = _read_meta(folder / "meta.json")
    except FileNotFoundError:
        raise UserError(f"There is no data set {name} at {folder}.", again) from None
    except OSError as error:
        raise UserError(f"Cannot read {folder / 'meta.json'}: {error.strerror}.", again) from None
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{folder / 'meta.json'} is damaged, or of another version of inkling.", again) from None
    for split in SPLITS:
        counts: SplitMeta = getattr(meta, split)
        _check_size(folder / f"{split}.bin", counts.tokens * np.dtype(meta.dtype).itemsize, again)
        _check_size(folder / f"{split}.idx", counts.documents * 8, again)
    return Dataset(folder, meta)


def check_dataset(dataset: Dataset) -> None:
    """Read every file and compare its SHA-256 with the one in meta.json."""
    _check_hash(dataset, dataset.path / dataset.meta.tokenizer, dataset.meta.tokenizer_sha256)
    for split in SPLITS:
        counts: SplitMeta = getattr(dataset.meta, split)
        _check_hash(dataset, dataset.path / f"{split}.bin", counts.sha256)
        _check_hash(dataset, dataset.path / f"{split}.idx", counts.idx_sha256)


class DatasetWriter:
    """Writes a data set: `writer.train.add(document)`, `writer.val.add(document)`, in a `with` block.

    The files appear under their names when the block ends well. What was in the folder before is untouched
    until then; a process that is killed leaves the old data set, or none, and never a mixture.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer, source: str, separator: Separator | None = None) -> None:
        self.folder = folder
        self.tokenizer = tokenizer
        self.source = source
        self.separator: Separator = tokenizer.separator if separator is None else separator
        self.dtype = "<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.train = SplitWriter(self.folder / "train", self.tokenizer, self.separator, self.dtype)
        self.val = SplitWriter(self.folder / "val", self.tokenizer, self.separator, self.dtype)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.train.close()
        self.val.close()
        try:
            if error is None:
                self._publish()
        finally:
            for file in (*self.train.files, *self.val.files):
                part_of(file).unlink(missing_ok=True)

    def _publish(self) -> None:
        meta = Meta(
            dtype="uint16" if self.dtype == "<u2" else "uint32",
            vocab_size=self.tokenizer.vocab_size,
            separator=self.separator,
            tokenizer="tokenizer.json",
            tokenizer_sha256=self.tokenizer.sha256(),
            source=self.source,
            train=self.train.meta(),
            val=self.val.meta(),
        )
        # Until meta.json is written again there is no data set, so new files never meet an old meta.
        (self.folder / "meta.json").unlink(missing_ok=True)
        sync_folder(self.folder)
        self.tokenizer.save(self.folder / meta.tokenizer)
        for file in (*self.train.files, *self.val.files):
            replace_file(part_of(file), file)
        write_atomic(self.folder / "meta.json", json.dumps(asdict(meta), indent=2) + "\n")


class SplitWriter:
    """Writes one part, `train` or `val`: ids as they come, and where each document starts."""

    def __init__(self, stem: Path, tokenizer: Tokenizer, separator: Separator, dtype: str) -> None:
        self.files = (stem.with_name(stem.name + ".bin"), stem.with_name(stem.name + ".idx"))
        self.tokens = self.bytes = self.documents = 0
        self._tokenizer = tokenizer
        self._before = [tokenizer.bos] if separator == "bos_before" else []
        self._after = [tokenizer.eot] if separator == "eot_after" else []
        self._dtype = dtype
        self._ids, self._starts = (part_of(file).open("wb") for file in self.files)
        self._hashes = (hashlib.sha256(), hashlib.sha256())

    def add(self, pieces: Iterable[str]) -> None:
        """One document: its pieces, encoded, with the separator."""
        start = np.array([self.tokens], dtype="<u8").tobytes()
        self._starts.write(start)
        self._hashes[1].update(start)
        self.documents += 1
        self._write(self._before)
        for piece in pieces:
            self._write(self._tokenizer.encode_array(piece))
            self.bytes += len(piece.encode("utf-8"))
        self._write(self._after)

    def _write(self, ids: Any) -> None:
        raw = np.asarray(ids, dtype=self._dtype).tobytes()
        self._ids.write(raw)
        self._hashes[0].update(raw)
        self.tokens += len(ids)

    def meta(self) -> SplitMeta:
        """The counts and hashes of what was written."""
        ids, starts = (digest.hexdigest() for digest in self._hashes)
        return SplitMeta(self.tokens, self.bytes, self.documents, ids, starts)

    def close(self) -> None:
        self._ids.close()
        self._starts.close()


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text) is not None


def _read_meta(file: Path) -> Meta:
    values: dict[str, Any] = json.loads(file.read_bytes())
    values |= {split: SplitMeta(**values[split]) for split in SPLITS}
    meta = Meta(**values)
    if meta.dtype not in ("uint16", "uint32") or min(meta.train.tokens, meta.val.tokens) < 1:
        raise ValueError("not a data set that inkling wrote")
    return meta


def _check_size(file: Path, expected: int, remedy: str) -> None:
    if not file.exists():
        raise UserError(f"{file} is missing.", remedy)
    found = file.stat().st_size
    if found != expected:
        raise UserError(f"{file} has the wrong size: {expected:,} bytes expected, {found:,} found.", f"{remedy} again.")


def _check_hash(dataset: Dataset, file: Path, expected: str) -> None:
    if not file.exists():
        raise UserError(f"{file} is missing.", f"Run: inkling prepare {dataset.name}")
    if sha256_of(file) != expected:
        raise UserError(
            f"{file} has changed since it was prepared (its SHA-256 differs).",
            f"Run: inkling prepare {dataset.name} again.",
        )
