"""Other places that show a run while it trains: TensorBoard and Weights & Biases.

metrics.jsonl is the record; trackers get copies of its rows. One that breaks in mid-run is dropped with a warning,
because hours of training are worth more than their picture.
"""

import importlib
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from inkling.errors import UserError
from inkling.files import write_atomic


@dataclass(frozen=True)
class TrackerSettings:
    """trackers"""

    tensorboard: bool = False
    """also write the metrics as TensorBoard event files, to RUN/tensorboard"""
    wandb_log: bool = False
    """also send the metrics to Weights & Biases; WANDB_MODE=offline keeps them in RUN/wandb"""
    wandb_project: str = "inkling"
    """project at Weights & Biases"""
    wandb_run_name: str = ""
    """name of the run there; empty: the name of the run's folder"""


class Tracker(Protocol):
    """What takes the rows of metrics.jsonl."""

    def log(self, row: dict[str, Any]) -> None:
        """Take the row of one step."""

    def close(self, failed: bool) -> None:
        """Write what is still in memory."""


class TensorBoard:
    """Event files; the tags are the keys of metrics.jsonl."""

    def __init__(self, run: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Event files are only appended to. purge_step tells their readers to forget steps from an earlier file
        # that a resumed run does again, as metrics.jsonl forgets them.
        self.writer: Any = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1, flush_secs=30)

    def log(self, row: dict[str, Any]) -> None:
        for key, value in row.items():
            if key != "step" and isinstance(value, int | float):
                self.writer.add_scalar(key, value, row["step"])

    def close(self, failed: bool) -> None:
        self.writer.close()


class WeightsAndBiases:
    """A run at wandb.ai, or in RUN/wandb when offline. The same one after --resume: its id is in RUN/wandb_id."""

    def __init__(self, run: Path, settings: TrackerSettings, config: dict[str, Any]) -> None:
        import wandb

        self.run = wandb.init(
            project=settings.wandb_project,
            name=settings.wandb_run_name or run.resolve().name,
            dir=str(run),
            id=run_id(run / "wandb_id"),
            resume="allow",
            config=config,
            settings=wandb.Settings(console="off"),  # else it would copy every frame of the live bar
        )
        # Weights & Biases never takes a step back. Steps that a resumed run does again stay there as they were,
        # and they are the same unless the settings have changed since.
        self.held = self.run.step

    def log(self, row: dict[str, Any]) -> None:
        if row["step"] >= self.held:
            self.run.log(row, step=row["step"])

    def close(self, failed: bool) -> None:
        self.run.finish(exit_code=int(failed))


class Trackers:
    """The trackers that are on, which may be none."""

    def __init__(self, trackers: dict[str, Tracker] | None = None) -> None:
        self.trackers = trackers or {}

    def log(self, row: dict[str, Any]) -> None:
        """Give every tracker the row of one step."""
        for name, tracker in list(self.trackers.items()):
            try:
                tracker.log(row)
            except Exception as error:  # whatever it was, it is not the training's
                del self.trackers[name]
                _warn(f"{name} failed and is left out from step {row['step']} on; training goes on ({error})")

    def close(self, failed: bool = False) -> None:
        """Let every tracker finish; `failed` is what they shall say of the run."""
        for name, tracker in self.trackers.items():
            try:
                tracker.close(failed)
            except Exception as error:
                _warn(f"{name} could not finish ({error})")
        self.trackers = {}


def check_trackers(settings: TrackerSettings) -> None:
    """Refuse before anything is written or trained: a package is missing, or nobody is logged in."""
    if settings.tensorboard:
        _require("tensorboard", "--tensorboard")
    if settings.wandb_log:
        wandb = _require("wandb", "--wandb_log")
        if os.environ.get("WANDB_MODE", "online") not in ("offline", "disabled", "dryrun"):
            with readable_wandb_errors():
                wandb.login()  # on a terminal it asks for the key


def open_trackers(settings: TrackerSettings, run: Path, start: int, config: dict[str, Any]) -> Trackers:
    """Open what is on, for a run that has done `start` steps; `config` is every setting. On rank 0 only."""
    trackers: dict[str, Tracker] = {}
    if settings.wandb_log:
        with readable_wandb_errors():
            trackers["Weights & Biases"] = WeightsAndBiases(run, settings, config)
    if settings.tensorboard:
        trackers["TensorBoard"] = TensorBoard(run, start)
        print(f"watch    tensorboard --logdir={run}")
    return Trackers(trackers)


def run_id(file: Path) -> str:
    """The id of this run at Weights & Biases: the one in `file`, or a new one, which is written there."""
    if not file.exists():
        write_atomic(file, uuid.uuid4().hex[:8] + "\n")
    return file.read_text(encoding="utf-8").strip()


@contextmanager
def readable_wandb_errors() -> Iterator[None]:
    """What Weights & Biases raises when it is asked to begin, with what to do about it."""
    import wandb

    try:
        yield
    except wandb.errors.Error as error:
        raise UserError(
            f"Weights & Biases cannot begin: {error}",
            "Log in by `wandb login`, or set WANDB_MODE=offline to keep its files in the run's folder (`wandb sync` "
            "sends them later), or use --wandb_log=False.",
        ) from None


def _require(package: str, flag: str) -> Any:
    try:
        module = importlib.import_module(package)
        if module.__file__ is not None:  # else it is but a folder of that name, such as these packages leave behind
            return module
    except ImportError:
        pass
    raise UserError(
        f"{flag} needs the package {package}, which is not installed.",
        "Install it: pip install 'inkling-lm[logging]'",
    )


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)  # a live bar moves out of its way
