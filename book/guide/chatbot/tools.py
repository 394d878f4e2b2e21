"""The calculator. What a model writes is a stranger's input: it is taken apart and computed, never run as code."""

import re

TERM = re.compile(r"(\d{1,9})([-+*/])(\d{1,9})")


def calculate(expression: str) -> str:
    """ "12*34" → "408"; "error" for whatever is not two whole numbers with a sign between them."""
    found = TERM.fullmatch(expression.replace(" ", ""))
    if not found:
        return "error"
    a, sign, b = int(found[1]), found[2], int(found[3])
    if sign == "/":
        return f"{a / b:.6g}" if b else "error"
    return str({"+": a + b, "-": a - b, "*": a * b}[sign])
