"""A bar on the terminal for work that takes more than two seconds."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LONG = 2  # seconds of work from which on a bar is shown


@contextmanager
def show_bar(doing: str, total: int, in_bytes: bool = False) -> Iterator[Callable[[int], None]]:
    """Yields a function that takes how much was done since last time, of `total` bytes or other things."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(file=sys.stderr)
    counted = (DownloadColumn(), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(), *counted, TimeRemainingColumn())
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = progress.add_task(doing, total=total)
    began = time.monotonic()

    def advance(step: int) -> None:
        progress.advance(task, step)
        if not progress.live.is_started and time.monotonic() - began > LONG:
            progress.start()

    try:
        yield advance
    finally:
        progress.stop()
