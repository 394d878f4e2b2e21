"""Tables of words and figures: in colour on a terminal, as plain aligned text everywhere else."""

import sys
from collections.abc import Sequence


def show_table(title: str, rows: Sequence[Sequence[str]], head: Sequence[str] = (), strong: Sequence[str] = ()) -> None:
    """Print `rows` below `title`. The first column is words, to the left; the others are figures, to the right.

    `head` names the columns; rows whose first word is in `strong` are the sums.
    """
    if sys.stdout.isatty():
        _show_rich(title, rows, head, strong)
    else:
        _show_plain(title, rows, head)


def _show_rich(title: str, rows: Sequence[Sequence[str]], head: Sequence[str], strong: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_header=bool(head))
    for i in range(max(len(row) for row in rows)):
        table.add_column(head[i] if i < len(head) else "", justify="left" if i == 0 else "right")
    for row in rows:
        # Text, not str: a path or a name in brackets is no markup.
        table.add_row(*(Text(cell) for cell in row), style="bold cyan" if row[0] in strong else "")
    Console().print(table)


def _show_plain(title: str, rows: Sequence[Sequence[str]], head: Sequence[str]) -> None:
    lines = [row for row in (head, *rows) if row]
    widths = [max(len(row[i]) for row in lines if i < len(row)) for i in range(max(len(row) for row in lines))]
    print(title)
    for row in lines:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=False))
        ]
        print(("  " + "  ".join(cells)).rstrip())
    print()
