"""What is done of a preparation, so that a killed one goes on where it was.

`.unfinished` in the data set's folder holds the journal, parts and shards. The journal is a line of JSON for each
thing that is finished, written after the thing. The first line says what is being prepared; when anything of that has
changed (a setting, the tokenizer, the name, size or time of a file) all is done anew.
"""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from inkling.data.encode import Part, part_from
from inkling.data.meta import Shard
from inkling.data.reading import Rule, Seen
from inkling.errors import UserError
from inkling.files import write_atomic

FORMAT = 1
UNFINISHED, JOURNAL = ".unfinished", "journal.jsonl"


class Keep(UserError):
    """An error after which what is done so far is kept: the same command goes on from there."""


class Workplace:
    """The folder `.unfinished`, in a `with` block that one process at a time can enter.

    It goes when the block ends well, or by a mistake in the text; it stays after Ctrl-C, a full disk or a kill, and
    when the block ends before its journal was opened.
    """

    def __init__(self, folder: Path, resumable: bool = True) -> None:
        self.folder = folder
        self.resumable = resumable
        self.opened = False
        self.path = folder / UNFINISHED
        self._lock = self.path / "lock"
        self._kept = {self._lock}

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        self._refuse_company()
        self._lock.write_text(json.dumps([os.getpid(), psutil.Process().create_time()]), encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        mistake = isinstance(error, UserError) and not isinstance(error, Keep)
        to_be_resumed = not self.opened or (self.resumable and not mistake)
        if error is not None and to_be_resumed and (self.path / JOURNAL).exists():
            self._lock.unlink(missing_ok=True)
            return
        shutil.rmtree(self.path, ignore_errors=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _refuse_company(self) -> None:
        try:
            pid, began = json.loads(self._lock.read_bytes())
            if pid != os.getpid() and psutil.Process(pid).create_time() == began:
                raise UserError(f"Process {pid} is preparing {self.folder} at this moment.", "Wait for it, or end it.")
        except (OSError, ValueError, TypeError, psutil.Error):
            pass  # no lock, or of a process that is no more

    def keep(self, file: Path) -> Path:
        """`clear` shall not remove this."""
        self._kept.add(file)
        return file

    def clear(self, pattern: str = "*") -> None:
        """Remove what is there, but the lock and what is to be kept."""
        for file in list(self.path.glob(pattern)):
            if file not in self._kept:
                file.unlink()


def key_of(**what: Any) -> str:
    """A hash of all that decides what is prepared."""
    return hashlib.sha256(json.dumps([FORMAT, what], sort_keys=True).encode()).hexdigest()


def identity(files: Iterable[Path]) -> list[list[Any]]:
    """What tells that a file is the one it was: its name, size and time of change."""
    found = []
    for file in files:
        status = file.stat()
        found.append([file.as_posix(), status.st_size, status.st_mtime_ns])
    return found


@dataclass(frozen=True)
class Begun:
    """How the text is shared out, found out before any of it was encoded, and kept so that it stays so."""

    rule: Rule
    hashes: dict[str, int] = field(default_factory=dict)
    """of .txt files that are documents in slices, or few"""
    single: str = ""
    """the one plain .txt file that the input is; rule.cut of its characters are for training"""


@dataclass
class Journal:
    """The journal in memory, and on disk as it grows."""

    file: Path
    begun: Begun | None = None
    parts: dict[int, list[Part]] = field(default_factory=dict)
    """of each unit, in order"""
    seen: dict[int, Seen] = field(default_factory=dict)
    """of each unit that is finished"""
    encoded: bool = False
    """whether all units are"""
    shards: dict[str, list[Shard]] = field(default_factory=lambda: {"train": [], "val": []})

    def begin(self, begun: Begun) -> None:
        """Start on the text, from its beginning: what was encoded before, by another rule, counts no more."""
        self.begun, self.parts, self.seen = begun, {}, {}
        self._append("begun", asdict(begun))

    def add_part(self, part: Part) -> None:
        """A part is written."""
        self.parts.setdefault(part.unit, []).append(part)
        self._append("part", asdict(part))

    def finish_unit(self, number: int, seen: Seen) -> None:
        """All parts of a unit are."""
        self.seen[number] = seen
        self._append("unit", [number, asdict(seen)])

    def finish_encoding(self) -> None:
        """All units are, and by the right rule."""
        self.encoded = True
        self._append("encoded", True)

    def add_shard(self, split: str, shard: Shard) -> None:
        """A shard has reached the disk, and so must this: its parts are deleted next."""
        self.shards[split].append(shard)
        self._append("shard", [split, asdict(shard)], sync=True)

    def _append(self, what: str, value: Any, sync: bool = False) -> None:
        with self.file.open("a", encoding="utf-8", newline="\n") as file:
            file.write(_line(what, value))
            if sync:
                file.flush()
                os.fsync(file.fileno())

    def lines(self) -> Iterator[str]:
        """All that the journal in memory says, as it is in the file after the key."""
        if self.begun is not None:
            yield _line("begun", asdict(self.begun))
        yield from (_line("part", asdict(part)) for parts in self.parts.values() for part in parts)
        yield from (_line("unit", [number, asdict(seen)]) for number, seen in self.seen.items())
        if self.encoded:
            yield _line("encoded", True)
        yield from (_line("shard", [split, asdict(s)]) for split, shards in self.shards.items() for s in shards)

    def replay(self, what: str, value: Any) -> None:
        """Take in a line of an earlier process."""
        if what == "begun":
            self.begun, self.parts, self.seen = Begun(**value | {"rule": Rule(**value["rule"])}), {}, {}
        elif what == "part":
            part = part_from(value)
            self.parts.setdefault(part.unit, []).append(part)
        elif what == "unit":
            self.seen[value[0]] = Seen(**value[1])
        elif what == "encoded":
            self.encoded = True
        elif what == "shard":
            self.shards[value[0]].append(Shard(**value[1]))


def open_journal(workplace: Workplace, key: str) -> tuple[Journal, str]:
    """The journal of what `key` stands for, and what the person is told: the old one, or a new one in an empty folder.

    Parts that are not as the journal says (after a power cut) are forgotten, and those that it knows nothing of
    (half written when their process was killed) are deleted.
    """
    file = workplace.path / JOURNAL
    workplace.opened = True
    journal = Journal(file)
    lines = _lines(file)
    if not lines or lines[0] != ("key", key):
        changed = "the input or a setting has changed since: it begins anew" if lines else ""
        workplace.clear()
        journal._append("key", key)
        return journal, changed
    for what, value in lines[1:]:
        journal.replay(what, value)
    if not journal.encoded:
        for number, parts in journal.parts.items():
            bad = next((i for i, part in enumerate(parts) if not _is_whole(workplace.path / part.file, part)), None)
            if bad is not None:
                del parts[bad:]
                journal.seen.pop(number, None)
    known = {part.file for parts in journal.parts.values() for part in parts}
    for found in workplace.path.glob("*.part"):
        if found.name not in known:
            found.unlink()
    write_atomic(file, "".join([_line("key", key), *journal.lines()]))
    return journal, f"going on with what is there: {len(journal.seen):,} units of the input are done"


def _line(what: str, value: Any) -> str:
    return json.dumps({what: value}) + "\n"


def _lines(file: Path) -> list[tuple[str, Any]]:
    """The journal's lines; a last one that is torn, and what is beyond it, is none."""
    found: list[tuple[str, Any]] = []
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            ((what, value),) = json.loads(line).items()
            found.append((what, value))
    except (OSError, ValueError, AttributeError):
        pass
    return found


def _is_whole(file: Path, part: Part) -> bool:
    try:
        content = file.read_bytes()
    except OSError:
        return False
    return len(content) == part.size and zlib.crc32(content) == part.crc32
