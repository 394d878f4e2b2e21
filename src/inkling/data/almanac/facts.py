"""The fact tables: text files that a person can read and extend in an editor.

country ; capital ; language          the first line names the columns; the first column is the subject
France  ; Paris   ; French
India   ; New Delhi | Delhi ; Hindi   two right answers: the first is taught, both count
Israel  ; -       ; Hebrew            "-" is no fact; a line that begins with # is a comment
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from inkling.errors import UserError

TABLES = Path(__file__).parent / "tables"

_LINE = "Write one cell for each column, with ; between them, and - where there is no fact."


@dataclass(frozen=True)
class Fact:
    """One cell of a table: the `relation` of `subject` is `value`."""

    subject: str
    relation: str
    values: tuple[str, ...]
    """all right answers; the first is taught"""
    table: str
    where: str = field(default="", compare=False, repr=False)
    """file and line"""
    is_own: bool = field(default=False, compare=False)
    """whether it is from a person's own table"""

    @property
    def value(self) -> str:
        return self.values[0]


def load_tables(extra: str | Path | None = None) -> list[Fact]:
    """All facts of the bundled tables, and of those in the folder `extra`. A table of the same name is one table.

    Raises UserError with file and line for a line that has not the form of its table, or says what is said elsewhere.
    """
    facts = [fact for path in sorted(TABLES.glob("*.txt")) for fact in read_table(path)]
    if extra is not None:
        own = sorted(own_folder(extra).glob("*.txt"))
        if not own:
            raise UserError(f"The folder {extra} has no table.", "A table is a file NAME.txt; see the bundled ones.")
        facts += [fact for path in own for fact in read_table(path, is_own=True)]
    _refuse_duplicates(facts)
    return facts


def own_folder(extra: str | Path) -> Path:
    """The folder of a person's own tables, which must be there."""
    folder = Path(extra)
    if not folder.is_dir():
        raise UserError(f"There is no folder {extra}.", "Make it, and put tables into it: files NAME.txt.")
    return folder


def read_table(path: Path, is_own: bool = False) -> list[Fact]:
    """The facts of one file, in its order."""
    lines = _lines(path)
    header = next(lines, None)
    if header is None:
        raise UserError(f"{path} is empty.", "Its first line names the columns: country ; capital ; language")
    where, (_, *relations) = header
    if not relations:
        raise UserError(f"{where}: the first line names only one column.", "Name the columns, with ; between them.")
    if "" in header[1] or len(set(relations)) < len(relations):
        raise UserError(f"{where}: two columns have the same name, or one has none.", "Give each its own name.")
    facts = []
    for where, cells in lines:
        if len(cells) != len(relations) + 1:
            raise UserError(f"{where}: {len(cells)} cells where there are {len(relations) + 1} columns.", _LINE)
        subject, *values = cells
        if subject in ("", "-"):
            raise UserError(f"{where}: the first cell is empty.", "It names what the facts are about.")
        for relation, cell in zip(relations, values, strict=True):
            if cell != "-":
                facts.append(Fact(subject, relation, _alternatives(cell, where), path.stem, where, is_own))
    return facts


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Where each line stands, and its cells."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors put a mark at the beginning
    except OSError as error:
        raise UserError(f"Cannot read the table {path}: {error.strerror}.", "Check the file.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            where = f"{path}:{number}"
            if any(mark in line for mark in "{}[]<>"):
                raise UserError(f"{where}: brackets have no place in a table.", "Leave out { } [ ] < >.")
            yield where, [" ".join(cell.split()) for cell in line.split(";")]


def _alternatives(cell: str, where: str) -> tuple[str, ...]:
    values = tuple(value.strip() for value in cell.split("|"))
    if "" in values:
        raise UserError(f"{where}: an empty cell, or nothing beside a |.", "Write - where there is no fact.")
    return values


def _refuse_duplicates(facts: Iterable[Fact]) -> None:
    seen: dict[tuple[str, str], Fact] = {}
    for fact in facts:
        before = seen.setdefault((fact.subject.casefold(), fact.relation), fact)
        if before is not fact:
            raise UserError(
                f"{fact.where}: the {fact.relation} of {fact.subject} is given in {before.where} as well.",
                "Leave out one of the two.",
            )
