"""Checkpoints: saved whole or not at all, verified when read.

    checkpoints/step-000250/    model.safetensors, optimizer.safetensors, state.json, manifest.json
    checkpoints/weights-000016/ model.safetensors, state.json, manifest.json: a snapshot to watch the run by
    checkpoints/index.json      last, best, kept and snapshots, for people and other programs

A folder is filled under a name beginning with a dot, flushed to the disk, and renamed. The manifest holds the
size and SHA-256 of every file; a folder that does not match it is never loaded.
"""

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from inkling.errors import UserError
from inkling.files import sha256_of, sync_folder, write_atomic

MODEL, OPTIMIZER, STATE, MANIFEST = (
    "model.safetensors",
    "optimizer.safetensors",
    "state.json",
    "manifest.json",
)


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint, still on disk."""

    path: Path
    state: dict[str, Any]

    @property
    def step(self) -> int:
        return int(self.state["step"])

    def model_tensors(self) -> dict[str, Tensor]:
        """The weights, by parameter name, on the CPU."""
        return load_file(self.path / MODEL)

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """What the optimizers remember, as train/optim.py names it."""
        return load_file(self.path / OPTIMIZER)


def save_checkpoint(
    run: Path,
    state: dict[str, Any],
    model: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor] | None,
    keep_last: int,
) -> Path:
    """Write a checkpoint to resume from, then delete those that are neither recent nor the best.

    An import has no optimizer, and cannot be resumed.
    """
    tensors = {MODEL: model} if optimizer is None else {MODEL: model, OPTIMIZER: optimizer}
    path = _save(run, f"step-{state['step']:06d}", state, tensors)
    index = read_index(run)
    for step in index["kept"][:-keep_last]:
        if step != index["best"]:
            shutil.rmtree(_folder(run) / f"step-{step:06d}")
    write_index(run)
    return path


def save_snapshot(run: Path, state: dict[str, Any], model: Mapping[str, Tensor]) -> Path:
    """Write the weights alone."""
    path = _save(run, f"weights-{state['step']:06d}", state, {MODEL: model})
    write_index(run)
    return path


def load_latest(run: Path, say: Any = print) -> Checkpoint | None:
    """The newest checkpoint that is whole. Damaged ones are named through `say` and passed over.

    None when the run has not saved any; a UserError when it has, and none can be used.
    """
    steps = read_index(run)["kept"]
    for step in reversed(steps):
        try:
            return verify(_folder(run) / f"step-{step:06d}")
        except UserError as error:
            say(f"warning: {error.problem} Going back to the checkpoint before it.")
    if steps:
        raise UserError(
            f"Every checkpoint in {_folder(run)} is damaged.",
            "Restore a copy, or train anew with another --out_dir.",
        )
    return None


def load_best(run: Path) -> Checkpoint | None:
    """The checkpoint with the lowest validation loss, or the newest where none was measured."""
    index = read_index(run)
    if index["best"] is not None:
        return verify(_folder(run) / f"step-{index['best']:06d}")
    return load_latest(run)


def verify(path: Path) -> Checkpoint:
    """Compare every file with the manifest. Raises UserError naming the file that differs."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        for name, facts in manifest.items():
            file = path / name
            if not file.is_file():
                raise UserError(f"Checkpoint {path} is damaged: {name} is missing.")
            if file.stat().st_size != facts["bytes"]:
                raise UserError(
                    f"Checkpoint {path} is damaged: {name} has {file.stat().st_size} bytes, not {facts['bytes']}."
                )
            if sha256_of(file) != facts["sha256"]:
                raise UserError(f"Checkpoint {path} is damaged: the content of {name} has changed.")
        return Checkpoint(path, json.loads((path / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"Checkpoint {path} is damaged: {error}.") from None


def read_index(run: Path) -> dict[str, Any]:
    """last, best, kept and snapshots, found by looking at the folders: an index file could be out of date."""
    kept, snapshots, losses = [], [], {}
    folder = _folder(run)
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        kind, _, number = path.name.partition("-")
        if kind == "weights" and number.isdigit():
            snapshots.append(int(number))
        elif kind == "step" and number.isdigit():
            kept.append(int(number))
            loss = _val_loss(path)
            if loss is not None and math.isfinite(loss):  # NaN is below nothing, and would stay the best for ever
                losses[int(number)] = loss
    kept.sort()
    snapshots.sort()
    # Among equals the later one is the best.
    best = min(losses, key=lambda step: (losses[step], -step)) if losses else None
    return {
        "last": kept[-1] if kept else None,
        "best": best,
        "best_val_loss": losses[best] if best is not None else None,
        "kept": kept,
        "snapshots": snapshots,
    }


def write_index(run: Path) -> None:
    """Bring checkpoints/index.json up to date."""
    write_atomic(_folder(run) / "index.json", json.dumps(read_index(run), indent=1) + "\n")


def clear_unfinished(run: Path) -> None:
    """Remove what a kill in the middle of a save has left behind."""
    folder = _folder(run)
    for path in folder.glob(".*") if folder.is_dir() else []:
        shutil.rmtree(path)


def discard_after(run: Path, step: int) -> None:
    """Remove checkpoints and snapshots beyond `step`, from which the run goes on: they are damaged or undone."""
    index = read_index(run)
    for kind, steps in (("step", index["kept"]), ("weights", index["snapshots"])):
        for later in steps:
            if later > step:
                shutil.rmtree(_folder(run) / f"{kind}-{later:06d}")


@contextmanager
def disk_errors(what: str, remedy: str) -> Iterator[None]:
    """Turn a full disk or a refused write into a message."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        is_full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        problem = "there is no space left on the disk" if is_full else f"the disk refused: {error}"
        raise UserError(f"Could not save {what}: {problem}.", remedy) from error


def _folder(run: Path) -> Path:
    return run / "checkpoints"


def _save(run: Path, name: str, state: dict[str, Any], tensors: dict[str, Mapping[str, Tensor]]) -> Path:
    final, part = _folder(run) / name, _folder(run) / f".{name}"
    last = read_index(run)["last"]
    safe = f"The last good checkpoint is step {last}. " if last is not None else ""
    with disk_errors(f"step {state['step']} to {final}", f"{safe}Free some space and go on with --resume."):
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for file, content in tensors.items():
                save_file({key: value.detach().contiguous() for key, value in content.items()}, part / file)
            write_atomic(part / STATE, json.dumps(state, indent=1) + "\n")
            manifest = {
                path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in sorted(part.iterdir())
            }
            for path in part.iterdir():
                with path.open("rb+") as written:
                    os.fsync(written.fileno())
            write_atomic(part / MANIFEST, json.dumps(manifest, indent=1) + "\n")
            if final.exists():  # the same step once more, after a resume
                shutil.rmtree(final)
            part.rename(final)
            sync_folder(final.parent)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return final


def _val_loss(path: Path) -> float | None:
    try:
        return json.loads((path / STATE).read_text(encoding="utf-8")).get("val_loss")
    except (OSError, ValueError):
        return None
