"""Markdown that shows text as it is, whatever a model wrote into it."""

import re
from collections.abc import Sequence

_STEERS = re.compile(r"([\\`*_{}\[\]<>#|~$])")


def plain(text: object, most: int = 400) -> str:
    """One line in which no character steers the page; long ones end with …"""
    words = " ".join(str(text).split())
    shown = words if len(words) <= most else f"{words[:most]} …"
    return _STEERS.sub(r"\\\1", "".join(c if c.isprintable() else "\ufffd" for c in shown))


def table(head: Sequence[str], rows: Sequence[Sequence[object]], escape: bool = True) -> str:
    """A table whose first column is words and whose others are figures; "" where there are no rows."""
    if not rows:
        return ""
    lines = [list(head), ["---", *["---:"] * (len(head) - 1)]]
    lines += [[plain(cell) if escape else str(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def fenced(text: str) -> str:
    """A text with its line ends, in a fence longer than any in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.rstrip()}\n{fence}"
