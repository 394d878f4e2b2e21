"""`inkling tokenizer train | eval | show`: learn a vocabulary from text, compare it with others, look at its tokens."""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inkling.data.sources import almanac, hub, jsonl, local, parquet
from inkling.data.sources.textfile import TextFile
from inkling.errors import UserError
from inkling.settings import Layer, build
from inkling.stages.bar import show_bar
from inkling.stages.tables import show_table
from inkling.stages.texts import fetch_first
from inkling.text.bpe import ALPHABET
from inkling.text.cut import cut_safely
from inkling.text.samples import SAMPLES
from inkling.text.split import DEFAULT_PATTERN, check_pattern
from inkling.text.tokenizer import Tokenizer
from inkling.text.tokenizer_json import CHAT_TOKENS
from inkling.text.tokenizer_sources import tokenizer_from_name, trained_tokenizer


@dataclass(frozen=True)
class TokenizerSettings:
    """tokenizer"""

    input: str = ""
    """train: the text to learn from, as for prepare; or almanac, which is made here; or a text on the hub, fineweb_edu
    say, of which the first file is fetched; eval: text of your own to measure on as well"""
    column: str = "text"
    """where the text is in .jsonl lines and .parquet rows"""
    vocab_size: int = 32768
    """train: ids in all: 256 bytes, the merges, and nine special tokens for conversations"""
    pattern: Literal["gpt2", "cl100k", "nanochat", "qwen"] = DEFAULT_PATTERN
    """train: how text is split into chunks before merging; experiments/LOG.md compares them"""
    max_bytes: int = 1_000_000_000
    """train: read no more text than this; more hardly changes a vocabulary"""
    tokenizers_dir: str = "tokenizers"
    """the folder in which a trained tokenizer gets its own folder"""
    compare: str = "gpt2,cl100k"
    """eval: what to compare with: gpt2, cl100k (GPT-4), names and paths of tokenizers"""
    text: str = ""
    """show: the text; FILE:path reads it from a UTF-8 file"""


SETTINGS = TokenizerSettings
DESCRIPTION = """Make and inspect vocabularies: inkling tokenizer train|eval|show NAME [--key=value ...]

  inkling tokenizer train mine --input="notes/*.txt" --vocab_size=8192     → ./tokenizers/mine
  inkling tokenizer eval mine                                              bytes per token, by kind of text
  inkling tokenizer show mine --text="Hello, world!"                       its tokens, in colour
  inkling prepare notes --input="notes/*.txt" --tokenizer=tokenizers/mine  use it

For eval and show, NAME may also be gpt2, byte, or the path of a tokenizer.json."""

# Of every so many stretches of text one is kept from training, to measure on.
STRETCH, HELD_OUT, MOST_HELD_OUT = 50_000, 20, 100  # characters; 1 in; at most

# Of the almanac so many texts and conversations are enough to have met every fact several times.
ALMANAC_TEXTS = 5_000


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    actions: dict[str, Callable[[str, TokenizerSettings], object]] = {"train": main, "eval": evaluate, "show": show}
    if len(positional) != 2 or positional[0] not in actions:
        raise UserError(
            "tokenizer takes train, eval or show, and a NAME.",
            "For example: inkling tokenizer train mine --input=book.txt",
            status=2,
        )
    settings, _ = build(TokenizerSettings, [Layer("flag", flags)])
    actions[positional[0]](positional[1], settings)


# --- train -----------------------------------------------------------------------------------------------


