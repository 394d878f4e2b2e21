"""`inkling data check | show`: whether a data set is what was prepared, and what is in it."""

import os
import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np

from inkling.data.estimate import in_bytes
from inkling.data.meta import SplitMeta
from inkling.data.shards import Dataset, check_file, open_dataset
from inkling.errors import UserError
from inkling.settings import Layer, build
from inkling.stages.tables import show_table
from inkling.stages.tokenizer import coloured, learned, visible


@dataclass(frozen=True)
class LookSettings:
    """show"""

    split: Literal["train", "val"] = "train"
    """which documents to look at"""
    document: int = 0
    """the first one to show, from 0; -1 is the last"""
    documents: int = 1
    """how many"""
    tokens: int = 300
    """of each, at most so many tokens"""


SETTINGS = LookSettings
DESCRIPTION = """Look at what `inkling prepare` made. NAME is a data set below ./data, or the path of one.

  inkling data check shakespeare_char                   compare the SHA-256 of every file with meta.json
  inkling data show shakespeare_char                    what it holds, and the beginning of its first document
  inkling data show mine --split=val --document=3       token by token
  inkling data show almanac_chat --documents=3          a conversation's tokens, those that are learned in colour"""


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if len(positional) != 2:
        raise UserError("data takes a word and a NAME.", "For example: inkling data check shakespeare_char", status=2)
    settings, _ = build(LookSettings, [Layer("flag", flags)])
    main(positional[0], positional[1], settings)


def main(action: str, where: str, settings: LookSettings) -> Dataset:
    """`check` or `show` a data set."""
    if action not in ("check", "show"):
        raise UserError(f"data cannot {action!r}.", "It knows: check, show.", status=2)
    dataset = open_dataset(where)
    if action == "check":
        check(dataset)
    else:
        show(dataset, settings)
    return dataset


def check(dataset: Dataset) -> None:
    """Compare every file with its hash, and say at the end which have changed."""
    rows = []
    wrong: list[UserError] = []
    for file, sha256 in dataset.files():
        try:
            check_file(dataset, file, sha256)
            verdict = "as prepared"
        except UserError as error:
            wrong.append(error)
            verdict = "missing" if not file.exists() else "CHANGED"
        size = in_bytes(file.stat().st_size) if file.exists() else ""
        rows.append([file.name, size, sha256[:16], verdict])
    show_table(f"{dataset.path}", rows, head=["file", "size", "SHA-256", ""])
    if wrong:
        raise wrong[0]


def show(dataset: Dataset, settings: LookSettings) -> None:
    """Print what meta.json says, and documents with their tokens apart."""
    meta = dataset.meta
    ids, starts, mask = (getattr(dataset, settings.split + part) for part in ("", "_starts", "_mask"))
    chosen = _chosen(len(starts), settings)
    rows = [[split, *_figures(counts)] for split, counts in (("train", meta.train), ("val", meta.val))]
    head = ["", "tokens", "documents", "text", "bytes per token", "files"]
    show_table(f"{dataset.path}: {meta.source}", rows, head=head)
    tokenizer = dataset.tokenizer()
    marks = {"none": "", "eot_after": "end of text after", "bos_before": "beginning of sequence before"}
    separated = f"; {marks[meta.separator]} each document" if marks[meta.separator] else ""
    print(f"tokenizer {tokenizer.name}, vocabulary {meta.vocab_size:,}{separated}")
    if mask is not None:
        print("conversations: what is learned stands in «», in colour on a terminal")
    print()
    for number in chosen:
        stop = int(starts[number + 1]) if number + 1 < len(starts) else len(ids)
        begin = int(starts[number])
        found = np.asarray(ids[begin:stop])
        words = [visible(tokenizer.decode_bytes([i])) for i in found[: settings.tokens].tolist()]
        in_colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print(f"{settings.split} document {number:,}: {len(found):,} tokens")
        if mask is None:
            print("".join(coloured(words)) if in_colour else "|".join(words))
        else:
            print("".join(learned(words, mask[begin : begin + len(words)].tolist(), in_colour)))
        if len(found) > settings.tokens:
            print(f"… and {len(found) - settings.tokens:,} more tokens")
        print()


def _figures(counts: SplitMeta) -> list[str]:
    per_token = f"{counts.bytes / max(1, counts.tokens):.2f}"
    files = f"{max(1, len(counts.shards)):,}"
    return [f"{counts.tokens:,}", f"{counts.documents:,}", in_bytes(counts.bytes), per_token, files]


def _chosen(documents: int, settings: LookSettings) -> range:
    first = settings.document + documents if settings.document < 0 else settings.document
    if not 0 <= first < documents:
        raise UserError(
            f"There is no document {settings.document} among the {documents:,} of {settings.split}.",
            f"The last one is {documents - 1:,}.",
            status=2,
        )
    return range(first, min(documents, first + max(1, settings.documents)))
