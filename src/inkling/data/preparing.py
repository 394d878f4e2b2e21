"""The way from text to a data set, step by step: look, share out, encode, check the shares, assemble.

Everything is a function of the input and the settings. What a killed process has finished is in the journal, and is
passed over.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from inkling.data.encode import Job, Part
from inkling.data.journal import Begun, Journal
from inkling.data.meta import Split
from inkling.data.reading import Rule
from inkling.data.sources.local import kind_of
from inkling.data.sources.opening import is_compressed
from inkling.data.sources.textfile import TextFile, begins_at, count_characters
from inkling.data.units import Stretch, Unit, plan, plan_single, unit_size
from inkling.data.workers import Task, perform_all
from inkling.errors import UserError
from inkling.text.tokenizer import Tokenizer

# Up to so many .txt files are all hashed beforehand, so that few large documents need not be encoded twice when the
# first rule would put all of them on one side.
FEW = 100


@dataclass(frozen=True)
class Text:
    """What is to be prepared, and how it is shared out."""

    files: tuple[Path, ...]
    """none: the text is made, in `units`"""
    column: str
    val_fraction: float
    units: tuple[Unit, ...] = ()
    conversations: bool = False
    """whether each document is a conversation"""
    val_file: Path | None = None
    """a file that is for validation while all others are for training"""
    val_rows: tuple[int, ...] | None = None
    """rows of all parquet files together that are for validation, ascending"""


Advance = Callable[[int], None]
"""Takes bytes of input as they are done, for a progress bar."""


def begin(text: Text, job: Job, workers: int, advance: Advance) -> Begun:
    """Decide how the text is shared out, as far as that can be done before it is encoded.

    A single text is cut once, so that validation is what follows training. Of many, each is chosen by its hash.
    """
    files = _with_text(text.files)
    limit = int(text.val_fraction * 2**64)
    if len(files) == 1 and kind_of(files[0]) == "txt":
        return _begin_single(files[0], text.val_fraction)
    if text.val_file is not None or text.val_rows is not None or not files:
        return Begun(Rule(limit))
    texts = [file for file in files if kind_of(file) == "txt"]
    all_texts = len(texts) == len(files) <= FEW
    if not all_texts:
        texts = [file for file in texts if _is_plain_txt(file) and file.stat().st_size > unit_size(files)]
    hashes: dict[str, int] = {}
    tasks = [Task("hashes", i, Unit((Stretch("txt", str(file)),), file.stat().st_size)) for i, file in enumerate(texts)]
    for number, found in perform_all(tasks, job, workers):
        hashes |= found
        advance(tasks[number].unit.size)
    hashes = {str(file): hashes[str(file)] for file in texts if str(file) in hashes}
    if all_texts:
        if not hashes:
            raise _empty()
        if len(hashes) == 1:
            return _begin_single(Path(next(iter(hashes))), text.val_fraction)
        limit = _within(limit, min(hashes.values()), max(hashes.values()), len(hashes))
    return Begun(Rule(limit), hashes)


def begin_again(text: Text, begun: Begun, journal: Journal) -> Begun | None:
    """After all is encoded: None when both splits have documents, else the rule by which they will."""
    seen = journal.seen.values()
    documents = sum(each.documents for each in seen)
    if not documents:
        raise _empty()
    counts = {split: sum(getattr(part, split).documents for part in all_parts(journal)) for split in ("train", "val")}
    if all(counts.values()):
        return None
    if documents == 1 and text.conversations:
        raise UserError(
            "There is only one conversation, and validation needs one as well.", "Give --input at least two."
        )
    if documents == 1:
        for file in text.files:  # is it a whole file, or a line or row?
            if kind_of(file) == "txt" and any(TextFile(file).raw()):
                return _begin_single(file, text.val_fraction)
        return Begun(Rule(cut=_cut(max(each.characters for each in seen), text.val_fraction)))
    hashes = [*begun.hashes.values()]
    hashes += [each for unit in seen for each in (unit.lowest, unit.highest) if each is not None]
    if not hashes:
        raise UserError(f"{text.val_file} has no text to validate on.", "Set --val_fraction to choose from all files.")
    return replace(begun, rule=Rule(_within(begun.rule.limit, min(hashes), max(hashes), documents)))


def units_of(text: Text, begun: Begun) -> list[Unit]:
    """The units of the text, when it is shared out so."""
    if not text.files:
        return list(text.units)
    if begun.single:
        assert begun.rule.cut is not None
        return plan_single(Path(begun.single), begun.rule.cut)
    split_of: dict[str, Split] = {
        path: "val" if number < begun.rule.limit else "train" for path, number in begun.hashes.items()
    }
    if text.val_file is not None:
        split_of |= {str(file): "val" if file == text.val_file else "train" for file in text.files}
    return plan(_with_text(text.files), text.column, split_of, text.val_rows)


def alphabet_of(text: Text, job: Job, workers: int, advance: Advance) -> str:
    """The characters of all of the text, sorted."""
    anywhere: dict[str, Split] = {str(file): "train" for file in text.files if kind_of(file) == "txt"}
    units = plan(_with_text(text.files), text.column, anywhere) if text.files else units_of(text, Begun(Rule()))
    characters: set[str] = set()
    tasks = [Task("alphabet", number, unit) for number, unit in enumerate(units)]
    for number, found in perform_all(tasks, job, workers):
        characters.update(found)
        advance(units[number].size)
    if not characters:
        raise _empty()
    return "".join(sorted(characters))


def encode(
    units: Sequence[Unit], journal: Journal, job: Job, tokenizer: Tokenizer, workers: int, advance: Advance
) -> None:
    """Encode the units that are not done yet, and enter in the journal what is."""
    tasks = []
    for number, unit in enumerate(units):
        if number in journal.seen:
            advance(unit.size)
            continue
        done = journal.parts.get(number, [])
        tasks.append(Task("encode", number, unit, len(done), sum(part.pieces for part in done)))
    shown: Counter[int] = Counter()  # bytes of each unit that the bar has been told of
    for number, result in perform_all(tasks, job, workers, tokenizer):
        left = units[number].size - shown[number]
        if isinstance(result, Part):
            journal.add_part(result)
            left = min(left, result.train.bytes + result.val.bytes)
        else:
            journal.finish_unit(number, result)
        shown[number] += left
        advance(left)


def all_parts(journal: Journal) -> list[Part]:
    """All parts in the order of the text."""
    return [part for number in sorted(journal.parts) for part in journal.parts[number]]


def _begin_single(file: Path, val_fraction: float) -> Begun:
    length = count_characters(TextFile(file).raw())
    if not length:
        raise _empty()
    cut = Rule(cut=_cut(length, val_fraction))
    return Begun(cut) if is_compressed(file) else Begun(cut, single=str(file))


def _cut(length: int, val_fraction: float) -> int:
    cut = int(length * (1 - val_fraction))
    if not 0 < cut < length:
        raise UserError(
            f"{length} characters are too few to keep {val_fraction:g} of them for validation.",
            "Give --input more text, or change --val_fraction.",
        )
    return cut


def _within(limit: int, lowest: int, highest: int, documents: int) -> int:
    """The limit, moved so far that at least one document is below it and one is not."""
    if lowest == highest:
        raise UserError(
            f"All {documents} documents have the same text, so none can be kept for validation.",
            "Give --input different documents, or one .txt file.",
        )
    return min(max(limit, lowest + 1), highest)


def _with_text(files: Sequence[Path]) -> list[Path]:
    """Without .txt files that are empty, or hold a byte order mark and nothing else."""
    return [
        file for file in files if not _is_plain_txt(file) or (size := file.stat().st_size) > 3 or size > begins_at(file)
    ]


def _is_plain_txt(file: Path) -> bool:
    return kind_of(file) == "txt" and not is_compressed(file)


def _empty() -> UserError:
    return UserError("There is no text in the input: it is empty.", "Give --input some text.")
