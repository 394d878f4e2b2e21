"""What meta.json says of a data set."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from inkling.text.tokenizer import Separator

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")
SHARD_NAME = r"(train|val)(-\d{5,})?"


@dataclass(frozen=True)
class Shard:
    """Two files, `name`.bin and `name`.idx: the ids, and where documents start, counted from the split's first id.

    Of conversations there is a third, `name`.mask: a byte for each id, 1 where the assistant must learn to say it.
    """

    name: str
    tokens: int
    documents: int
    sha256: str
    idx_sha256: str
    mask_sha256: str = ""

    def files(self) -> tuple[tuple[str, str], ...]:
        """(suffix, SHA-256) of each of its files."""
        found = ((".bin", self.sha256), (".idx", self.idx_sha256), (".mask", self.mask_sha256))
        return found if self.mask_sha256 else found[:2]


@dataclass(frozen=True)
class SplitMeta:
    """`bytes` counts the UTF-8 bytes of the text, without separators: what bits per byte divides by.

    The hashes are those of train.bin, train.idx and train.mask; of a split in several shards, those of the shards'
    hashes.
    """

    tokens: int
    bytes: int
    documents: int
    sha256: str
    idx_sha256: str
    mask_sha256: str = ""
    """of conversations only"""
    shards: tuple[Shard, ...] = ()
    """in order; none: all is in the one file that bears the split's name"""


@dataclass(frozen=True)
class Meta:
    """All of meta.json."""

    dtype: str
    vocab_size: int
    separator: Separator
    tokenizer: str
    tokenizer_sha256: str
    source: str
    train: SplitMeta
    val: SplitMeta

    @property
    def has_mask(self) -> bool:
        """Whether the documents are conversations."""
        return bool(self.train.mask_sha256)

    def to_json(self) -> str:
        """The text of meta.json. `shards` is there only where there are several, `mask_sha256` where there is one."""
        values = asdict(self)
        for split in SPLITS:
            if not values[split]["shards"]:
                del values[split]["shards"]
            for counts in (values[split], *values[split].get("shards", ())):
                if not counts["mask_sha256"]:
                    del counts["mask_sha256"]
        return json.dumps(values, indent=2) + "\n"


def read_meta(file: Path) -> Meta:
    """Parse a meta.json; ValueError, TypeError or KeyError when it is no such thing."""
    values: dict[str, Any] = json.loads(file.read_bytes())
    for split in SPLITS:
        shards = tuple(Shard(**shard) for shard in values[split].pop("shards", ()))
        values[split] = SplitMeta(**values[split], shards=shards)
    meta = Meta(**values)
    if meta.dtype not in ("uint16", "uint32") or min(meta.train.tokens, meta.val.tokens) < 1:
        raise ValueError("not a data set that inkling wrote")
    if not all(re.fullmatch(SHARD_NAME, shard.name) for shard in (*meta.train.shards, *meta.val.shards)):
        raise ValueError("a shard's name is no path")
    return meta


def shards_of(split: str, counts: SplitMeta) -> tuple[Shard, ...]:
    """The shards of a split; one that stands for the single file, where there are none."""
    if counts.shards:
        return counts.shards
    return (Shard(split, counts.tokens, counts.documents, counts.sha256, counts.idx_sha256, counts.mask_sha256),)
