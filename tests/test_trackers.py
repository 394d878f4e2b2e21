"""Trackers: TensorBoard and Weights & Biases get what metrics.jsonl gets, and never stop a training."""

import io
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from inkling.train import loop, trackers
from inkling.train.progress import Progress, read_metrics
from test_cli import refused

RUN = Path("runs/tiny")
METRICS = RUN / "metrics.jsonl"


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Event files → tag → step → value; a step that is there twice is an error."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        pairs = [(event.step, event.value) for event in events.Scalars(tag)]
        found[tag] = dict(pairs)
        assert len(found[tag]) == len(pairs), f"{tag} has a step twice"
    return found


def expected(metrics: Path) -> dict[str, dict[int, float]]:
    """The same from metrics.jsonl, in the precision of event files."""
    found: dict[str, dict[int, float]] = {}
    for row in read_metrics(metrics):
        for key in row.keys() - {"step"}:
            found.setdefault(key, {})[row["step"]] = float(np.float32(row[key]))
    return found


def crash_at(monkeypatch, step: int) -> None:
    """Let the training end, as if the process died, when it is about to do `step`."""
    real = loop.update

    def update(learner, *rest):
        if learner.step == step:
            raise OSError(5, "crash")
        return real(learner, *rest)

    monkeypatch.setattr(loop, "update", update)


def test_tensorboard_holds_the_metrics(tiny, inkling):
    status, out, err = inkling("train", "tiny.toml", "--tensorboard")
    assert status == 0, err
    assert f"tensorboard --logdir={RUN}" in out
    found = scalars(RUN / "tensorboard")
    assert found == expected(METRICS)
    assert len(found["loss"]) == 12 and list(found["val_loss"]) == [5, 10, 12]


def test_tensorboard_after_a_crash_has_no_step_twice(tiny, inkling, monkeypatch):
    crash_at(monkeypatch, 9)
    assert inkling("train", "tiny.toml", "--tensorboard")[0] != 0
    assert max(scalars(RUN / "tensorboard")["loss"]) == 8, "beyond the checkpoint of step 5"
    monkeypatch.undo()
    monkeypatch.chdir(tiny)
    status, _, err = inkling("train", "tiny.toml", "--resume")
    assert status == 0, err
    assert len(list((RUN / "tensorboard").iterdir())) == 2, "one file for each command"
    assert scalars(RUN / "tensorboard") == expected(METRICS)
    assert len(expected(METRICS)["loss"]) == 12


@pytest.mark.parametrize(
    ("flag", "package"), [("--tensorboard", "tensorboard"), ("--wandb_log", "wandb")], ids=["tensorboard", "wandb"]
)
def test_a_missing_package(tiny, inkling, monkeypatch, flag, package):
    monkeypatch.setitem(sys.modules, package, None)
    refused(inkling("train", "tiny.toml", flag), package, "pip install 'inkling-lm[logging]'")
    # A folder that the package left behind looks to Python like a package without a file.
    monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    sys.modules[package].__file__ = None
    refused(inkling("train", "tiny.toml", flag), package, "pip install 'inkling-lm[logging]'")
    assert not RUN.exists(), "nothing is left behind by a refused command"


def test_a_failure_in_mid_run_warns_once(tiny, inkling, monkeypatch):
    real = trackers.TensorBoard.log

    def log(self, row):
        if row["step"] >= 4:
            raise OSError(28, "No space left on device")
        real(self, row)

    monkeypatch.setattr(trackers.TensorBoard, "log", log)
    status, _, err = inkling("train", "tiny.toml", "--tensorboard")
    assert status == 0
    assert err.count("warning") == 1 and "TensorBoard failed" in err and "step 4" in err
    assert len(read_metrics(METRICS)) == 12


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Weights & Biases without a network, and with no file of its own outside the test's folder."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "NETRC"):
        monkeypatch.setenv(name, str(tmp_path / "home" / name))
    wandb.teardown()  # it reads its environment once
    yield
    wandb.teardown()


def test_wandb_offline_writes_into_the_run(tiny, inkling, offline):
    before = {path.name for path in Path().iterdir()}
    status, _, err = inkling("train", "tiny.toml", "--wandb_log")
    assert status == 0, err
    name = (RUN / "wandb_id").read_text(encoding="utf-8").strip()
    assert [path.name[-len(name) :] for path in (RUN / "wandb").glob("offline-run-*")] == [name]
    assert list((RUN / "wandb").glob(f"offline-run-*/run-{name}.wandb"))
    assert {path.name for path in Path().iterdir()} - before <= {"runs", "home"}
    assert len(read_metrics(METRICS)) == 12


def test_wandb_without_a_login(tiny, inkling, offline, monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # no terminal to ask at
    refused(inkling("train", "tiny.toml", "--wandb_log"), "wandb login", "WANDB_MODE=offline")
    assert not RUN.exists()


class PretendWandb(types.ModuleType):
    """What inkling uses of wandb, remembering the calls."""

    class errors:
        class Error(Exception):
            pass

    def __init__(self, held: int = 0) -> None:
        super().__init__("wandb")
        self.__file__, self.step = "wandb.py", held
        self.asked: dict = {}
        self.logged: list[tuple[int, dict]] = []
        self.ended: list[int] = []

    def Settings(self, **settings):
        return settings

    def login(self):
        self.asked["login"] = True

    def init(self, **asked):
        self.asked |= asked
        return self

    def log(self, row, step):
        self.logged.append((step, row))

    def finish(self, exit_code):
        self.ended.append(exit_code)


def test_wandb_is_given_settings_and_goes_on_with_the_same_run(tiny, inkling, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    crash_at(monkeypatch, 9)
    first = PretendWandb()
    monkeypatch.setitem(sys.modules, "wandb", first)
    assert inkling("train", "tiny.toml", "--wandb_log", "--wandb_project=mine")[0] != 0
    asked = first.asked
    assert asked["login"] and asked["project"] == "mine" and asked["name"] == "tiny" and asked["dir"] == str(RUN)
    assert asked["config"]["n_layer"] == 2 and asked["config"]["learning_rate"] > 0
    assert [step for step, _ in first.logged] == list(range(1, 9)) and first.ended == [1]

    second = PretendWandb(held=8)
    monkeypatch.undo()
    monkeypatch.chdir(tiny)
    monkeypatch.setitem(sys.modules, "wandb", second)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert inkling("train", "tiny.toml", "--resume")[0] == 0
    assert second.asked["id"] == asked["id"] and second.asked["resume"] == "allow"
    assert [step for step, _ in second.logged] == [8, 9, 10, 11, 12] and second.ended == [0]
    assert [row for _, row in second.logged] == read_metrics(METRICS)[-5:]


def test_an_evaluation_names_the_best_before_it(tmp_path, capsys):
    row = {
        "tokens": 1,
        "seconds": 1.0,
        "loss": 3.0,
        "lr": 0.1,
        "ms": 5.0,
        "tokens_per_second": 200.0,
        "train_loss": 3.0,
    }
    for step, loss, says in ((1, 3.0, "val loss 3.0000, "), (2, 3.5, "val loss 3.5000 (best 3.0000), ")):
        progress = Progress(tmp_path / "metrics.jsonl", 9, step - 1, log_interval=1, is_main=True)
        progress.step(row | {"step": step, "val_loss": loss})
        progress.close()
        assert says in capsys.readouterr().out
