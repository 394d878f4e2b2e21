"""How a relation is asked and told: the phrasings beside each table, in NAME.toml.

`noun = ["the capital of {s}"]` is put into the frames of frames.toml ("What is {np}?", "Tell me {np}.", …), and more
phrasings stand beside it. Gaps: {s} the subject, {v} the value, {w} a wrong value. What stands under `held` is for
measuring only and never trained on.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from inkling.data.almanac.facts import TABLES, Fact, own_folder
from inkling.data.almanac.wording import gaps_of
from inkling.errors import UserError

# Of a relation: each key, and the gaps that each of its phrasings must have; it may have no others.
_LISTS = {
    "ask": "s",
    "held": "s",
    "say": "sv",
    "answer": "sv",
    "follow": "",
    "follow_held": "",
    "check": "sv",
    "choose": "svw",
    "reverse": "v",
}
_NOUNS = {"noun": "s", "own": "s", "short": "", "value": "v", "reverse_answer": "sv", "frame": ""}
_RELATION = {*_LISTS, *_NOUNS, "mutual"}
# Of a table, before its relations.
_TABLE = {"name": "s", "pronoun": "", "intro": "s", "invent": "", "unknown": "s", "unknown_held": "s"}


@dataclass(frozen=True)
class Relation:
    """All phrasings of one relation."""

    ask: tuple[str, ...]
    held: tuple[str, ...]
    say: tuple[str, ...]
    """statements, the answers among them"""
    answer: tuple[str, ...]
    follow: tuple[str, ...] = ()
    """questions after another about the same subject: "And its capital?\""""
    follow_held: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    choose: tuple[str, ...] = ()
    reverse: tuple[str, ...] = ()
    """questions for the subject"""
    reverse_answer: str = ""
    mutual: bool = False
    """whether the subject is to the value what the value is to the subject"""

    def questions(self, held: bool = False) -> tuple[str, ...]:
        """Those of training, or those kept out of it; a person's own relation may have none of the latter."""
        return self.held or self.ask if held else self.ask


@dataclass(frozen=True)
class Manner:
    """How a table's subjects are spoken of."""

    relations: Mapping[str, Relation]
    name: str = "{s}"
    """a subject on its own: "a {s}" """
    intro: str = ""
    invent: str = ""
    """what kind of name an invented subject has (invented.py)"""
    unknown: tuple[str, ...] = ()
    """questions to which the tables have no answer"""
    unknown_held: tuple[str, ...] = ()


@lru_cache
def load_frames() -> dict[str, Any]:
    """What all relations share."""
    return _read(TABLES / "frames.toml")


def load_manners(facts: Iterable[Fact], extra: str | Path | None = None) -> dict[str, Manner]:
    """For each table its phrasings; a relation without any gets plain ones: "What is the height of Ben?".

    Raises UserError for phrasings that cannot be used.
    """
    columns: dict[str, dict[str, None]] = {}
    for fact in facts:
        columns.setdefault(fact.table, {})[fact.relation] = None
    folders = [TABLES] if extra is None else [TABLES, own_folder(extra)]
    frames = load_frames()
    manners = {}
    for table, relations in columns.items():
        given: dict[str, Any] = {}
        for path in (folder / f"{table}.toml" for folder in folders):
            if path.is_file():
                given |= _checked(_read(path), path)
        manners[table] = _manner(given, list(relations), frames)
    return manners


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"Cannot read the phrasings in {path}: {error}.", "Correct the file.") from None


# --- checks ----------------------------------------------------------------------------------------------


def _checked(given: dict[str, Any], path: Path) -> dict[str, Any]:
    for key, value in given.items():
        if isinstance(value, dict):
            for inner, phrasings in value.items():
                where = f"{path}: {inner} of [{key}]"
                _require(inner in _RELATION, f"{where} is not known.", f"Known are: {', '.join(sorted(_RELATION))}.")
                if inner != "mutual":
                    _check_gaps(phrasings, (_LISTS | _NOUNS)[inner], where)
            _require("noun" in value or {"ask", "answer"} <= set(value), f"{path}: [{key}] cannot be asked or told.",
                     'Give it noun = ["the … of {s}"], or ask and answer.')  # fmt: skip
        else:
            where = f"{path}: {key}"
            _require(key in _TABLE, f"{where} is not known.", f"Known are: {', '.join(sorted(_TABLE))}.")
            _check_gaps(value, _TABLE[key], where)
    return given


