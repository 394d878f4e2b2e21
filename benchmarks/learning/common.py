"""What the experiments of the learning flow share: their flags, running inkling, reading a run, Markdown."""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from inkling import cli
from inkling.peak import measure_peak
from inkling.runtime import describe_machine
from inkling.train.progress import read_metrics


def parse(about: str, argv: Sequence[str] | None = None, **extra: str) -> argparse.Namespace:
    """The flags that every experiment takes, and `extra` ones: name → help."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="everything once and tiny, to see that it works")
    parser.add_argument("--folder", help="keep data and runs here, and go on with what is there; else a scratch folder")
    for name, meaning in extra.items():
        parser.add_argument(f"--{name}", help=meaning)
    return parser.parse_args(argv)


@contextmanager
def workplace(folder: str | None) -> Iterator[None]:
    """Be in `folder`, or in one that is gone afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(folder or scratch)
        place.mkdir(parents=True, exist_ok=True)
        with chdir(place):
            yield


def inkling(*words: str) -> str:
    """A command as a person types it, in this process, so that PyTorch is loaded once. Gives what it printed."""
    print("inkling", *words, file=sys.stderr)
    with redirect_stdout(StringIO()) as out:
        cli.dispatch(list(words))
    return out.getvalue()


def train(run: str, recipe: str, **settings: Any) -> list[dict[str, Any]]:
    """Train into runs/RUN, or go on with it if it is there already. Gives the rows of its metrics.jsonl."""
    if Path("runs", run, "resolved.toml").is_file():
        inkling("train", f"--out_dir=runs/{run}", "--resume")
    else:
        inkling("train", recipe, f"--out_dir=runs/{run}", *(f"--{key}={value}" for key, value in settings.items()))
    return read_metrics(Path("runs", run, "metrics.jsonl"))


def prepared(name: str, *words: str) -> None:
    """Prepare a data set unless it is there."""
    if not Path("data", name, "meta.json").is_file():
        inkling("prepare", name, *words)


def spread(values: Sequence[float]) -> float:
    """From the lowest to the highest."""
    return max(values) - min(values)


def mean(values: Sequence[float]) -> float:
    """Of at least one."""
    return statistics.fmean(values)


def show_heading(title: str, what: str, quick: bool) -> None:
    """The head of the page that an experiment prints: where, with what, and how fast the machine was just now."""
    here = describe_machine()
    print(f"# {title}\n\n{what}\n")
    print(
        f"{here['cores']} cores of {here['cpu']}, Python {here['python']}, torch {here['torch']}, commit "
        f"{here['commit']}; the best square float32 product of the minute before: "
        f"{measure_peak('cpu', 'float32', sizes=(1024,) if quick else (1024, 2048), seconds=0.2) / 1e9:.0f} GFLOP/s."
    )
    if quick:
        print("\n**The quick form: these numbers mean nothing.**")
    print(flush=True)


def show_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A Markdown table, and an empty line."""
    print("| " + " | ".join(head) + " |")
    print("|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)
