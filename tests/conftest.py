"""Fixtures that several test files share: a small data set, and the command as a person runs it."""

import os
import shutil
import sys
import types
from pathlib import Path

# Before torch is loaded: threads that wait for each other by turning in circles take the cores from other processes,
# and from other tests. On two busy cores 40 small steps of two threads took more than 100 seconds so, and 45 like this.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
from hypothesis import HealthCheck, settings

from inkling import cli
from inkling.stages import prepare

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"

# No limit of time: what is quick alone is slow on a machine that does something else as well.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

TEXT = "".join(
    f"{i}. The {a} {b} saw {i * 7 % 31} {c} near the river, and said: how {d} it is!\n"
    for i, (a, b, c, d) in enumerate(
        (a, b, c, d)
        for a in ("old", "young", "quiet", "clever")
        for b in ("king", "fox", "sailor", "miller", "queen")
        for c in ("apples", "ships", "stars", "bees")
        for d in ("cold", "bright", "strange")
    )
)

# A model so small that a step takes milliseconds, with every random part switched on.
TINY = {
    "block_size": 16,
    "batch_size": 4,
    "n_layer": 2,
    "n_head": 2,
    "n_embd": 32,
    "dropout": 0.1,
    "max_iters": 12,
    "eval_interval": 5,
    "eval_iters": 2,
    "eval_tokens": 200,  # twelve windows and a half; all of the text would take longer than the training
    "log_interval": 1,
    "device": "cpu",
    "dtype": "float32",
    "compile": False,
    "threads": 1,
}


def flags(settings: dict) -> list[str]:
    """Settings as command-line words."""
    return [f"--{key}={value}" for key, value in settings.items()]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A folder with what `tiny` needs, made once. Not to be written to."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("text.txt").write_text(TEXT, encoding="utf-8")
        prepare.main("tiny", prepare.PrepareSettings(input="text.txt", tokenizer="byte"))
    lines = [f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}" for key, value in TINY.items()]
    (folder / "tiny.toml").write_text("\n".join(['dataset = "tiny"', *lines]).replace("'", '"'), encoding="utf-8")
    return folder


@pytest.fixture
def tiny(prepared, tmp_path, monkeypatch):
    """A folder with a byte-level data set `tiny` and a recipe tiny.toml; the current folder."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def inkling(capfd):
    """Run a command in this process: inkling("train", "tiny.toml") → (exit status, stdout, stderr)."""

    def call(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        status = 0
        try:
            cli.run(list(words))
        except SystemExit as end:
            status = end.code
        out, err = capfd.readouterr()
        return status, out, err

    return call


@pytest.fixture
def no_hub(monkeypatch):
    """Models on the Hugging Face hub are out of reach."""

    def refuse(*repo, **options):
        raise ConnectionError

    offline = types.SimpleNamespace(snapshot_download=refuse)
    monkeypatch.setattr("inkling.hub.fetch.import_extra", lambda name: offline)


def command(*words: str) -> list[str]:
    """The same command for a process of its own."""
    return [sys.executable, "-m", "inkling", *words]


def clean_environment(**extra: str) -> dict[str, str]:
    """This environment without what torchrun or a person may have set."""
    drop = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"}
    return {key: value for key, value in os.environ.items() if key not in drop} | extra
