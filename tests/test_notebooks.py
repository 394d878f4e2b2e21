"""The notebooks run as plain scripts, quickly, and say what is published."""

import subprocess
import sys

import pytest

from conftest import ROOT, clean_environment

NOTEBOOKS = ROOT / "notebooks"


def run(name: str, folder, **environment: str) -> str:
    """The output of a notebook that is run in `folder`."""
    done = subprocess.run(
        [sys.executable, str(NOTEBOOKS / name)],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        env=clean_environment(PYTHONUTF8="1", **environment),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def line(output: str, *begins: str) -> list[str]:
    """The words of the first line that begins with these words."""
    for words in map(str.split, output.splitlines()):
        if words[: len(begins)] == list(begins):
            return words
    raise AssertionError(f"no line begins with {begins}")


def test_transformer_sizing_says_the_published_figures(tmp_path):
    out = run("transformer_sizing.py", tmp_path)
    assert line(out, "total")[1:] == ["124,439,808", "354,823,168", "774,030,080", "1,557,611,200"]
    for name, paper in {"gpt2": "117M", "gpt2-medium": "345M", "gpt2-large": "762M", "gpt2-xl": "1542M"}.items():
        assert line(out, name, paper)
    assert "123,653,376 without positions; 85,056,000 without either embedding" in out
    assert "nanoGPT's run: 295 G tokens, 2.52e+20 FLOPs" in out and "MFU 29%" in out
    assert "the scores cost 1.00 times the blocks' matrices" in out
    assert line(out, "gpt2", "0.25")[2] == "1.49", "gigabytes of a checkpoint with AdamW's moments"
    assert list(tmp_path.iterdir()) == []


def test_scaling_laws_says_the_published_figures(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError", encoding="utf-8")
    out = run("scaling_laws.py", tmp_path, PYTHONPATH=str(tmp_path))
    assert "matplotlib is not installed" in out
    assert line(out, "Chinchilla")[-1] == "1.937"
    assert "printed: N ∝ C^0.452, D ∝ C^0.548" in out and "replication: N ∝ C^0.513" in out
    # Gopher's budget: figure 4 of the paper has 40 B for method 3; the printed constants give another number.
    assert line(out, "5.76e+23", "unrounded")[2:4] == ["40.3", "B"]
    assert line(out, "5.76e+23", "printed")[2:4] == ["32.2", "B"]
    assert line(out, "67.0", "B")[2:8] == ["1.5", "T", "1.7", "T", "4.1", "T"]
    assert line(out, "unrounded", "29.2")[-3:] == ["1.06", "to", "1.19"]
    assert line(out, "gpt2-xl")[1:5] == ["1.6", "B", "31.2", "B"]


def test_scaling_laws_draws_where_it_can(tmp_path):
    pytest.importorskip("matplotlib")
    assert "→ scaling_laws.png" in run("scaling_laws.py", tmp_path)
    assert (tmp_path / "scaling_laws.png").read_bytes().startswith(b"\x89PNG")


def test_notebooks_do_not_load_torch():
    code = "import sys, inkling.model.cost, inkling.model.scaling; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
