"""Parts to shards: the ids of all parts, one after the other, cut into files of equal length.

Shard k of a split is tokens k·N to (k + 1)·N of it: a function of the parts, so each can be made by itself, and after
a kill only the one that was being written is written again. What is in a finished shard is deleted from the parts, so
the disk holds the tokens once, and one shard.
"""

import hashlib
import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from inkling.data.encode import Count, Part
from inkling.data.journal import Journal, Workplace
from inkling.data.meta import SHARD_NAME, SPLITS, Meta, Shard, SplitMeta, shards_of
from inkling.errors import UserError
from inkling.files import replace_file, sha256_of, sync_folder, write_atomic
from inkling.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Section:
    """Where one split's ids lie in a part's file, and where they belong: `first` counts tokens from the beginning."""

    file: Path
    offset: int
    count: Count
    first: int

    @property
    def stop(self) -> int:
        return self.first + self.count.tokens


def sections(parts: Sequence[Part], split: str, folder: Path, itemsize: int, mask: bool) -> list[Section]:
    """The parts' sections of one split, in order. `itemsize` is of an id; a mask has a byte for each id."""
    found = []
    first = 0
    for part in parts:
        count: Count = getattr(part, split)
        before = part.train.tokens * (itemsize + mask) + part.train.documents * 8 if split == "val" else 0
        if count.tokens or count.documents:
            found.append(Section(folder / part.file, before, count, first))
        first += count.tokens
    return found


def assemble(
    parts: Sequence[Part], journal: Journal, workplace: Workplace, dtype: str, shard_tokens: int, mask: bool = False
) -> None:
    """Write the shards that the journal does not have yet, and delete the parts that are in them."""
    for _ in _write_shards("val", parts, journal, workplace, dtype, shard_tokens, mask):
        pass
    # What is for validation is in shards, so a part can go as soon as what is for training is.
    part_stops = list(accumulate(part.train.tokens for part in parts))
    deleted = 0
    for stop in _write_shards("train", parts, journal, workplace, dtype, shard_tokens, mask):
        done = bisect_right(part_stops, stop)
        for part in parts[deleted:done]:
            (workplace.path / part.file).unlink(missing_ok=True)
        deleted = done


def _write_shards(
    split: str,
    parts: Sequence[Part],
    journal: Journal,
    workplace: Workplace,
    dtype: str,
    shard_tokens: int,
    mask: bool,
) -> Iterator[int]:
    """Write the shards of one split that are not done; yields where each of them stops."""
    found = sections(parts, split, workplace.path, np.dtype(dtype).itemsize, mask)
    stops = [section.stop for section in found]
    total = stops[-1] if stops else 0
    for number in range(len(journal.shards[split]), -(-total // shard_tokens)):
        first, stop = number * shard_tokens, min((number + 1) * shard_tokens, total)
        needed = found[bisect_right(stops, first) : bisect_left(stops, stop) + 1]
        stem = workplace.path / f"{split}-{number:05d}"
        journal.add_shard(split, _write_shard(stem, needed, first, stop, dtype, mask))
        yield stop


def _write_shard(stem: Path, needed: Sequence[Section], first: int, stop: int, dtype: str, mask: bool) -> Shard:
    """One shard: tokens `first` to `stop` of its split."""
    suffixes = (".bin", ".idx", ".mask") if mask else (".bin", ".idx")
    digests = [hashlib.sha256() for _ in suffixes]
    documents = 0
    with ExitStack() as opened:
        files = [opened.enter_context(stem.with_name(stem.name + suffix).open("wb")) for suffix in suffixes]
        for section in needed:
            ids, starts, learned = _read(section, dtype, mask)
            within = slice(max(0, first - section.first), stop - section.first)
            starts = starts[(starts >= first) & (starts < stop)]
            documents += len(starts)
            for file, digest, values in zip(files, digests, (ids[within], starts, learned[within]), strict=False):
                content = values.tobytes()
                file.write(content)
                digest.update(content)
        for file in files:
            file.flush()
            os.fsync(file.fileno())
    return Shard(stem.name, stop - first, documents, *(digest.hexdigest() for digest in digests))


def _read(section: Section, dtype: str, mask: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ids of a section, its documents' starts counted from the beginning of the split, and its mask."""
    tokens, documents = section.count.tokens, section.count.documents
    learned = tokens if mask else 0
    try:
        with section.file.open("rb") as file:
            file.seek(section.offset)
            kinds = ((dtype, tokens), ("<u8", documents), ("u1", learned))
            ids, starts, mask_bytes = (np.fromfile(file, kind, count) for kind, count in kinds)
    except FileNotFoundError:
        ids = starts = mask_bytes = np.empty(0)
    if (len(ids), len(starts), len(mask_bytes)) != (tokens, documents, learned):
        raise UserError(f"{section.file} is missing or damaged.", "Run the same command again: it begins anew.")
    return ids, starts + np.uint64(section.first), mask_bytes


# --- the data set ----------------------------------------------------------------------------------------


def split_meta(parts: Sequence[Part], split: str, shards: Sequence[Shard]) -> SplitMeta:
    """What meta.json will say of a split. A single shard bears the split's name."""
    text_bytes = sum(getattr(part, split).bytes for part in parts)
    tokens, documents = (sum(getattr(shard, what) for shard in shards) for what in ("tokens", "documents"))
    if len(shards) == 1:
        only = shards[0]
        return SplitMeta(tokens, text_bytes, documents, only.sha256, only.idx_sha256, only.mask_sha256)
    ids, starts, mask = (
        _sha256_of_all([getattr(shard, what) for shard in shards]) for what in ("sha256", "idx_sha256", "mask_sha256")
    )
    return SplitMeta(tokens, text_bytes, documents, ids, starts, mask, tuple(shards))


def _sha256_of_all(hashes: list[str]) -> str:
    """The hash of the shards' hashes; of files that are not there, none."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest() if all(hashes) else ""


def publish(workplace: Workplace, meta: Meta, tokenizer: Tokenizer) -> None:
    """Give everything its final name. A process killed on the way leaves no data set, and the next one goes on."""
    folder = workplace.folder
    # Until meta.json is written again there is no data set, so new files never meet an old meta.
    (folder / "meta.json").unlink(missing_ok=True)
    sync_folder(folder)
    tokenizer.save(folder / meta.tokenizer)
    kept = set()
    for split in SPLITS:
        shards = shards_of(split, getattr(meta, split))
        for number, shard in enumerate(shards):
            for suffix, sha256 in shard.files():
                part, final = workplace.path / f"{split}-{number:05d}{suffix}", folder / f"{shard.name}{suffix}"
                kept.add(final.name)
                if part.exists():
                    replace_file(part, final)
                elif not final.exists() or sha256_of(final) != sha256:  # not moved by a process killed later on
                    raise UserError(f"{final} is missing or damaged.", "Run the same command again: it begins anew.")
    for file in folder.iterdir():
        if re.fullmatch(SHARD_NAME + r"\.(bin|idx|mask)", file.name) and file.name not in kept:
            file.unlink()  # of the data set before
    write_atomic(folder / "meta.json", meta.to_json())
