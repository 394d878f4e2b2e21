"""inkling prepare NAME: text becomes a data set, a folder of token ids."""

import hashlib
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from inkling.data.shards import Dataset, DatasetWriter, folder_for, open_dataset
from inkling.data.sources import Document, bundled, local, shakespeare
from inkling.errors import UserError
from inkling.files import sha256_of
from inkling.settings import Layer, build
from inkling.text.tokenizer import Separator, tokenizer_from_name


@dataclass(frozen=True)
class PrepareSettings:
    """prepare"""

    input: str = ""
    """your own text: a .txt or .jsonl file (one {"text": …} a line), a folder, or a glob in quotes"""
    tokenizer: str = ""
    """char, byte, gpt2, or the path of a tokenizer.json; unset: gpt2 for shakespeare, char for a NAME that
    ends in _char, byte for the rest"""
    data_dir: str = "data"
    """the folder in which the data set gets its own folder"""
    val_fraction: float = 0.1
    """the share of the text that is kept from training, to measure on"""


@dataclass(frozen=True)
class Source:
    """Text to prepare. `documents` starts from the beginning at each call."""

    description: str
    documents: Callable[[], Iterable[Document]]
    tokenizer: str
    separator: Separator | None = None
    """None: the tokenizer's own"""


@dataclass
class Survey:
    """What a first reading of the text learns."""

    characters: set[str] = field(default_factory=set)
    length: int = 0
    """characters in all"""
    hashes: array = field(default_factory=lambda: array("Q"))
    """for each document 64 bits that depend on its text alone"""


KNOWN = ("shakespeare_char", "shakespeare", "bundled")

SETTINGS = PrepareSettings
DESCRIPTION = """Turn text into tokens on disk: inkling prepare NAME [--input=TEXT] → ./data/NAME

  inkling prepare bundled                              text that Python itself carries, no download
  inkling prepare shakespeare_char                     the text that every character model trains on
  inkling prepare shakespeare --input=input.txt        the same in GPT-2 tokens, from a file you have
  inkling prepare mine --input="notes/*.txt" --tokenizer=gpt2"""


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if len(positional) != 1:
        raise UserError("prepare takes one NAME.", "For example: inkling prepare bundled", status=2)
    settings, _ = build(PrepareSettings, [Layer("flag", flags)])
    main(positional[0], settings)


def main(name: str, settings: PrepareSettings) -> Dataset:
    """Read the text, choose what to keep for validation, encode, and write the data set."""
    began = time.monotonic()
    if not 0 < settings.val_fraction < 1:
        raise UserError("--val_fraction must lie between 0 and 1.", "The default is 0.1.", status=2)
    folder = folder_for(name, settings.data_dir)
    try:
        source = source_for(name, settings, folder)
        survey = _survey(source)
        tokenizer = tokenizer_from_name(settings.tokenizer or source.tokenizer, survey.characters)
        split = _split(source, survey, settings.val_fraction)
        with (
            DatasetWriter(folder, tokenizer, source.description, source.separator) as writer,
            _progress("encoding", survey.length) as seen,
        ):
            for document, is_val in split:
                (writer.val if is_val else writer.train).add(seen(document))
    except OSError as error:
        what = error.filename or folder
        raise UserError(f"Cannot use {what}: {error.strerror or error}.", "Check the disk and its rights.") from None
    dataset = open_dataset(folder)
    _report(dataset, time.monotonic() - began)
    return dataset


