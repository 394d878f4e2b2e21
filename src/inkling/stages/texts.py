"""Which text a NAME and the settings of `inkling prepare` mean."""

import json
import sys
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from inkling.data.estimate import check_disk, disk_for, in_bytes
from inkling.data.journal import Workplace
from inkling.data.preparing import Text
from inkling.data.shards import SHARD_TOKENS
from inkling.data.sources import almanac, bundled, hub, jsonl, local, openwebtext, shakespeare
from inkling.data.units import Stretch, Unit, plan_almanac
from inkling.errors import UserError
from inkling.files import free_space, on_one_disk, sha256_of
from inkling.stages.bar import show_bar
from inkling.tasks import TASKS, TaskSettings, find_task
from inkling.text.conversation import require_chat
from inkling.text.tokenizer import Separator
from inkling.text.tokenizer_sources import byte_tokenizer, tokenizer_from_name


@dataclass(frozen=True)
class PrepareSettings:
    """prepare"""

    input: str = ""
    """your own text: a file, a folder, a glob in quotes, or - for standard input. A .txt file is one document, a .jsonl
    file has one a line ({"text": …}), a .parquet file one a row; the first two also with .gz or .zst. A .jsonl file
    whose lines are {"messages": […]} holds conversations. Of a task: a folder with its published files"""
    column: str = "text"
    """where the text is in .jsonl and .parquet files"""
    stdin: Literal["txt", "jsonl"] = "txt"
    """what comes in with --input=-"""
    limit: str = ""
    """of a text on the hub only so many files (20) or tokens (500M, 2B)"""
    documents: int = 20_000
    """of the almanac, and of tasks that are made on the spot: how many texts or conversations to make"""
    tables: str = ""
    """of the almanac: a folder of your own tables of facts, which join the bundled ones"""
    seed: int = 1337
    """of what is made on the spot: another seed makes other texts of the same facts"""
    tokenizer: str = ""
    """char, byte, gpt2, or the path of a tokenizer.json; unset: gpt2 for shakespeare and the texts on the hub, char for
    a NAME that ends in _char, byte for the rest. Conversations need one that `inkling tokenizer train` made"""
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


ALMANAC, ALMANAC_CHAT = "almanac", "almanac_chat"
TAUGHT = tuple(name for name in TASKS if name not in (ALMANAC, "humaneval"))  # whose conversations are data sets
MADE = ("spelling",)  # on the spot, without end
KNOWN = ("shakespeare_char", "shakespeare", "bundled", ALMANAC, ALMANAC_CHAT, *TAUGHT, *hub.KNOWN)


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
        units = (Unit((Stretch("bundled"),), 0),)
        return Source(bundled.describe(), Text((), settings.column, share, units), by_name, resumable=False)
    if name in (ALMANAC, ALMANAC_CHAT):
        return _almanac_source(name, settings, share)
    if name in TASKS and not _is_own_text(settings.input):
        return _task_source(name, settings, share, workplace)
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
    conversations = _hold_conversations(files)
    return Source(settings.input, Text(tuple(files), settings.column, share, (), conversations), by_name)


def _almanac_source(name: str, settings: PrepareSettings, share: float) -> Source:
    """Texts of the almanac, or conversations."""
    if settings.input:
        raise UserError(f"{name} has its own text and takes no --input.", "Your own facts: --tables=FOLDER.", status=2)
    chat = name == ALMANAC_CHAT
    units = plan_almanac(settings.documents, settings.seed, settings.tables, chat)
    text = Text((), settings.column, share, tuple(units), conversations=chat)
    described = almanac.describe(settings.tables, settings.seed, settings.documents, chat)
    return Source(described, text, "byte", separator="bos_before" if chat else None)


def _is_own_text(where: str) -> bool:
    """Whether `--input` is text, and not a folder of a task's published files."""
    return bool(where) and not any(Path(where).rglob("*.parquet"))


def _task_source(name: str, settings: PrepareSettings, share: float, workplace: Workplace) -> Source:
    """What a task teaches, written down as a file of conversations first: it is read by several processes."""
    own = settings.tokenizer not in ("", "char")
    require_chat(tokenizer_from_name(settings.tokenizer) if own else byte_tokenizer())  # before a long download
    task = find_task(name, TaskSettings(settings.tables, settings.input))
    conversations = task.conversations(settings.seed)
    if name in MADE:
        conversations = islice(conversations, settings.documents)
    file = workplace.keep(workplace.path / "conversations.jsonl")
    count = 0
    with file.open("w", encoding="utf-8") as out:
        for messages in conversations:
            count += 1
            out.write(json.dumps(messages, ensure_ascii=False) + "\n")
    made = f" of seed {settings.seed}" if name in MADE else ""
    return Source(
        f"the task {name}, {count:,} conversations{made}",
        Text((file,), settings.column, share, conversations=True),
        "byte",
        resumable=False,
    )


def _hold_conversations(files: list[Path]) -> bool:
    """Whether the files are of conversations: all of them, or none."""
    chats = [file for file in files if local.kind_of(file) == "jsonl" and jsonl.holds_conversations(file)]
    if chats and len(chats) < len(files):
        other = next(file for file in files if file not in chats)
        raise UserError(
            f"{chats[0]} holds conversations, and {other} does not.", "Prepare them as two data sets.", status=2
        )
    return bool(chats)


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
    with show_bar("fetching", listing.size, in_bytes=True) as advance:
        files = hub.fetch(listing, advance)
    return files, f"{listing.repo} at {listing.commit}"


def fetch_first(name: str) -> list[Path]:
    """The first file of a known text on the hub: enough to learn a vocabulary from. `prepare` finds it in the cache."""
    listing = hub.find(name, limit="1")
    missing = listing.size - hub.cached_bytes(listing)
    print(f"{listing.repo}: {in_bytes(missing)} to download of {in_bytes(listing.size)}", file=sys.stderr)
    check_disk(missing, hub.cache_folder(), f"The download of {name}")
    with show_bar("fetching", listing.size, in_bytes=True) as advance:
        return hub.fetch(listing, advance)