def main(name: str, settings: TokenizerSettings) -> Tokenizer:
    """Learn a vocabulary from `--input` and write it to tokenizers/NAME/tokenizer.json."""
    from inkling.text import bpe_fast, count_fast

    file = _folder_for(name, settings.tokenizers_dir) / "tokenizer.json"
    n_merges = _check_training(settings)
    began = time.monotonic()
    if settings.input == "almanac":
        texts, size = _almanac(), ALMANAC_TEXTS * (almanac.TEXT_BYTES + almanac.CHAT_BYTES)
    else:
        is_hub_text = settings.input in hub.KNOWN and not Path(settings.input).exists()
        files = fetch_first(settings.input) if is_hub_text else local.files_of(settings.input)
        texts, size = _texts(files, settings.column), sum(path.stat().st_size for path in files)
    text = _Shared(texts, settings.max_bytes)
    whole = min(settings.max_bytes, size)
    with show_bar("reading", whole, in_bytes=True) as advance:
        counts = count_fast.count_chunks(text, settings.pattern, advance)
    if not counts:
        raise UserError("There is no text in the input: it is empty.", "Give --input some text.")
    with show_bar("merging", n_merges) as advance:
        merges = bpe_fast.learn_merges(counts, n_merges, advance)
    reached = len(ALPHABET) + len(merges) + len(CHAT_TOKENS)
    if len(merges) < n_merges:
        raise UserError(
            f"This text has no more pairs to merge at {reached:,} tokens, of {settings.vocab_size:,} wanted.",
            f"Use --vocab_size={reached} or less, or give --input more text.",
        )
    seconds = time.monotonic() - began
    tokenizer = trained_tokenizer(merges, settings.pattern)
    file.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(file)
    print(
        f"vocabulary {tokenizer.vocab_size:,} ({settings.pattern}) from {text.bytes / 1e6:.1f} MB of text"
        f" · {seconds:.1f} s ({text.bytes / 1e6 / seconds:.0f} MB/s)"
    )
    held_out, what = (text.held_out, "held-out text") if text.held_out else (text.last, "the end of its own text")
    print(f"{_bytes_per_token(_counter(tokenizer), held_out):.2f} bytes per token on {what}")
    print(f"→ {file.parent}")
    return tokenizer


def _check_training(settings: TokenizerSettings) -> int:
    """How many merges to learn."""
    check_pattern(settings.pattern)
    smallest = len(ALPHABET) + len(CHAT_TOKENS)
    if settings.vocab_size < smallest:
        raise UserError(
            f"vocab_size={settings.vocab_size} is too small: the bytes and the special tokens alone are {smallest}.",
            f"Use at least --vocab_size={smallest}; 32768 is usual.",
            status=2,
        )
    if not settings.input:
        raise UserError("Learn from which text?", "Add --input FILE, FOLDER or GLOB.", status=2)
    if settings.max_bytes < 1:
        raise UserError(f"max_bytes={settings.max_bytes} must be at least 1.", status=2)
    return settings.vocab_size - smallest


