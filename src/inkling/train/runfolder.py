"""The folder of a run: what was asked for, what it resolved to, on what machine, from which parent.

config.toml       the settings that were given: recipe and flags; usable as a recipe
resolved.toml     every setting as it was used, and in [origin] where each came from
environment.json  one entry a command: arguments, versions, commit, hardware, seconds, peak memory
parent            the run this one began from, and the hash of its weights
tokenizer.json    copied from the data set, with the chat template and special tokens of an imported one
metrics.jsonl     see train/progress.py
checkpoints/      see train/checkpoint.py
lock              held by the process that trains here
"""

import json
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from inkling.errors import UserError
from inkling.files import write_atomic
from inkling.runtime import Runtime, describe_machine, peak_memory_bytes, seconds_since_start
from inkling.settings import dump_toml
from inkling.text.template import BESIDE
from inkling.train.checkpoint import disk_errors


def create_run(
    run: Path,
    given: dict[str, Any],
    resolved: dict[str, Any],
    origins: dict[str, str],
    tokenizer: Path,
    parent: dict[str, Any] | None,
    beside: Mapping[str, str] | None = None,
) -> None:
    """Make the folder of a new run; what is there already is refused by `refuse_existing` before.

    `beside` are files that the parent's tokenizer has beside it, a chat template say: name → text. What makes the
    folder a run, resolved.toml, comes last: a kill on the way leaves none, and the same command begins anew.
    """
    with disk_errors(f"the run to {run}", "Free some space, or choose another --out_dir."):
        run.mkdir(parents=True, exist_ok=True)
        write_atomic(run / "config.toml", dump_toml(given))
        for file in (tokenizer, *(tokenizer.parent / name for name in BESIDE)):
            if file.is_file():
                shutil.copyfile(file, run / file.name)
        for name, text in (beside or {}).items():
            write_atomic(run / name, text)
        if parent is not None:
            write_atomic(run / "parent", json.dumps(parent, indent=1) + "\n")
        write_resolved(run, resolved, origins)


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Keep every other process from training in this folder meanwhile.

    The system lets go of the lock when its process ends, however it ends. Raises UserError where another holds it.
    """
    with disk_errors(f"the run to {run}", "Free some space, or choose another --out_dir."):
        run.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run / "lock")
        try:
            with suppress(NotImplementedError):  # some network disks cannot lock
                lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"Another process is training in {run}.",
                "Stop it, wait for it, or choose another folder by --out_dir=runs/NAME.",
            ) from None
    try:
        yield
    finally:
        lock.release()


def refuse_existing(run: Path) -> None:
    """A second training must not mix into the first one's folder."""
    if (run / "resolved.toml").exists():
        raise UserError(
            f"The run {run} exists already.",
            "Go on with it by --resume, or choose another folder by --out_dir=runs/NAME.",
        )


def write_resolved(run: Path, resolved: dict[str, Any], origins: dict[str, str]) -> None:
    """Every setting as it is used, and where it came from."""
    text = dump_toml(resolved) + "\n" + dump_toml({"origin": origins})
    write_atomic(run / "resolved.toml", text)


def read_resolved(run: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """(values, origins) of a run. Raises UserError when it is no run."""
    file = run / "resolved.toml"
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no run at {run}.", "Train one first, or name it by --out_dir=runs/NAME.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}.", "Restore the file from a copy.") from None
    return values, values.pop("origin", {})


class CommandLog:
    """This command's entry in environment.json: written when it begins, completed when it ends."""

    def __init__(self, run: Path, runtime: Runtime) -> None:
        self.file = run / "environment.json"
        self.runtime = runtime
        self.entry: dict[str, Any] = {
            "command": ["inkling", *sys.argv[1:]],
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "ended": "running",
            "ranks": runtime.world_size,
            "decisions": list(runtime.reasons),
            **describe_machine(),
        }
        self.earlier = read_environment(run)
        self._write()

    def end(self, how: str, step: int) -> None:
        """Complete the entry; `how` is "done", "interrupted", "failed", ..."""
        self.entry |= {
            "ended": how,
            "step": step,
            "wall_seconds": round(seconds_since_start(), 3),
            "peak_memory_bytes": peak_memory_bytes(self.runtime),
        }
        self._write()

    def _write(self) -> None:
        write_atomic(self.file, json.dumps([*self.earlier, self.entry], indent=1, ensure_ascii=False) + "\n")


def read_environment(run: Path) -> list[dict[str, Any]]:
    """The entries of environment.json; none where the file is missing or not readable."""
    try:
        return json.loads((run / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