def source_for(name: str, settings: PrepareSettings, folder: Path) -> Source:
    """The text that `name` and `--input` mean."""
    by_name = "char" if name.endswith("_char") else "byte"
    if name in ("shakespeare_char", "shakespeare"):
        shakespeares = local.files_of(settings.input) if settings.input else [shakespeare.fetch(folder)]
        description = "the tiny Shakespeare text"
        if [sha256_of(file) for file in shakespeares] != [shakespeare.SHA256]:
            description = settings.input
            print(f"note: {settings.input} is not the file at {shakespeare.URL}", file=sys.stderr)
        tokenizer = "char" if name == "shakespeare_char" else "gpt2"
        return Source(description, lambda: local.documents(shakespeares), tokenizer, separator="none")
    if name == "bundled":
        if settings.input:
            raise UserError("bundled has its own text and takes no --input.", "Choose another name.", status=2)
        with _progress("reading Python's own text", None) as seen:
            texts = [list(seen(document)) for document in bundled.documents()]
        return Source(bundled.describe(), lambda: texts, by_name)
    if not settings.input:
        raise UserError(
            f"inkling has no text called {name}.",
            f"It knows {', '.join(KNOWN)}; for your own text add --input FILE, FOLDER or GLOB.",
            status=2,
        )
    files = local.files_of(settings.input)
    return Source(settings.input, lambda: local.documents(files), by_name)


def _survey(source: Source) -> Survey:
    """Read everything once: the alphabet, the length, and a hash of each document."""
    survey = Survey()
    with _progress("reading", None) as seen:
        for document in source.documents():
            digest = hashlib.blake2b(digest_size=8)
            for piece in seen(document):
                survey.characters.update(piece)
                survey.length += len(piece)
                digest.update(piece.encode("utf-8"))
            survey.hashes.append(int.from_bytes(digest.digest(), "little"))
    if not survey.length:
        raise UserError("There is no text in the input: it is empty.", "Give --input some text.")
    return survey


def _split(source: Source, survey: Survey, val_fraction: float) -> Iterator[tuple[Document, bool]]:
    """Every document, and whether it is for validation.

    A single text is cut once, so that validation is what follows training. Of many, each is chosen by a hash
    of its text: the same ones on every machine and in any order, and two equal documents stay together.
    """
    if len(survey.hashes) == 1:
        (document,) = source.documents()
        cut = int(survey.length * (1 - val_fraction))
        if not 0 < cut < survey.length:
            raise UserError(
                f"{survey.length} characters are too few to keep {val_fraction:g} of them for validation.",
                "Give --input more text, or change --val_fraction.",
            )
        return iter([(_characters(document, 0, cut), False), (_characters(document, cut, survey.length), True)])
    chosen = _chosen(survey.hashes, val_fraction)
    documents = zip(source.documents(), survey.hashes, strict=True)
    return ((document, chosen(number)) for document, number in documents)


def _chosen(hashes: array, val_fraction: float) -> Callable[[int], bool]:
    """Which hashes mean validation: the low ones, but at least one and not all."""
    lowest, highest = min(hashes), max(hashes)
    if lowest == highest:
        raise UserError(
            f"All {len(hashes)} documents have the same text, so none can be kept for validation.",
            "Give --input different documents, or one .txt file.",
        )
    limit = min(max(int(val_fraction * 2**64), lowest + 1), highest)
    return lambda number: number < limit


def _characters(document: Document, start: int, stop: int) -> Iterator[str]:
    """The characters from `start` to `stop` of a document, in its pieces."""
    at = 0
    for piece in document:
        if at >= stop:
            return
        part = piece[max(0, start - at) : stop - at]
        at += len(piece)
        if part:
            yield part


def _report(dataset: Dataset, seconds: float) -> None:
    parts = []
    for split, ids in (("train", dataset.train), ("val", dataset.val)):
        parts.append(f"{split} {len(ids):,} tokens ({ids.nbytes / 1e6:.1f} MB)")
    print(" · ".join([*parts, f"vocabulary {dataset.meta.vocab_size:,}", f"{seconds:.1f} s"]))
    print(f"→ {dataset.path}")


@contextmanager
def _progress(doing: str, total: int | None) -> Iterator[Callable[[Document], Iterator[str]]]:
    """A bar on the terminal, for work that takes more than two seconds; counts the characters that pass."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(file=sys.stderr)
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(doing, total=total)
    began = time.monotonic()

    def seen(document: Document) -> Iterator[str]:
        for piece in document:
            yield piece
            bar.advance(task, len(piece))
            if not bar.live.is_started and time.monotonic() - began > 2:
                bar.start()

    try:
        yield seen
    finally:
        bar.stop()
