"""What a long preparation will take: measured on the first of the text before the rest is begun."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inkling.data.preparing import Text
from inkling.data.reading import Rule, Seen, pieces
from inkling.data.sources.opening import is_compressed
from inkling.data.units import Unit
from inkling.errors import UserError
from inkling.files import free_space
from inkling.text.tokenizer import Tokenizer

# Bytes of text from which on a preparation is estimated and announced, and that are encoded for the estimate.
LONG, SAMPLE = 200_000_000, 2_000_000

# Text that is compressed grows by about so much; English with gzip or zstd.
GROWS = 3


@dataclass(frozen=True)
class Estimate:
    """Of all that is not done yet."""

    text: float
    """bytes"""
    tokens: float
    disk: float
    """bytes that are needed beside what is there already"""
    seconds: float

    def __str__(self) -> str:
        return (
            f"about {in_bytes(self.text)} of text → {self.tokens / 1e6:,.0f} M tokens, "
            f"{in_bytes(self.disk)} of disk, {in_minutes(self.seconds)}"
        )


def text_bytes(units: Sequence[Unit]) -> float:
    """Bytes of text in units, roughly."""
    return sum(unit.size * (GROWS if is_compressed(Path(unit.stretches[0].path)) else 1) for unit in units)


def estimate(
    units: Sequence[Unit], text: Text, tokenizer: Tokenizer, itemsize: int, shard_tokens: int, workers: int
) -> Estimate:
    """Encode the first megabytes, and reckon from that. `units` are those that are not done."""
    sample: list[str] = []
    taken = 0
    for piece in pieces(units[0], text.column, Rule(), Seen(), text.conversations):
        sample.append(piece.text)
        taken += len(piece.text)
        if taken >= SAMPLE:
            break
    tokenizer.encode_documents(sample[:1])  # what is only slow the first time
    began = time.perf_counter()
    tokens = sum(len(ids) for ids in tokenizer.encode_documents(sample))
    seconds = time.perf_counter() - began
    size = sum(len(each.encode("utf-8")) for each in sample)
    whole = text_bytes(units)
    expected = whole * tokens / max(1, size)
    disk = disk_for(expected, itemsize, shard_tokens)
    return Estimate(whole, expected, disk, whole / max(1, size) * seconds / workers)


def disk_for(tokens: float, itemsize: int, shard_tokens: int) -> float:
    """Bytes that are needed on the way: for all ids, and for the shard that is being made of parts."""
    return (tokens + min(tokens, shard_tokens)) * itemsize


def check_disk(needed: float, folder: Path, what: str) -> None:
    """Refuse what cannot fit, before hours have gone into it."""
    free = free_space(folder)
    if needed > free:
        raise UserError(
            f"{what} needs about {in_bytes(needed)} on the disk of {folder}; {in_bytes(free)} are free.",
            "Free some, give another disk with --data_dir, or prepare less of the text (of a hub text: --limit).",
        )


def in_bytes(size: float) -> str:
    """A size for a person: 1.2 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def in_minutes(seconds: float) -> str:
    """A time for a person: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
