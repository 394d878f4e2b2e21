"""What a run recorded, read back for its report: settings, machine, metrics, data, scores, and the run it began from.

Nothing here needs the weights. What is missing is named, and the rest is read all the same.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inkling.data.meta import Meta
from inkling.data.mixture import parse_mixture
from inkling.data.shards import open_dataset
from inkling.errors import UserError
from inkling.evals.sweep import config_of
from inkling.model.config import GPTConfig
from inkling.train.progress import read_metrics
from inkling.train.runfolder import read_environment, read_resolved


@dataclass
class Recorded:
    """A run's own books."""

    path: Path
    settings: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    commands: list[dict[str, Any]] = field(default_factory=list)
    """the entries of environment.json"""
    metrics: list[dict[str, Any]] = field(default_factory=list)
    config: GPTConfig | None = None
    data: dict[str, Meta] = field(default_factory=dict)
    """the data sets that it read, by name, as they are now"""
    evaluations: dict[str, dict[str, Any]] = field(default_factory=dict)
    """the files of evaluations/, by name"""
    parent: dict[str, Any] | None = None
    """the run it began from, that run's step and the hash of its weights"""
    missing: list[str] = field(default_factory=list)

    @property
    def training_seconds(self) -> float | None:
        """Of training alone; None where nothing was trained."""
        return self.metrics[-1].get("seconds") if self.metrics else None

    @property
    def wall_seconds(self) -> float:
        """What the commands took that wrote their end."""
        return sum(command.get("wall_seconds", 0.0) for command in self.commands)

    @property
    def tokens(self) -> int:
        """What it was trained on."""
        return self.metrics[-1].get("tokens", 0) if self.metrics else 0


def lineage(run: Path) -> list[Recorded]:
    """The run, its parent, and so on to the first that is here."""
    found = [gather(run)]
    seen = {run.resolve()}
    while (parent := found[-1].parent) is not None:
        path = find_parent(str(parent.get("run", "")), found[-1].path)
        if path is None or path.resolve() in seen:
            was_trained = "dataset" in found[-1].settings
            where = "is not here any more" if was_trained else "was published elsewhere"
            found[-1].missing.append(f"its parent {parent.get('run')!r}, which {where}")
            break
        seen.add(path.resolve())
        found.append(gather(path))
    return found


def find_parent(name: str, child: Path) -> Path | None:
    """The folder of the run that `parent` names, which was written where the command ran."""
    for path in (Path(name), Path("runs") / name, child.parent / Path(name).name):
        if name and (path / "resolved.toml").is_file():
            return path
    return None


def gather(run: Path) -> Recorded:
    """All that is in a run's folder. Raises UserError only where it is no run."""
    found = Recorded(run)
    try:
        found.settings, found.origins = read_resolved(run)
        found.config = config_of(found.settings).filled()
    except (UserError, TypeError) as error:
        found.missing.append(f"its settings, resolved.toml: {str(error).splitlines()[0]}")
    found.config = found.config or _config_of_checkpoint(run)
    found.commands = read_environment(run)
    if not found.commands:
        found.missing.append("its machine and versions: environment.json is not there, or cannot be read")
    found.metrics = [row for row in read_metrics(run / "metrics.jsonl") if isinstance(row.get("step"), int)]
    if not found.metrics and "dataset" in found.settings:
        found.missing.append("its losses: metrics.jsonl is not there, or empty")
    _read_data(found)
    _read_evaluations(found)
    found.parent = _read_json(run / "parent", found) if (run / "parent").exists() else None
    unfinished = [command for command in found.commands if "wall_seconds" not in command]
    if unfinished:
        found.missing.append(f"the time of {len(unfinished)} of its commands, which were killed or are still running")
    return found


def _config_of_checkpoint(run: Path) -> GPTConfig | None:
    """The model as its newest checkpoint describes it, where the settings do not."""
    for state in sorted((run / "checkpoints").glob("step-*/state.json"), reverse=True):
        try:
            return GPTConfig(**json.loads(state.read_text(encoding="utf-8"))["model"]).filled()
        except (OSError, ValueError, KeyError, TypeError, UserError):
            continue
    return None


def _read_data(found: Recorded) -> None:
    text = found.settings.get("dataset", "")
    for name in parse_mixture(text)[0] if text else []:
        try:
            found.data[name] = open_dataset(name).meta
        except UserError as error:
            found.missing.append(f"its data set {name}: {error.problem}")


def _read_evaluations(found: Recorded) -> None:
    for file in sorted((found.path / "evaluations").glob("*.json")):
        content = _read_json(file, found)
        if content is not None:
            found.evaluations[file.stem] = content


def _read_json(file: Path, found: Recorded) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        found.missing.append(f"{file.name}, which cannot be read")
        return None
    return content
