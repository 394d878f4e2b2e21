"""`inkling prepare NAME`: text becomes a data set, a folder of token ids."""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from inkling.data.encode import Job
from inkling.data.estimate import LONG, check_disk, disk_for, estimate, in_bytes, text_bytes
from inkling.data.journal import UNFINISHED, Journal, Workplace, identity, key_of, open_journal
from inkling.data.preparing import Advance, Text, all_parts, alphabet_of, begin, begin_again, encode, units_of
from inkling.data.shards import SHARD_TOKENS, Dataset, dtype_for, finish, folder_for, open_dataset
from inkling.data.sources import bundled, hub, local, openwebtext, shakespeare
from inkling.data.units import Unit
from inkling.data.workers import usable_cores
from inkling.errors import UserError
from inkling.files import free_space, on_one_disk, sha256_of
from inkling.settings import Layer, build
from inkling.text.tokenizer import Separator, Tokenizer, char_tokenizer, load_tokenizer, tokenizer_from_name


@dataclass(frozen=True)
class PrepareSettings:
    """prepare"""

    input: str = ""
    """your own text: a file, a folder, a glob in quotes, or - for standard input. A .txt file is one document, a .jsonl
    file has one a line ({"text": …}), a .parquet file one a row; the first two also with .gz or .zst"""
    column: str = "text"
    """where the text is in .jsonl and .parquet files"""
    stdin: Literal["txt", "jsonl"] = "txt"
    """what comes in with --input=-"""
    limit: str = ""
    """of a text on the hub only so many files (20) or tokens (500M, 2B)"""
    tokenizer: str = ""
    """char, byte, gpt2, or the path of a tokenizer.json; unset: gpt2 for shakespeare and the texts on the hub, char for
    a NAME that ends in _char, byte for the rest"""
    data_dir: str = "data"
    """the folder in which the data set gets its own folder"""
    val_fraction: float | None = None
    """the share of the text that is kept from training, to measure on; None: 0.0005 of a text on the hub, else 0.1"""
    shard_tokens: int = SHARD_TOKENS
    """tokens in a file; a data set that has more is several files"""
    workers: int = 0
    """processes that encode; 0: one for each core, up to 16. The result does not depend on it"""


@dataclass(frozen=True)
class Source:
    """Text to prepare."""

    description: str
    text: Text
    tokenizer: str
    """unless --tokenizer says otherwise"""
    separator: Separator | None = None
    """None: the tokenizer's own"""
    resumable: bool = True


KNOWN = ("shakespeare_char", "shakespeare", "bundled", *hub.KNOWN)

SETTINGS = PrepareSettings
DESCRIPTION = """Turn text into tokens on disk: inkling prepare NAME [--input=TEXT] → ./data/NAME

  inkling prepare bundled                              text that Python itself carries, no download
  inkling prepare shakespeare_char                     the text that every character model trains on
  inkling prepare shakespeare --input=input.txt        the same in GPT-2 tokens, from a file you have
  inkling prepare mine --input="notes/*.txt" --tokenizer=gpt2
  inkling prepare openwebtext                          24 GB from the hub → 9 billion tokens
  inkling prepare fineweb_edu --limit=1B               as many files as have a billion tokens; also: climbmix

What was interrupted goes on where it was when the same command is given again."""


_GOES_ON = "What is done is kept: the same command goes on from here."


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if len(positional) != 1:
        raise UserError("prepare takes one NAME.", "For example: inkling prepare bundled", status=2)
    settings, _ = build(PrepareSettings, [Layer("flag", flags)])
    main(positional[0], settings)


def main(name: str, settings: PrepareSettings) -> Dataset:
    """Find the text, choose what to keep for validation, encode, and write the data set."""
    began = time.monotonic()
    _check(settings)
    folder = folder_for(name, settings.data_dir)
    try:
        with Workplace(folder) as workplace:
            source = source_for(name, settings, workplace)
            workplace.resumable = source.resumable
            _prepare(source, settings, workplace)
    except KeyboardInterrupt:
        if (folder / UNFINISHED).exists():
            print(f"note: {_GOES_ON}", file=sys.stderr)
        raise
    except OSError as error:
        what, kept = error.filename or folder, f" {_GOES_ON}" if (folder / UNFINISHED).exists() else ""
        remedy = f"Check the disk and its rights.{kept}"
        raise UserError(f"Cannot use {what}: {error.strerror or error}.", remedy) from None
    dataset = open_dataset(folder)
    _report(dataset, time.monotonic() - began)
    return dataset


