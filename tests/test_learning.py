"""The experiments of the book's learning flow, in their quick form: they run, and print the tables they promise."""

import subprocess
import sys

import pytest

from conftest import ROOT, clean_environment

FOLDER = ROOT / "benchmarks" / "learning"


def run(name: str, folder) -> tuple[str, list[list[str]]]:
    """(what an experiment printed, the cells of its tables' lines) after its quick form has run in `folder`."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / name), "--quick", "--folder", str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        env=clean_environment(PYTHONUTF8="1"),
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return done.stdout, [row for row in rows if set(row[0]) != {"-"}]


def figure(cell: str) -> float:
    return float(cell.replace(",", ""))


def test_preparing(tmp_path):
    out, (head, *rows) = run("preparing.py", tmp_path)
    assert out.startswith("# ") and "quick form: these numbers mean nothing" in out
    assert [row[0] for row in rows] == ["almanac, char", "almanac, byte", "almanac, learned"]
    found = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    tokens = {name: figure(row["tokens"]) for name, row in found.items()}
    assert tokens["almanac, learned"] < tokens["almanac, char"] <= tokens["almanac, byte"]
    # A byte as a token takes two bytes on disk; a learned token stands for more than one.
    disk = {name: figure(row["disk / text"]) for name, row in found.items()}
    assert disk["almanac, byte"] > 2 > disk["almanac, learned"]


@pytest.mark.slow
def test_sensitivity_goes_on_where_it_was(tmp_path):
    out, rows = run("sensitivity.py", tmp_path)
    _, *summary = rows[:6]
    assert sorted(row[0] for row in summary) == ["batch_size", "dropout", "learning_rate", "n_layer", "warmup_iters"]
    by_value = rows[7:]
    assert len(by_value) == 15 and sum("(base)" in row[0] for row in by_value) == 5
    assert len({row[1] for row in by_value if "(base)" in row[0]}) == 1, "the base is trained once"
    assert len(list((tmp_path / "runs").iterdir())) == 11
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.safetensors")}
    again, _ = run("sensitivity.py", tmp_path)
    assert again.partition("## By setting")[2] == out.partition("## By setting")[2]
    assert before == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.safetensors")}


@pytest.mark.slow
def test_finetuning(tmp_path):
    out, (head, scratch, finetuned, steps, *ways) = run("finetuning.py", tmp_path)
    assert head[1] == "begun" and (scratch[1], finetuned[1]) == ("scratch", "finetuned")
    assert 0 < figure(finetuned[2]) < 6 and 0 < figure(scratch[2]) < 6
    assert steps[2:] == ["2", "4"] and [way[1] for way in ways] == ["scratch", "finetuned"]
    assert min(ways[0][2:]) == scratch[2], "the lowest is one of those on the way"
    assert (tmp_path / "runs" / "finetuned-50-1337" / "parent").is_file()
    assert out.count("```text") == 2 and out.count("The capital of France") == 2


@pytest.mark.slow
def test_compiling(tmp_path):
    _, (head, row) = run("compiling.py", tmp_path)
    found = dict(zip(head, row, strict=True))
    assert figure(found["compiling s"]) > 1, "the first step waits for the compilation"
    assert figure(found["eager ms"]) > 0 and figure(found["compiled ms"]) > 0
