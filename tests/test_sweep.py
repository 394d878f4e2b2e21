"""Sweeps of trainings as a person runs them, tiny: what they train, skip and write, and what they say of their fits."""

import json
import math
import os
from pathlib import Path

import pytest

from conftest import flags
from inkling import cli
from inkling.data.shards import open_dataset
from inkling.errors import UserError
from inkling.evals.fit import fit_scaling
from inkling.evals.sweep import bits_per_byte, read_point
from inkling.model.cost import flops_per_token
from inkling.stages import pipeline, sweep
from inkling.stages.scaling import law_words, sentences, short
from inkling.stages.sweep import book_of, numbers
from inkling.train.runfolder import read_resolved
from test_fit import BUDGETS, budget
from test_plot import svg_texts

TINY = {"dataset": "tiny", "block_size": 16, "batch_size": 2, "eval_tokens": 300, "device": "cpu", "dtype": "float32"}
TINY |= {"compile": False, "threads": 1, "width_per_layer": 8}


@pytest.fixture
def called(tiny, monkeypatch):
    """The trainings, in this process; `called.fail` is the number of the one that fails."""

    class Called(list):
        fail = 0

    calls = Called()

    def call(words, processes=1, started=lambda pid: None):
        calls.append(words)
        started(os.getpid())
        if len(calls) == calls.fail:
            return 1
        cli.dispatch(list(words))
        return 0

    monkeypatch.setattr(pipeline, "call", call)
    monkeypatch.setattr(sweep, "call", call)
    return calls


def test_a_miniseries(called, inkling):
    words = ("miniseries", "--depths=2,1", "--tokens_per_parameter=0.1", *flags(TINY))
    status, out, err = inkling(*words)
    assert status == 0, err
    assert "miniseries: sweep at 2 depths" in out
    one, two = (read_point(Path(f"runs/miniseries/d0{depth}")) for depth in (1, 2))
    assert (one.depth, one.width, two.width) == (1, 8, 16)
    assert one.size == 12 * 8 * 8 + 256 * 8 and one.parameters > one.size
    resolved, _ = read_resolved(Path("runs/miniseries/d02"))
    assert resolved["n_head"] == 2 and two.tokens == resolved["max_iters"] * resolved["tokens_per_step"]
    assert two.flops == flops_per_token(sweep_config("d02")) * two.tokens
    page = Path("runs/miniseries/miniseries.md").read_text(encoding="utf-8")
    assert f"| {two.val_loss:.4f} | {two.bpb:.4f} |" in page and "![" in page and "torch" in page
    assert "d2" in svg_texts("runs/miniseries/miniseries.svg")
    called.clear()
    assert inkling(*words)[0] == 0 and not called, "what is done is not done again"


def sweep_config(label: str):
    from inkling.evals.sweep import config_of

    return config_of(read_resolved(Path("runs/miniseries", label))[0])


def test_bits_per_byte_are_the_data_sets(tiny):
    counts = open_dataset("tiny").meta.val
    found = bits_per_byte(2.0, "tiny")
    assert found == pytest.approx(2.0 / math.log(2) * counts.tokens / counts.bytes)
    assert bits_per_byte(2.0, "tiny:0.5,other:0.5") is None
    assert bits_per_byte(2.0, "gone") is None


def test_scaling_from_nothing_to_a_page(called, inkling):
    words = ("scaling", "--budgets=1e7,2e7,4e7", "--depths=1,2,3", *flags(TINY))
    called.fail = 5
    status, _, err = inkling(*words)
    assert status == 1 and "same command goes on from here: inkling scaling" in err
    assert "--budgets=1e7,2e7,4e7" in err and "--block_size=16" in err, "the whole command"
    called.clear()
    called.fail = 0
    status, out, err = inkling(*words)
    assert status == 0, err
    assert len(called) == 5, "four were done"
    book = json.loads(book_of("scaling").read_text(encoding="utf-8"))
    assert len(book) == 9 and all(entry["made"] for entry in book.values())
    for flops in (1e7, 2e7, 4e7):
        point = read_point(Path(f"runs/scaling/c{short(flops)}_d01"))
        assert point.flops == pytest.approx(flops, rel=0.1)
    page = Path("runs/scaling/scaling.md").read_text(encoding="utf-8")
    assert page.count("| 2e7 |") == 4, "three runs, and the best"
    assert "## The best size of each budget" in page
    assert "no interval can be given" in page or "no law to fit" in page, "three sizes leave nothing to tell noise by"
    assert "FLOPs" in svg_texts("runs/scaling/scaling.svg")
    assert "the best size of each budget" in out


