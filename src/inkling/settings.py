"""Settings: typed dataclasses, filled in layers, each value remembering where it came from.

A stage declares a dataclass whose fields are the section dataclasses of the rooms it uses
(`GPTConfig`, `OptimizerSettings`, ...). In files and on the command line the names are flat: there is
one `learning_rate`, wherever it lives. Layers are dictionaries of flat names, weakest first:

    defaults < preset < parent run < recipe < flags

Values travel as text until tyro turns them into the declared type, so a TOML file and a flag obey the
same rules and a mistake in either gets the same message.
"""

import dataclasses
import difflib
import io
import tomllib
import typing
from collections import deque
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomli_w

from inkling.errors import UserError


@dataclass(frozen=True)
class Layer:
    """Flat names and values from one place; `origin` is what the person is told about that place."""

    origin: str
    values: dict[str, Any]


def leaves(schema: type) -> dict[str, tuple[str, dataclasses.Field, Any]]:
    """Every key that `schema` accepts: flat name → (section or "", field, type)."""
    found: dict[str, tuple[str, dataclasses.Field, Any]] = {}
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            inner = leaves(typing.cast(type, kind))
            found |= {name: (field.name, *rest[1:]) for name, rest in inner.items()}
        else:
            found[field.name] = ("", field, kind)
    return found


def split_flags(schema: type, argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """Command-line words → (positional words, flags by name). Takes --key=value, --key value, - or _."""
    known = leaves(schema)
    positional: list[str] = []
    flags: dict[str, str] = {}
    words = deque(argv)
    while words:
        word = words.popleft()
        if not word.startswith("--"):
            positional.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if name not in known:
            raise unknown_key(f"--{name}", name, known)
        if not equals:
            is_switch = _allows_bool(known[name][2])
            if is_switch and not (words and words[0].lower() in (*_TRUTH, "auto")):
                value = "True"  # --resume means --resume=True
            elif words:
                value = words.popleft()
            else:
                raise UserError(f"--{name} needs a value.", f"For example --{name}=VALUE.", status=2)
        flags[name] = value
    return positional, flags


def build(schema: type, layers: list[Layer]) -> tuple[Any, dict[str, str]]:
    """Merge `layers`, weakest first, into (an instance of `schema`, the origin of every key)."""
    known = leaves(schema)
    merged: dict[str, tuple[Any, str]] = {}
    for layer in layers:
        for name, value in layer.values.items():
            if name not in known:
                raise unknown_key(f"{name} ({layer.origin})", name, known)
            merged[name] = (value, layer.origin)
    arguments = [f"--{name}={_as_text(value, known[name][2])}" for name, (value, _) in merged.items()]
    try:
        instance = _parse(schema, arguments)
    except _Refused:
        raise _blame(known, merged) from None
    origins = {name: merged[name][1] if name in merged else "default" for name in known}
    return instance, origins


def flatten(settings: Any) -> dict[str, Any]:
    """An instance → flat names and values, in the order of declaration."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value)
        else:
            flat[field.name] = value
    return flat


def help_text(schema: type, prog: str, description: str) -> str:
    """What `--help` prints: every key with type, default and meaning, by section."""
    out = io.StringIO()
    with redirect_stdout(out), suppress(_Refused):
        _parse(schema, ["--help"], prog=prog, description=description, quiet=False)
    return out.getvalue()


def read_toml(path: Path) -> dict[str, Any]:
    """A flat TOML file → its keys. A table or a syntax error is the person's mistake, and is said."""
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}.", "Each line is `key = value`.") from None
    for name, value in values.items():
        if isinstance(value, dict):
            raise UserError(f"{path} has a table [{name}].", "Names are flat: write `key = value` lines.")
    return values


def dump_toml(values: dict[str, Any]) -> str:
    """Flat values → TOML text. What is None is left out, because TOML has no word for it."""
    return tomli_w.dumps({name: value for name, value in values.items() if value is not None})


def unknown_key(shown: str, name: str, known: typing.Iterable[str]) -> UserError:
    """The message for a key that nobody declared: it names the nearest one that somebody did."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    remedy = f"Did you mean --{near[0]}?" if near else "Run the same command with --help to see every key."
    return UserError(f"There is no setting {shown}.", remedy, status=2)


# --- from text to types, by tyro -------------------------------------------------------------------------

_TRUTH = {"true": "True", "false": "False", "1": "True", "0": "False", "yes": "True", "no": "False"}


class _Refused(Exception):
    """tyro did not take the arguments."""


def _parse(schema: Any, arguments: list[str], prog: str = "inkling", description: str = "", quiet: bool = True) -> Any:
    import tyro  # 60 ms, and only a command line needs it

    options = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagConversionOff)
    try:
        with redirect_stderr(io.StringIO()):
            return tyro.cli(
                schema,
                args=arguments,
                prog=prog,
                description=description,
                use_underscores=True,
                console_outputs=not quiet,
                config=options,
            )
    except SystemExit:
        raise _Refused from None


def _as_text(value: Any, kind: Any) -> str:
    text = str(value)
    return _TRUTH.get(text.lower(), text) if _allows_bool(kind) else text


def _allows_bool(kind: Any) -> bool:
    return kind is bool or bool in typing.get_args(kind)


def _blame(known: dict, merged: dict[str, tuple[Any, str]]) -> UserError:
    """tyro refused the whole; ask it about each key alone, so that the message can name one."""
    for name, (value, origin) in merged.items():
        kind = known[name][2]
        one = dataclasses.make_dataclass("One", [(name, kind)])
        try:
            _parse(one, [f"--{name}={_as_text(value, kind)}"])
        except _Refused:
            where = "" if origin == "flag" else f" (from {origin})"
            return UserError(
                f"--{name} does not take {str(value)!r}{where}.", f"It wants {describe_type(kind)}.", status=2
            )
    return UserError("These settings do not fit together.", "Run the same command with --help.", status=2)


def describe_type(kind: Any) -> str:
    """A type in words: `int | None` → "a whole number or None"."""
    plain = {int: "a whole number", float: "a number", str: "text", bool: "True or False", type(None): "None"}
    if kind in plain:
        return plain[kind]
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(str(choice) for choice in typing.get_args(kind))
    return " or ".join(describe_type(part) for part in typing.get_args(kind)) or str(kind)
