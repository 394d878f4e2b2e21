"""`inkling prepare NAME`: text becomes a data set, a folder of token ids."""

import os
import sys
import time
from collections import Counter
from dataclasses import replace

from inkling.data.encode import Job
from inkling.data.estimate import LONG, check_disk, estimate, in_bytes, text_bytes
from inkling.data.journal import UNFINISHED, Journal, Workplace, identity, key_of, open_journal
from inkling.data.preparing import Text, all_parts, alphabet_of, begin, begin_again, encode, units_of
from inkling.data.shards import Dataset, dtype_for, finish, folder_for, open_dataset
from inkling.data.units import Unit
from inkling.data.workers import usable_cores
from inkling.errors import UserError
from inkling.files import free_space
from inkling.settings import Layer, build
from inkling.stages.bar import show_bar
from inkling.stages.texts import PrepareSettings as PrepareSettings
from inkling.stages.texts import Source, source_for
from inkling.text.conversation import require_chat
from inkling.text.tokenizer import Separator, Tokenizer
from inkling.text.tokenizer_sources import byte_tokenizer, char_tokenizer, load_tokenizer, tokenizer_from_name

SETTINGS = PrepareSettings
DESCRIPTION = """Turn text into tokens on disk: inkling prepare NAME [--input=TEXT] → ./data/NAME

  inkling prepare bundled                              text that Python itself carries, no download
  inkling prepare shakespeare_char                     the text that every character model trains on
  inkling prepare shakespeare --input=input.txt        the same in GPT-2 tokens, from a file you have
  inkling prepare mine --input="notes/*.txt" --tokenizer=gpt2
  inkling prepare almanac                              encyclopaedia and stories from tables of facts, made here
  inkling prepare almanac_chat --tokenizer=tokenizers/mine      conversations about them, with a loss mask
  inkling prepare talk --input=talk.jsonl --tokenizer=tokenizers/mine     your own conversations
  inkling prepare smoltalk --tokenizer=tokenizers/mine          what a task teaches; also: gsm8k, mmlu, spelling, …
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
    if text.conversations:
        require_chat(tokenizer or byte_tokenizer())  # which it must have; characters have none either
    key = key_of(
        input=before,
        made=[source.description, source.separator, text.conversations],
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
    job = _job(workplace, text, separator, dtype_for(tokenizer), "tokenizer.json")
    while not journal.encoded:
        assert journal.begun is not None
        units = units_of(text, journal.begun)
        _announce(units, journal, text, tokenizer, settings.shard_tokens, workers, workplace)
        with show_bar("encoding", sum(unit.size for unit in units), in_bytes=True) as advance:
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
    finish(
        workplace,
        journal,
        all_parts(journal),
        tokenizer,
        separator,
        source.description,
        settings.shard_tokens,
        mask=text.conversations,
    )


def _begin(text: Text, tokenizer: Tokenizer | None, journal: Journal, workplace: Workplace, workers: int) -> Tokenizer:
    """Share out the text and settle the tokenizer; both are taken from the journal when they are there."""
    file = workplace.path / "tokenizer.json"
    if journal.begun is not None:
        return load_tokenizer(file)
    job = _job(workplace, text, "none", "", "")
    with show_bar("reading", sum(path.stat().st_size for path in text.files), in_bytes=True) as advance:
        begun = begin(text, job, workers, advance)
        if tokenizer is None:
            tokenizer = char_tokenizer(alphabet_of(text, job, workers, advance))
    tokenizer.save(file)
    journal.begin(begun)
    return tokenizer


def _job(workplace: Workplace, text: Text, separator: Separator, dtype: str, tokenizer: str) -> Job:
    file = str(workplace.path / tokenizer) if tokenizer else ""
    run = os.urandom(4).hex()
    return Job(str(workplace.path), run, file, separator, dtype, text.column, text.conversations)


# --- what the person sees --------------------------------------------------------------------------------


def _check(settings: PrepareSettings) -> None:
    if settings.val_fraction is not None and not 0 < settings.val_fraction < 1:
        raise UserError("--val_fraction must lie between 0 and 1.", "The default is 0.1.", status=2)
    if settings.shard_tokens < 1 or settings.workers < 0 or settings.documents < 2:
        raise UserError("--shard_tokens must be at least 1, --workers at least 0 and --documents at least 2.", status=2)


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