def _prepare(source: Source, settings: PrepareSettings, workplace: Workplace) -> None:
    text, workers = source.text, settings.workers or min(16, usable_cores())
    before = identity(text.files)
    name = settings.tokenizer or source.tokenizer
    tokenizer = None if name == "char" else tokenizer_from_name(name)
    key = key_of(
        input=before,
        made=[source.description, source.separator],
        tokenizer=tokenizer.sha256() if tokenizer else name,
        split=[text.val_fraction, str(text.val_file), text.val_rows is not None],
        settings=[settings.column, settings.shard_tokens],
        once="" if source.resumable else os.urandom(8).hex(),
    )
    journal, news = open_journal(workplace, key)
    if news:
        print(f"note: an earlier preparation of {workplace.folder} was interrupted; {news}", file=sys.stderr)
    tokenizer = _begin(text, tokenizer, journal, workplace, workers)
    separator = source.separator or tokenizer.separator
    job = _job(workplace, settings.column, separator, dtype_for(tokenizer), "tokenizer.json")
    while not journal.encoded:
        assert journal.begun is not None
        units = units_of(text, journal.begun)
        _announce(units, journal, text, tokenizer, settings.shard_tokens, workers, workplace)
        with _progress("encoding", sum(unit.size for unit in units)) as advance:
            encode(units, journal, replace(job, rule=journal.begun.rule), tokenizer, workers, advance)
        again = begin_again(text, journal.begun, journal)
        if again is None:
            journal.finish_encoding()
        else:
            assert again != journal.begun
            workplace.clear("*.part")
            journal.begin(again)
    if identity(text.files) != before:
        raise UserError(f"{source.description} changed while it was read.", "Run the same command again.")
    _say_notes(journal)
    finish(workplace, journal, all_parts(journal), tokenizer, separator, source.description, settings.shard_tokens)


def _begin(text: Text, tokenizer: Tokenizer | None, journal: Journal, workplace: Workplace, workers: int) -> Tokenizer:
    """Share out the text and settle the tokenizer; both are taken from the journal when they are there."""
    file = workplace.path / "tokenizer.json"
    if journal.begun is not None:
        return load_tokenizer(file)
    job = _job(workplace, text.column, "none", "", "")
    with _progress("reading", sum(path.stat().st_size for path in text.files)) as advance:
        begun = begin(text, job, workers, advance)
        if tokenizer is None:
            tokenizer = char_tokenizer(alphabet_of(text, job, workers, advance))
    tokenizer.save(file)
    journal.begin(begun)
    return tokenizer


def _job(workplace: Workplace, column: str, separator: Separator, dtype: str, tokenizer: str) -> Job:
    file = str(workplace.path / tokenizer) if tokenizer else ""
    return Job(str(workplace.path), os.urandom(4).hex(), file, separator, dtype, column)


# --- where the text comes from ---------------------------------------------------------------------------


def source_for(name: str, settings: PrepareSettings, workplace: Workplace) -> Source:
    """The text that `name` and `--input` mean."""
    if settings.limit and (settings.input or name not in hub.KNOWN):
        raise UserError("--limit is for texts on the hub.", f"Those are {', '.join(hub.KNOWN)}.", status=2)
    if name in hub.KNOWN:
        return _hub_source(name, settings)
    by_name = "char" if name.endswith("_char") else "byte"
    share = 0.1 if settings.val_fraction is None else settings.val_fraction
    if name == "bundled":
        if settings.input:
            raise UserError("bundled has its own text and takes no --input.", "Choose another name.", status=2)
        return Source(bundled.describe(), Text((), settings.column, share), by_name, resumable=False)
    if settings.input == "-":
        print("note: standard input can be read only once, so this cannot be resumed", file=sys.stderr)
        files = [workplace.keep(local.keep_standard_input(workplace.path, settings.stdin))]
        return Source("standard input", Text(tuple(files), settings.column, share), by_name, resumable=False)
    if name in ("shakespeare_char", "shakespeare"):
        files = local.files_of(settings.input) if settings.input else [shakespeare.fetch(workplace.folder)]
        description = "the tiny Shakespeare text"
        if [sha256_of(file) for file in files] != [shakespeare.SHA256]:
            description = settings.input
            print(f"note: {settings.input} is not the file at {shakespeare.URL}", file=sys.stderr)
        tokenizer = "char" if name == "shakespeare_char" else "gpt2"
        return Source(description, Text(tuple(files), settings.column, share), tokenizer, separator="none")
    if not settings.input:
        raise UserError(
            f"inkling has no text called {name}.",
            f"It knows {', '.join(KNOWN)}; for your own text add --input FILE, FOLDER or GLOB.",
            status=2,
        )
    files = local.files_of(settings.input)
    return Source(settings.input, Text(tuple(files), settings.column, share), by_name)