def _check_gaps(phrasings: Any, gaps: str, where: str) -> None:
    for phrasing in phrasings if isinstance(phrasings, list) else [phrasings]:
        _require(isinstance(phrasing, str), f"{where}: {phrasing!r} is not a text.", "Write it in quotes.")
        _require(
            gaps_of(phrasing) == set(gaps),
            f"{where}: {phrasing!r} has the wrong gaps.",
            f"It needs {' and '.join(f'{{{gap}}}' for gap in gaps) or 'none'}, and no others.",
        )


def _require(condition: bool, problem: str, remedy: str) -> None:
    if not condition:
        raise UserError(problem, remedy)


# --- phrasings from nouns and frames ---------------------------------------------------------------------


def _manner(given: dict[str, Any], columns: list[str], frames: dict[str, Any]) -> Manner:
    pronoun = given.get("pronoun", "its")
    relations = {}
    for column in columns:
        own = given.get(column) or _default(frames["default"], column)
        relations[column] = _relation(own, frames[own.get("frame", "what")], pronoun)
    plain = {key: given[key] for key in ("name", "intro", "invent") if key in given}
    return Manner(
        relations, unknown=tuple(given.get("unknown", ())), unknown_held=tuple(given.get("unknown_held", ())), **plain
    )


def _default(frame: dict[str, Any], column: str) -> dict[str, Any]:
    """Plain phrasings for the column of that name."""
    return {
        key: value.replace("{r}", column) if isinstance(value, str) else [item.replace("{r}", column) for item in value]
        for key, value in frame.items()
    }


def _relation(given: dict[str, Any], frames: dict[str, list[str]], pronoun: str) -> Relation:
    """The phrasings that are given, and those that the frames make of its nouns."""
    nouns = given.get("noun", [])
    plain = [noun for noun in nouns if "'s" not in noun]
    fitting = {"{np}": nouns, "{of}": plain, "{own}": [given.get("own", "")]}
    has_own_sentence = "answer" in given  # then the frames' "{np} is {v}." would not fit it
    value = given.get("value", "{v}")

    def framed(key: str, wanted: bool = True) -> list[str]:
        """The frames under `key`, with each noun in each."""
        made = []
        for frame in frames[key] if wanted else ():
            if "{short}" in frame and "short" not in given:
                continue
            frame = frame.replace("{its}", pronoun).replace("{short}", given.get("short", ""))
            frame = frame.replace("{v}", value).replace("{w}", value.replace("{v}", "{w}"))
            gap = next((gap for gap in fitting if gap in frame), None)
            made += [frame.replace(gap, noun) for noun in fitting[gap]] if gap else [frame]
        return made

    answer = given.get("answer") or framed("say")[:1]
    say = [*answer, *framed("say", not has_own_sentence), *given.get("say", [])]
    check, choose = given.get("check"), given.get("choose")
    return Relation(
        ask=_unique([*given.get("ask", []), *framed("ask")]),
        held=_unique([*given.get("held", []), *framed("held", "own" in given)]),
        say=_unique(say),
        answer=tuple(answer),
        follow=_unique([*given.get("follow", []), *framed("follow", "short" in given)]),
        follow_held=_unique([*given.get("follow_held", []), *framed("follow_held", "short" in given)]),
        check=tuple(check if check is not None else framed("check", not has_own_sentence)[:1]),
        choose=tuple(choose if choose is not None else framed("choose", not has_own_sentence)[:1]),
        reverse=tuple(given.get("reverse", ())),
        reverse_answer=given.get("reverse_answer", ""),
        mutual=bool(given.get("mutual", False)),
    )


def _unique(phrasings: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(phrasings))
