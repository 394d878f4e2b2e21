"""What a model may call while it answers: a calculator.

A tool takes the text between `<|python_start|>` and `<|python_end|>` and gives the text that the model reads next,
or raises ToolError. What a model writes is a stranger's input, and nothing of it is ever run: the calculator lets
through a few kinds of words, asks Python for the syntax tree only, and computes the few kinds of nodes that it knows.
"""

import ast
import math
import re
from collections.abc import Callable

Tool = Callable[[str], str]

MAX_CHARACTERS = 500
MAX_DEPTH = 100
MAX_BITS = 332  # a whole number of 100 digits: bounds time, memory and what the model has to read


class ToolError(Exception):
    """The tool cannot answer this. The model is told `error`."""


def calculate(expression: str) -> str:
    """Arithmetic as text: `12*(3+4)` → `84`. Also letters counted: `"strawberry".count("r")`, `len("ink")`.

    Numbers with + - * / // % ** and brackets; × ÷ − are taken for * / -, and `1,234` for 1234. Whole numbers stay
    exact up to 100 digits, and so does a division that comes out even; other results have 12 digits. Raises ToolError
    for everything else, whatever the text, and takes a few milliseconds at most.
    """
    source = _checked(expression)
    try:
        tree = ast.parse(source, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ToolError("not an expression") from None
    return _as_text(_value(tree.body, MAX_DEPTH))


# --- text → tree -----------------------------------------------------------------------------------------

_WORD = re.compile(
    r"""(?P<space>[ \t]+)
    | (?P<number>(?:(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?)
    | (?P<text>"[^"\\\n]*"|'[^'\\\n]*')
    | (?P<name>len\b|\.[ ]?count\b)
    | (?P<operator>[-+*/%()×÷−])""",
    re.VERBOSE | re.ASCII,
)
_IN_PYTHON = {"×": "*", "÷": "/", "−": "-"}


def _checked(expression: str) -> str:
    """The expression in Python's spelling, of known words only.

    So the parser meets no name, escape or prefix (`f"…"`), and nothing about which it would print a warning.
    """
    if len(expression) > MAX_CHARACTERS:
        raise ToolError(f"longer than {MAX_CHARACTERS} characters")
    expression = expression.strip()
    words: list[str] = []
    at, before = 0, None
    while at < len(expression):
        word = _WORD.match(expression, at)
        if word is None:
            raise ToolError(f"{expression[at]!r} is not arithmetic")
        kind, text = word.lastgroup, word.group()
        if before in ("number", "name") and kind in ("number", "name", "text"):
            raise ToolError(f"{text!r} stands where an operator should")  # the parser would warn of 1len
        if kind == "number":
            text = re.sub(r"^0+(?=\d)", "", text.replace(",", ""))  # Python refuses 007
        words.append(_IN_PYTHON.get(text, text))
        at, before = word.end(), kind
    return "".join(words)


# --- tree → number ---------------------------------------------------------------------------------------


def _value(node: ast.expr, depth: int) -> int | float:
    """What `node` is worth; at most `depth` levels deep."""
    if depth == 0:
        raise ToolError(f"more than {MAX_DEPTH} levels deep")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, depth - 1)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, depth - 1)
        case ast.BinOp(left=left, op=operator, right=right):
            return _combine(operator, _value(left, depth - 1), _value(right, depth - 1))
        case ast.Call(func=ast.Name(id="len"), args=[ast.Constant(value=str() as text)], keywords=[]):
            return len(text)
        case ast.Call(
            func=ast.Attribute(value=ast.Constant(value=str() as text), attr="count"),
            args=[ast.Constant(value=str() as part)],
            keywords=[],
        ):
            return text.count(part)
    raise ToolError('only numbers, + - * / // % ** and brackets, "…".count("…") and len("…")')


def _combine(operator: ast.operator, a: int | float, b: int | float) -> int | float:
    try:
        match operator:
            case ast.Add():
                return _bounded(a + b)
            case ast.Sub():
                return _bounded(a - b)
            case ast.Mult():  # 100 digits times 100 digits: quick, so it is enough to look afterwards
                return _bounded(a * b)
            case ast.Div():
                return _divide(a, b)
            case ast.FloorDiv():
                return _bounded(a // b)
            case ast.Mod():
                return _bounded(a % b)
            case ast.Pow():
                return _power(a, b)
    except ZeroDivisionError:
        raise ToolError("division by zero") from None
    except OverflowError:
        raise ToolError("too large") from None
    raise ToolError("unknown operator")


def _divide(a: int | float, b: int | float) -> int | float:
    if isinstance(a, int) and isinstance(b, int) and b and a % b == 0:
        return a // b  # exact, where a float would round from 16 digits on
    return _bounded(a / b)


def _power(a: int | float, b: int | float) -> int | float:
    """a ** b. Its size is known before it is computed: 9**9**9 would take minutes and all memory."""
    if isinstance(a, int) and isinstance(b, int) and abs(a) > 1 and b * (abs(a).bit_length() - 1) > MAX_BITS:
        raise ToolError("too large")
    power = a**b
    if isinstance(power, complex):  # (-8) ** (1/3)
        raise ToolError("not a real number")
    return _bounded(power)


def _bounded(number: int | float) -> int | float:
    if isinstance(number, int):
        is_too_large = number.bit_length() > MAX_BITS
    else:
        is_too_large = not math.isfinite(number)
    if is_too_large:
        raise ToolError("too large")
    return number


def _as_text(number: int | float) -> str:
    """12 digits, so that 0.1+0.2 is 0.3; without `.0` where a result is whole."""
    if isinstance(number, float) and number.is_integer() and abs(number) < 1e15:
        number = int(number)
    return str(number) if isinstance(number, int) else f"{number:.12g}"
