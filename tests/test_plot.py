"""inkling plot: what it draws, where it writes, and what it says when there is nothing to draw."""

import builtins
import json
import math
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from inkling.train.curves import COLOURS, Curve, columns, smoothed
from test_cli import refused

SVG = "{http://www.w3.org/2000/svg}"


def rows(steps: int = 60, every: int = 20, level: float = 2.0, health: bool = False) -> list[dict]:
    """Metrics as a training writes them."""
    made = []
    for step in range(1, steps + 1):
        row = {"step": step, "tokens": step * 64, "seconds": step * 0.5, "loss": level + 3 * math.exp(-step / 9)}
        row |= {"lr": 1e-3 * step / steps, "grad_norm": 1 + 1 / step, "tokens_per_second": 128.0, "wall": step * 0.6}
        if every and step % every == 0:
            row |= {"val_loss": level + 3 * math.exp(-step / 9) + 0.1, "train_loss": level}
        if health and step % 10 == 0:
            norms = ("grad_norm", "weight_norm", "update_norm")
            row |= {f"{norm}/{part}": 1.0 / step for norm in norms for part in ("attention", "mlp", "head")}
        made.append(row)
    return made


@pytest.fixture
def write(tmp_path, monkeypatch):
    """write("demo", rows()) makes runs/demo/metrics.jsonl in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, lines: list[dict], tail: str = "") -> Path:
        file = Path("runs") / name / "metrics.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in lines) + tail, encoding="utf-8")
        return file

    return make


def png_size(path: str | Path) -> tuple[int, int]:
    """(width, height) as the file's header says them."""
    content = Path(path).read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n" and content[12:16] == b"IHDR" and content[-8:-4] == b"IEND"
    return struct.unpack(">II", content[16:24])


def svg_texts(path: str | Path) -> str:
    """All the words in a picture."""
    root = ElementTree.fromstring(Path(path).read_bytes())
    assert root.tag == f"{SVG}svg"
    return "\n".join("".join(text.itertext()).strip() for text in root.iter(f"{SVG}text"))


def test_one_run(write, inkling):
    write("demo", rows(health=True))
    status, out, err = inkling("plot", "demo")
    assert status == 0 and err == "", err
    assert out.splitlines() == [f"→ {Path('runs/demo/plot.png')}", f"→ {Path('runs/demo/plot.svg')}"]
    width, height = png_size("runs/demo/plot.png")
    assert width == 1200 and 800 < height < 1100
    words = svg_texts("runs/demo/plot.svg")
    for text in ("demo: 60 steps, 3,840 tokens, 30s of training", "loss (nats per token)", "step", "validation 2.1038"):
        assert text in words
    for text in ("learning rate", "gradient norm", "tokens / second", "update norm ÷ weight norm", "attention", "head"):
        assert text in words


def test_two_runs_in_one_picture(write, inkling):
    write("short", rows(20, every=5))
    write("long one", rows(200, level=1.5, health=True))
    status, out, err = inkling("plot", "short", "runs/long one")
    assert status == 0, err
    assert Path("plots/short_long one.png").is_file() and "plots" in out
    words = svg_texts("plots/short_long one.svg")
    assert "2 runs" in words and "short: validation 2.4251" in words and "long one: validation 1.6000" in words
    assert "by part" not in words, "the parts of a network are drawn for one run only"


def test_runs_of_one_name_are_told_apart_by_their_paths(write, inkling):
    write("a/demo", rows())
    write("b/demo", rows())
    assert inkling("plot", "runs/a/demo", "runs/b/demo", "runs/a/demo", "--out=both.svg")[0] == 0
    words = svg_texts("both.svg")
    for letter in "ab":
        assert words.count(str(Path(f"runs/{letter}/demo/metrics.jsonl"))[-20:]) == 1


def test_many_runs(write, inkling):
    for number in range(20):
        write(f"a_rather_long_name_of_run_number_{number}", rows(5, every=2))
    names = [folder.name for folder in sorted(Path("runs").iterdir())]
    assert inkling("plot", *names)[0] == 0
    assert Path(f"plots/{names[0]}_and_19_more.png").is_file()
    assert all(f"number_{number}:" in svg_texts(f"plots/{names[0]}_and_19_more.svg") for number in range(20))


@pytest.mark.parametrize(
    ("axis", "label"),
    [
        ("step", "step"),
        ("tokens", "tokens"),
        ("seconds", "training time (s)"),
        ("wall", "time since the command began (s)"),
    ],
)
def test_axes(write, inkling, axis, label):
    write("demo", rows())
    for number, scale in enumerate(([], ["--log_x", "--log_y", "--loss_max=4"])):
        status, _, err = inkling("plot", "demo", f"--x={axis}", *scale, f"--out=axes{number}.svg")
        assert status == 0, err
        assert label in svg_texts(f"axes{number}.svg").splitlines()


def test_units_of_time(write, inkling):
    write("demo", [row | {"seconds": row["seconds"] * 3600} for row in rows()])
    assert inkling("plot", "demo", "--x=seconds", "--out=x.svg")[0] == 0
    assert "training time (h)" in svg_texts("x.svg")


def test_out(write, inkling):
    file = write("demo", rows())
    assert inkling("plot", str(file))[0] == 0, "a path to a metrics.jsonl is a run too"
    assert Path("runs/demo/plot.png").is_file() and Path("runs/demo/plot.svg").is_file()
    assert inkling("plot", "demo", "--out=new/folder/only.png")[0] == 0
    assert [path.name for path in Path("new/folder").iterdir()] == ["only.png"]
    assert inkling("plot", "demo", "--out=new/both")[0] == 0
    assert {path.name for path in Path("new").glob("both*")} == {"both.png", "both.svg"}
    assert inkling("plot", "demo", "--out=new")[0] == 0
    assert Path("new/plot.svg").is_file()
    refused(inkling("plot", "demo", "--out=x.pdf"), "x.pdf", ".png or .svg")