def _folder_for(name: str, parent: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UserError(
            f"{name!r} is no name for a tokenizer.",
            "A name has letters, digits, '_', '-' and '.', and starts with a letter or digit.",
            status=2,
        )
    return Path(parent) / name


class _Shared:
    """Text for training; iterating puts some of it aside, in `held_out`."""

    def __init__(self, texts: Iterable[str], most: int) -> None:
        self._texts = texts
        self._most = most
        self.bytes = 0
        self.held_out: list[str] = []
        self.last: list[str] = []

    def __iter__(self) -> Iterator[str]:
        number = 0
        for text in self._texts:
            for stretch in cut_safely([text], STRETCH):
                number += 1
                if number % HELD_OUT == 0 and len(self.held_out) < MOST_HELD_OUT:
                    self.held_out.append(stretch)
                    continue
                self.bytes += len(stretch) if stretch.isascii() else len(stretch.encode("utf-8"))
                self.last = [stretch]
                yield stretch
                if self.bytes >= self._most:
                    return


def _texts(files: list[Path], column: str) -> Iterator[str]:
    """The text in `files`, in pieces that are cut where that changes no tokens."""
    for file in files:
        kind = local.kind_of(file)
        if kind == "txt":
            yield from TextFile(file)
        elif kind == "jsonl":
            yield from jsonl.documents(file, 0, None, column, _note)
        else:
            yield from parquet.documents(file, 0, len(parquet.row_groups(file, column)), column, _note)


def _almanac() -> Iterator[str]:
    """Texts of the almanac, and what is said in its conversations."""
    yield from almanac.documents(0, ALMANAC_TEXTS, 0, "", conversations=False)
    for line in almanac.documents(0, ALMANAC_TEXTS, 0, "", conversations=True):
        yield "\n".join(message["content"] for message in json.loads(line) if message.get("content")) + "\n"


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


# --- eval ------------------------------------------------------------------------------------------------

# What gives the number of tokens of a text.
Counter = Callable[[str], int]


def evaluate(where: str, settings: TokenizerSettings) -> dict[str, dict[str, float]]:
    """Print a table of bytes per token, more is better, and return it: kind of text → vocabulary → figure."""
    counters = {where: _counter(_find(where, settings.tokenizers_dir))}
    skipped = []
    for other in filter(None, (name.strip() for name in settings.compare.split(","))):
        try:
            counters.setdefault(
                other, _cl100k() if other == "cl100k" else _counter(_find(other, settings.tokenizers_dir))
            )
        except UserError as error:
            skipped.append(f"{other} is left out. {error.problem}")
    texts = {kind: [text] for kind, text in SAMPLES.items()}
    if settings.input:
        own = _Shared(_texts(local.files_of(settings.input), settings.column), most=10_000_000)
        texts[settings.input] = [*own, *own.held_out]
    table = {
        kind: {name: _bytes_per_token(counter, some) for name, counter in counters.items()}
        for kind, some in texts.items()
    }
    rows = [[kind, *(f"{figure:.2f}" for figure in row.values())] for kind, row in table.items()]
    show_table("bytes per token", rows, head=["", *counters])
    for sentence in skipped:
        _note(sentence)
    return table


def _find(where: str, tokenizers_dir: str) -> Tokenizer:
    """A tokenizer by its name in `tokenizers_dir`, or by what --tokenizer takes."""
    named = Path(tokenizers_dir) / where
    return tokenizer_from_name(str(named) if (named / "tokenizer.json").exists() else where)


def _counter(tokenizer: Tokenizer) -> Counter:
    return lambda text: len(tokenizer.encode_array(text))


def _cl100k() -> Counter:
    """GPT-4's vocabulary, which tiktoken downloads once."""
    import tiktoken

    try:
        encoding = tiktoken.get_encoding("cl100k_base")
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong hash is a ValueError
        raise UserError(f"GPT-4's vocabulary could not be downloaded ({type(error).__name__}).") from None
    return lambda text: len(encoding.encode_ordinary(text))


def _bytes_per_token(count: Counter, texts: list[str]) -> float:
    tokens = sum(count(text) for text in texts)
    return sum(len(text.encode("utf-8")) for text in texts) / max(1, tokens)


# --- show ------------------------------------------------------------------------------------------------

# Black on two light grounds in turn, so that tokens stand apart on a dark terminal and on a light one.
_GROUNDS = ("\033[30;48;5;153m", "\033[30;48;5;223m")
_RESET = "\033[0m"


def show(where: str, settings: TokenizerSettings) -> list[int]:
    """Print the tokens of `--text` and their ids, and return the ids."""
    text = _read(settings.text)
    tokenizer = _find(where, settings.tokenizers_dir)
    ids = tokenizer.encode(text)
    words = [visible(tokenizer.decode_bytes([i])) for i in ids]
    numbers = [str(i) for i in ids]
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        print("".join(coloured(words)))
        print(" ".join(coloured(numbers)))
    else:
        print("|".join(words))
        print(" ".join(numbers))
    size = len(text.encode("utf-8"))
    print(f"{size:,} bytes, {len(ids):,} tokens: {size / max(1, len(ids)):.2f} bytes per token")
    return ids


def visible(token: bytes) -> str:
    """The text of a token for a terminal: control characters and broken characters as codes, newlines marked."""
    parts = []
    for character in token.decode("utf-8", errors="surrogateescape"):
        if character == "\n":
            parts.append("⏎\n")
        elif "\udc80" <= character <= "\udcff":  # a byte of a character that is spread over several tokens
            parts.append(f"<{ord(character) - 0xDC00:02X}>")
        else:
            parts.append(character if character.isprintable() else repr(character)[1:-1])
    return "".join(parts)


def coloured(words: list[str]) -> Iterator[str]:
    """Tokens on grounds of two colours in turn."""
    for i, word in enumerate(words):
        # The ground ends before a newline, else it would run to the edge of the terminal.
        yield "\n".join(_GROUNDS[i % 2] + line + _RESET if line else "" for line in word.split("\n"))


def learned(words: list[str], mask: list[int], in_colour: bool) -> Iterator[str]:
    """Tokens apart, those that are learned bold and green, or where there is no colour between « and »."""
    begin, end = ("\033[1;32m", _RESET) if in_colour else ("«", "»")
    before = 0
    for i, (word, is_learned) in enumerate(zip(words, mask, strict=True)):
        edge = {(0, 1): begin, (1, 0): end}.get((before, is_learned), "")
        yield (edge + "|" * (i > 0) if is_learned < before else "|" * (i > 0) + edge) + word
        before = is_learned
    yield end if before else ""


def _read(text: str) -> str:
    """The text of `--text`, which may be in a file."""
    if not text:
        raise UserError("Show the tokens of which text?", 'Add --text="..." or --text=FILE:path.', status=2)
    if not text.startswith("FILE:"):
        return text
    path = Path(text.removeprefix("FILE:"))
    try:
        return path.read_bytes().decode("utf-8")  # not read_text, which would change the ends of lines
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.", "Check --text.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from None
