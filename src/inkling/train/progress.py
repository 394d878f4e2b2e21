"""What the person sees while training, and what the run remembers of it: a live bar, metrics.jsonl, trackers."""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from inkling.files import write_atomic
from inkling.runtime import seconds_since_start
from inkling.train.trackers import Trackers


class Progress:
    """A live bar in a terminal, plain lines elsewhere, metrics.jsonl always; nothing on ranks other than 0.

    `trackers` get every row as well, and are closed with it.
    """

    leading, evaluated = "loss", "val_loss"  # the numbers that a step and an evaluation are shown by

    def __init__(
        self,
        metrics: Path,
        max_iters: int,
        start: int,
        log_interval: int,
        is_main: bool,
        trackers: Trackers | None = None,
    ) -> None:
        self.max_iters, self.log_interval, self.is_main = max_iters, max(1, log_interval), is_main
        self.trackers = trackers or Trackers()
        # A resumed run remembers its best from before.
        rows = read_metrics(metrics) if is_main else []
        self.best_val_loss = min((row["val_loss"] for row in rows if "val_loss" in row), default=math.inf)
        self.metrics = metrics.open("a", encoding="utf-8", newline="\n") if is_main else None
        self.bar: Any = None
        if is_main and sys.stdout.isatty():
            self._start_bar(start)

    def step(self, row: dict[str, Any]) -> None:
        """Show a finished step and append it to metrics.jsonl, flushed by the line."""
        if self.metrics is None:
            return
        self.record(row)
        speed, now = f"{row['tokens_per_second']:,.0f} tok/s", f"{row[self.leading]:.4f}"
        if self.bar is not None:
            self.bar.update(self.task, completed=row["step"], now=now, speed=speed)
        elif row["step"] % self.log_interval == 0:
            left = clock((self.max_iters - row["step"]) * row["ms"] / 1000)
            self.say(
                f"step {row['step']}/{self.max_iters}: {self.leading} {now}, lr {row['lr']:.2e}, "
                f"{row['ms']:.0f} ms, {speed}, {left} left"
            )
        if self.evaluated in row:
            self.show_evaluation(row)

    def record(self, row: dict[str, Any]) -> None:
        """Append a row to metrics.jsonl, and give it to the trackers; nothing is shown."""
        if self.metrics is None:
            return
        row["wall"] = round(seconds_since_start(), 4)
        self.metrics.write(json.dumps(row) + "\n")
        self.metrics.flush()
        self.trackers.log(row)

    def say(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        if not self.is_main:
            return
        if self.bar is not None:
            self.bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, flush=True)

    def close(self, failed: bool = False) -> None:
        """Leave the terminal as it was; `failed` is what the trackers are told of the run."""
        if self.metrics is not None:
            self.metrics.close()
        if self.bar is not None:
            self.bar.stop()
        self.trackers.close(failed)

    def show_evaluation(self, row: dict[str, Any]) -> None:
        """What an evaluation has found, in a line."""
        val, best = row["val_loss"], self.best_val_loss
        self.best_val_loss = min(val, best)
        if self.bar is not None:
            self.bar.update(self.task, last=f"{val:.4f}")
        self.say(
            f"step {row['step']}: train loss {row['train_loss']:.4f}, val loss {val:.4f}"
            f"{f' (best {best:.4f})' if best < val else ''}, {clock(row['seconds'])} of training"
        )

    def _start_bar(self, start: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.bar = Bar(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=30),
            # 80 columns hold this; the bar gives way first.
            TextColumn(
                f"{self.leading} {{task.fields[now]}} · {self.evaluated.replace('_loss', '')} "
                "{task.fields[last]} · {task.fields[speed]} · left"
            ),
            TimeRemainingColumn(),
        )
        self.task = self.bar.add_task("", total=self.max_iters, completed=start, now="…", last="…", speed="…")
        self.bar.start()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Every whole line. A kill can cut the last one short; that one is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows += [row] if isinstance(row, dict) else []
    return rows


def drop_metrics_after(path: Path, step: int) -> None:
    """Forget what lies beyond the checkpoint from which the run goes on: it will be done again."""
    if path.exists():
        kept = [row for row in read_metrics(path) if row["step"] <= step]
        write_atomic(path, "".join(json.dumps(row) + "\n" for row in kept))


def clock(seconds: float) -> str:
    """Seconds as people read them: 7s, 3m05s, 2h10m."""
    if not math.isfinite(seconds):
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


class Stopwatch:
    """Seconds of training, with evaluation and saving left out."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.before = seconds
        self.since: float | None = None

    def run(self) -> None:
        """Start, or go on."""
        if self.since is None:
            self.since = time.perf_counter()

    def pause(self) -> None:
        """Stop counting until `run`."""
        self.before, self.since = self.read(), None

    def read(self) -> float:
        """Seconds so far."""
        return self.before + (time.perf_counter() - self.since if self.since is not None else 0.0)