def test_without_matplotlib_there_is_a_page_and_no_picture(called, inkling, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    status, _, err = inkling("miniseries", "--depths=1", "--tokens_per_parameter=0.1", *flags(TINY))
    assert status == 0 and "matplotlib is not here" in err
    assert "![" not in Path("runs/miniseries/miniseries.md").read_text(encoding="utf-8")


def test_text_that_needs_no_network_is_prepared(tmp_path, monkeypatch, inkling):
    monkeypatch.chdir(tmp_path)
    calls = []

    def call(words, processes=1, started=lambda pid: None):
        calls.append(words)
        return 1

    monkeypatch.setattr(sweep, "call", call)
    status, _, err = inkling("miniseries")
    assert status == 1 and calls == [("prepare", "bundled")] and "inkling prepare bundled" in err
    status, out, _ = inkling("scaling", "--dry_run")
    assert status == 0 and out.count("$ inkling train sweep") == 15 and len(calls) == 1
    status, out, _ = inkling("miniseries", "gpu", "--depths=4", "--width_per_layer=64", "--gpus=8", "--dry_run")
    assert "$ torchrun --standalone --nproc_per_node=8 -m inkling train gpu --depth=4 --out_dir=" in out


def test_what_is_said_of_a_fit():
    said = "\n".join(sentences(fit_scaling([budget(c) for c in BUDGETS])))
    assert "N_opt ∝ C^0.46 (95 %: 0.46 to 0.46)" in said and "D_opt ∝ C^0.54" in said
    assert "6 spare" in said and "one point more than a line needs" in said
    two = "\n".join(sentences(fit_scaling([budget(c) for c in BUDGETS[:2]])))
    assert "Two budgets always lie on a line" in two
    edge = "\n".join(sentences(fit_scaling([budget(1e12, shares=(2, 3, 4)), budget(3e12, shares=(0.1, 0.2, 0.4))])))
    assert "add smaller --depths" in edge and "add larger --depths" in edge and "Only 0 of 2" in edge
    hill = "\n".join(sentences(fit_scaling([budget(1e12, steep=-1), budget(3e12)])))
    assert "no valley" in hill
    bare = fit_scaling([budget(c, shares=(0.3, 1, 3)) for c in BUDGETS])
    assert law_words(bare.size) == "0.46 (no interval)"


def test_numbers():
    assert numbers("4,2,4", "depths") == [2, 4]
    assert numbers("1e12, 3e11", "budgets", whole=False) == [3e11, 1e12]
    for text, whole in (("", True), ("2,x", True), ("0,1", True), ("1.5", True), ("inf", False), ("nan", False)):
        with pytest.raises(UserError, match="does not take"):
            numbers(text, "depths", whole)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("miniseries", "a", "b"), "one RECIPE at most"),
        (("scaling", "--depths=1,2"), "no parabola"),
        (("scaling", "--max_iters=3"), "--max_iters is what a sweep sets itself"),
        (("miniseries", "--width_per_layer=3"), "must be even"),
        (("miniseries", "--gpus=0"), "at least 1"),
        (("miniseries", "--name=../x"), "no name"),
        (("miniseries", "nowhere"), "no recipe"),
        (("scaling", "--dephts=1"), "Did you mean --depths?"),
    ],
)
def test_it_speaks_to_the_person(tiny, inkling, words, said):
    status, _, err = inkling(*words)
    assert status in (1, 2) and said in err and "Traceback" not in err
