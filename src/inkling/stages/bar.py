"""A bar on the terminal, for work of which it is known how much there is."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def show_bar(doing: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shown where the work takes more than two seconds. It takes how much was done since last time."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(file=sys.stderr)
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(doing, total=total)
    began = time.monotonic()

    def advance(done: int) -> None:
        bar.advance(task, done)
        if not bar.live.is_started and time.monotonic() - began > 2:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()