def _hub_source(name: str, settings: PrepareSettings) -> Source:
    """A text on the hub, fetched now, or from files that were fetched elsewhere."""
    known = hub.KNOWN[name]
    if settings.input:
        files, description = local.files_of(settings.input), f"{known.repo}, from {settings.input}"
    else:
        files, description = _fetch(name, settings)
    share = openwebtext.VAL_FRACTION if settings.val_fraction is None else settings.val_fraction
    text = Text(tuple(files), settings.column, share)
    if settings.val_fraction is None and all(local.kind_of(file) == "parquet" for file in files):
        if known.val_is_last and len(files) > 1:
            text = replace(text, val_file=files[-1])
        if known.nanogpt_split and not settings.limit:
            text = replace(text, val_rows=openwebtext.validation_rows(files, settings.column))
    return Source(description, text, "gpt2")


def _fetch(name: str, settings: PrepareSettings) -> tuple[list[Path], str]:
    """Say what is coming, refuse what does not fit on the disk, and download it."""
    listing = hub.find(name, settings.limit)
    missing = listing.size - hub.cached_bytes(listing)
    cache, data = hub.cache_folder(), Path(settings.data_dir)
    needed = disk_for(listing.tokens, itemsize=2, shard_tokens=settings.shard_tokens)
    print(
        f"{listing.repo}: {len(listing.files)} files, {in_bytes(missing)} to download of {in_bytes(listing.size)}; "
        f"about {listing.tokens / 1e6:,.0f} M tokens by GPT-2's vocabulary, {in_bytes(needed)} of disk; "
        f"{in_bytes(free_space(data))} are free",
        file=sys.stderr,
    )
    check_disk(missing, cache, f"The download of {name}")
    check_disk(needed + (missing if on_one_disk(cache, data) else 0), data, name)
    with _progress("fetching", listing.size) as advance:
        files = hub.fetch(name, listing, advance)
    return files, f"{listing.repo} at {listing.commit}"


# --- what the person sees --------------------------------------------------------------------------------


def _check(settings: PrepareSettings) -> None:
    if settings.val_fraction is not None and not 0 < settings.val_fraction < 1:
        raise UserError("--val_fraction must lie between 0 and 1.", "The default is 0.1.", status=2)
    if settings.shard_tokens < 1 or settings.workers < 0:
        raise UserError("--shard_tokens must be at least 1, and --workers at least 0.", status=2)


def _announce(
    units: list[Unit],
    journal: Journal,
    text: Text,
    tokenizer: Tokenizer,
    shard_tokens: int,
    workers: int,
    workplace: Workplace,
) -> None:
    """Before a long job: what it will take. Refuses what cannot fit."""
    left = [unit for number, unit in enumerate(units) if number not in journal.seen]
    if text_bytes(left) < LONG:
        return
    itemsize = 2 if dtype_for(tokenizer) == "<u2" else 4
    expected = estimate(left, text, tokenizer, itemsize, shard_tokens, workers)
    free = in_bytes(free_space(workplace.folder))
    print(f"encoding {expected}, with {workers} processes; {free} are free", file=sys.stderr)
    check_disk(expected.disk, workplace.folder, "This")


def _say_notes(journal: Journal) -> None:
    """What the readers noted. Those that begin with a number ("3 rows of …") are added up."""
    counted: Counter[str] = Counter()
    for number in sorted(journal.seen):
        for note in journal.seen[number].notes:
            first, _, rest = note.partition(" ")
            is_number = first.replace(",", "").isdigit()
            counted[rest if is_number else note] += int(first.replace(",", "")) if is_number else 0
    for i, (note, count) in enumerate(counted.items()):
        if i == 10:
            print(f"note: and {len(counted) - 10:,} more like these", file=sys.stderr)
            break
        print(f"note: {f'{count:,} ' if count else ''}{note}", file=sys.stderr)


def _report(dataset: Dataset, seconds: float) -> None:
    parts = []
    for split, ids in (("train", dataset.train), ("val", dataset.val)):
        parts.append(f"{split} {len(ids):,} tokens ({ids.nbytes / 1e6:.1f} MB)")
    print(" · ".join([*parts, f"vocabulary {dataset.meta.vocab_size:,}", f"{seconds:.1f} s"]))
    print(f"→ {dataset.path}")


@contextmanager
def _progress(doing: str, total: int) -> Iterator[Advance]:
    """A bar on the terminal, for work that takes more than two seconds; gets the bytes that are done."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(doing, total=total)
    began = time.monotonic()

    def advance(step: int) -> None:
        bar.advance(task, step)
        if not bar.live.is_started and time.monotonic() - began > 2:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()
