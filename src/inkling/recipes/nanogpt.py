"""nanoGPT's own configuration files, read without running them.

nanoGPT executes `config/NAME.py` inside its training script, so such a file may hold any Python. What the files
in use hold is `name = value` lines, and these are understood here: literals, and arithmetic on literals and on
names that were set before. Anything else is refused by its line, and nothing is ever executed.
"""

import ast
import math
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inkling.errors import UserError

Value = bool | int | float | str | None

# What nanoGPT trains with where a file says nothing. A file may compute with these, as it may there.
DEFAULTS: dict[str, Value] = {
    "eval_interval": 2000,
    "log_interval": 1,
    "eval_iters": 200,
    "eval_only": False,
    "always_save_checkpoint": True,
    "init_from": "scratch",
    "dataset": "openwebtext",
    "gradient_accumulation_steps": 40,
    "batch_size": 12,
    "block_size": 1024,
    "n_layer": 12,
    "n_head": 12,
    "n_embd": 768,
    "dropout": 0.0,
    "bias": False,
    "learning_rate": 6e-4,
    "max_iters": 600000,
    "weight_decay": 0.1,
    "beta1": 0.9,
    "beta2": 0.95,
    "grad_clip": 1.0,
    "decay_lr": True,
    "warmup_iters": 2000,
    "lr_decay_iters": 600000,
    "min_lr": 6e-5,
    "seed": 1337,
}

# The rest of nanoGPT's form, for which it has no names: the exact GELU where GPT-2 was released with the other.
FORM: dict[str, Value] = {"preset": "gpt2", "mlp": "gelu"}

OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
LARGEST = 10**18  # no setting needs more, and 9**9**9 would keep Python busy for years
REMEDY = (
    "A nanoGPT file is read and never run: inkling takes `name = value` lines, with literals and arithmetic on them."
)


class _NotRead(Exception):
    """An expression that is not a literal or arithmetic on literals; says which and why."""

    def __init__(self, node: ast.expr, why: str) -> None:
        super().__init__(why)
        self.node = node
        self.why = why


def read_nanogpt(path: Path) -> tuple[dict[str, Any], list[str]]:
    """A nanoGPT `config/*.py` → (settings by inkling's names, notes on what was passed over).

    The settings are complete: nanoGPT's defaults lie below what the file gives.
    """
    source = _decode(path)
    lines = source.split("\n")
    given: dict[str, Value] = {}
    notes: list[str] = []

    def quote(line: int, why: str) -> str:
        text = lines[line - 1].strip() if line <= len(lines) else ""
        return f"{path}, line {line}: {why}: {text if len(text) <= 80 else text[:77] + '...'}"

    def refuse(line: int, why: str) -> UserError:
        return UserError(quote(line, why), REMEDY, status=2)

    def skip(line: int, why: str) -> None:
        notes.append(quote(line, f"passed over, {why}"))

    for statement in _statements(source, refuse):
        match statement:
            case ast.Expr(value=ast.Constant(value=str())):  # a docstring
                pass
            case ast.Import() | ast.ImportFrom():
                skip(statement.lineno, "nothing is imported")
            case ast.Assign(targets=[ast.Name(id="backend")]):
                skip(statement.lineno, "inkling chooses the backend by the device")
            case ast.Assign(targets=[ast.Name(id=name)], value=expression):
                try:
                    given[name] = _value_of(expression, DEFAULTS | given)
                except _NotRead as found:
                    if not name.startswith("wandb_"):
                        raise refuse(found.node.lineno, found.why) from None
                    skip(statement.lineno, "it is not a literal")
                except RecursionError:
                    raise refuse(statement.lineno, "this is nested too deeply") from None
            case _:
                raise refuse(statement.lineno, "this is not a `name = value` line")
    return _in_our_words(given, notes), notes


def _in_our_words(given: dict[str, Value], notes: list[str]) -> dict[str, Value]:
    """What the file gives, over nanoGPT's defaults, where inkling says or does it in another way."""
    values = DEFAULTS | FORM | given
    if not values["decay_lr"] and values["warmup_iters"]:
        # A constant rate has no warmup there, and inkling would spend the default 2,000 steps on one.
        values["warmup_iters"] = 0
        if "warmup_iters" in given:
            notes.append("warmup_iters is taken as 0: with decay_lr = False nanoGPT does not warm up")
    if not str(values["dataset"]).endswith("_char"):
        values.setdefault("pad_vocab_to", 64)  # nanoGPT rounds GPT-2's 50,257 ids up to 50,304 rows
    return values


def _decode(path: Path) -> str:
    """The file's text, with the line ends that `ast` counts by."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")  # some editors begin a file with a mark that it is UTF-8
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n")
        there = raw.split(b"\n")[line].decode("utf-8", errors="replace").strip()
        raise UserError(f"{path}, line {line + 1}: this is not UTF-8: {there}", "Save the file as UTF-8.") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _statements(source: str, refuse: Callable[[int, str], UserError]) -> list[ast.stmt]:
    """The file's statements; what is not Python is refused by its line."""
    if "\0" in source:  # ast refuses it too, without saying where
        raise refuse(source[: source.index("\0")].count("\n") + 1, "a NUL byte is not Python")
    try:
        return ast.parse(source).body
    except SyntaxError as error:
        raise refuse(error.lineno or 1, f"this is not Python ({error.msg})") from None
    except (RecursionError, MemoryError):  # thousands of brackets or operators in one expression
        raise refuse(1, "something below is nested too deeply") from None


def _value_of(node: ast.expr, known: dict[str, Value]) -> Value:
    """The value of a literal, of a name in `known`, or of arithmetic on them."""
    match node:
        case ast.Constant(value=str() | None as value):
            return value
        case ast.Constant(value=int() | float() as number):
            return _bounded(node, number)
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.Name(id=name):
            raise _NotRead(node, f"nothing above sets {name}")
        case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=operand):
            number = _number(operand, known)
            return -number if isinstance(node.op, ast.USub) else +number
        case ast.BinOp(left=left, op=kind, right=right) if type(kind) in OPERATIONS:
            return _calculate(node, OPERATIONS[type(kind)], _number(left, known), _number(right, known))
    raise _NotRead(node, "this is neither a literal nor arithmetic on literals")


def _number(node: ast.expr, known: dict[str, Value]) -> int | float:
    """The same, where only a number will do."""
    value = _value_of(node, known)
    if not isinstance(value, int | float):
        raise _NotRead(node, f"arithmetic needs numbers, not {value!r}")
    return value


def _calculate(
    node: ast.expr, operation: Callable[[Any, Any], Any], left: int | float, right: int | float
) -> int | float:
    """One operation, with an answer of reasonable size or none."""
    # A power is the one operation whose answer can be far longer than its operands.
    if operation is operator.pow and abs(left) > 1 and abs(right) > math.log(LARGEST, abs(left)):
        raise _NotRead(node, "the power is too large or too small")
    try:
        result = operation(left, right)
    except ZeroDivisionError:
        raise _NotRead(node, "division by zero") from None
    except OverflowError:
        raise _NotRead(node, "the number is too large") from None
    if isinstance(result, complex):
        raise _NotRead(node, "a root of a negative number")
    return _bounded(node, result)


def _bounded(node: ast.expr, number: int | float) -> int | float:
    if not -LARGEST <= number <= LARGEST:  # false for "not a number" too
        raise _NotRead(node, "the number is too large")
    return number