def test_a_run_of_one_row_and_one_without_validation(write, inkling):
    write("one", rows(1, every=0))
    write("none", rows(30, every=0))
    for words in (["one"], ["none"], ["one", "none"], ["one", "--log_x", "--log_y"]):
        status, _, err = inkling("plot", *words, "--out=x.svg")
        assert status == 0 and err == "", err
    assert inkling("plot", "one", "none", "--out=x.svg")[0] == 0
    assert "none: no validation" in svg_texts("x.svg")


@pytest.mark.parametrize("evaluated", [1, 2, 3])
def test_every_validation_has_its_mark(write, inkling, evaluated):
    write("few", rows(steps=20 * evaluated))
    assert inkling("plot", "few")[0] == 0
    marks = [
        mark
        for mark in ElementTree.fromstring(Path("runs/few/plot.svg").read_bytes()).iter(f"{SVG}use")
        if COLOURS[1].lower() in mark.get("style", "").lower()
    ]
    assert len(marks) == evaluated + 1, "one more in the legend"


def test_a_cut_last_line(write, inkling):
    write("demo", rows(30, every=0), tail='{"step": 31, "loss": 2.')
    assert inkling("plot", "demo", "--out=x.svg")[0] == 0
    assert "demo: 30 steps" in svg_texts("x.svg")


def test_values_that_are_not_finite(write, inkling):
    made = rows()
    for row in made[10:20]:
        row |= {"loss": math.nan, "grad_norm": math.inf}
    made[39]["val_loss"] = math.inf
    write("demo", made)
    write("lost", [row | {"loss": math.nan, "grad_norm": math.inf} for row in rows(every=0)])
    status, _, err = inkling("plot", "demo", "--out=x.svg")
    assert status == 0 and "11 losses of demo are not finite" in err
    status, _, err = inkling("plot", "lost", "demo", "--log_y", "--out=x.svg")
    assert status == 0 and "60 losses of lost" in err
    assert inkling("plot", "lost", "--out=x.png")[0] == 0


def test_rows_with_few_keys(write, inkling):
    write("few", [{"step": step, "loss": 1 / step} for step in (1, 2, 3)])
    assert inkling("plot", "few", "--out=x.svg")[0] == 0
    refused(inkling("plot", "few", "--x=tokens"), "do not say 'tokens'", "--x")


def test_names_that_drawing_could_misread(write, inkling):
    for name in ("_hidden", "cost$5$", "прогон", "日本"):
        write(name, rows(5))
    status, _, err = inkling("plot", "_hidden", "cost$5$", "прогон", "日本", "--out=x.svg")
    assert status == 0 and err == "", err
    assert all(f"{name}: no validation" in svg_texts("x.svg") for name in ("_hidden", "cost$5$", "прогон", "日本"))
    assert inkling("plot", "cost$5$", "--out=x.png")[0] == 0


def test_nothing_to_draw(write, inkling):
    write("demo", rows())
    write("empty", [])
    Path("runs/untrained").mkdir()
    Path("runs/untrained/resolved.toml").write_text("", encoding="utf-8")
    Path("image.jsonl").write_bytes(b"\x89PNG\xff\xfe")
    refused(inkling("plot"), "Which run?", "inkling plot demo")
    refused(inkling("plot", "nothing"), "no run 'nothing'")
    refused(inkling("plot", "demo", "empty"), "no finished step")
    refused(inkling("plot", "untrained"), "not trained yet")
    refused(inkling("plot", "image.jsonl"), "not text")
    refused(inkling("plot", "demo", "--smooth=1"), "smooth=1")
    refused(inkling("plot", "demo", "--loss_max=1"), "loss_max=1", "lowest loss, 2.0")
    refused(inkling("plot", "demo", "--x=epoch"), "--x", "step, tokens, seconds, wall")
    assert not list(Path().rglob("*.png"))


def test_without_matplotlib(write, inkling, monkeypatch):
    write("demo", rows())
    real = builtins.__import__

    def without(name, *rest):
        if name == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    refused(inkling("plot", "demo"), "matplotlib", "pip install 'inkling-lm[plot]'")


def test_nothing_global_is_changed(write, inkling):
    import matplotlib

    before = dict(matplotlib.rcParams)
    write("demo", rows())
    assert inkling("plot", "demo", "--out=x.svg")[0] == 0
    assert dict(matplotlib.rcParams) == before


def test_smoothing():
    raw = np.array([5.0, 4.0, math.nan, 3.0, 3.0])
    assert np.array_equal(smoothed(raw, 0.0), raw, equal_nan=True)
    constant = smoothed(np.full(500, 2.5), 0.99)
    assert np.allclose(constant, 2.5), "no pull towards zero at the beginning"
    noisy = np.random.default_rng(0).normal(2.0, 1.0, 5000)
    assert smoothed(noisy, None)[-1000:].std() < 0.15
    steep = 10 * np.exp(-np.arange(1000) / 50)
    assert (smoothed(steep, 0.99) - steep)[:20].max() < 0.5, "no lag at the steep beginning"


def test_the_clock_of_a_resumed_run_goes_on():
    made = [{"step": step, "wall": wall} for step, wall in enumerate((5.0, 6.0, 7.0, 4.0, 5.0, 3.0), 1)]
    assert Curve("demo", made).along("wall").tolist() == [5.0, 6.0, 7.0, 11.0, 12.0, 15.0]


def test_legends_fit_the_width():
    assert columns(["x" * 200]) == 1
    assert columns(["demo: validation 1.4697"] * 9) == 4
    assert columns(["a", "b"]) == 2
