"""bench: it measures what it says, on any recipe or run, and its last line is JSON."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import flags
from inkling.peak import measure_peak, published_peak
from inkling.stages import bench

SMALL = {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 16, "batch_size": 2, "device": "cpu", "threads": 1}
QUICK = {"steps": 3, "new_tokens": 4, "context": 8, "compile": False, "dtype": "float32"}


@pytest.fixture(autouse=True)
def quick_peak(monkeypatch):
    """A peak in milliseconds: the real one takes seconds."""
    monkeypatch.setattr(bench, "measure_peak", lambda device, dtype: measure_peak(device, dtype, (64,), 0.0))


def run(inkling, *words: str) -> tuple[dict, str]:
    status, out, err = inkling("bench", *flags(SMALL | QUICK), *words)
    assert status == 0, err
    return json.loads(out.splitlines()[-1]), out


def test_both_measurements_with_json_last(tmp_path, monkeypatch, inkling):
    monkeypatch.chdir(tmp_path)
    found, out = run(inkling, "shakespeare_char", "--rows=3", "--twin_tokens=2")
    train, decode = found["train"], found["decode"]
    assert train["tokens_per_step"] == 32 and train["count"] == 3
    assert train["tokens_per_second"] == pytest.approx(32 / train["median_seconds"])
    assert train["share_of_peak"] == pytest.approx(train["flops_per_second"] / found["peak_flops"])
    assert train["share_of_published_peak"] is None and "n/a of the published" in out, "never a guess"
    assert decode["count"] == 3 and decode["rows"] == 3 and decode["context"] == 8
    assert decode["twin"]["times_slower"] == pytest.approx(
        decode["tokens_per_second"] * decode["twin"]["median_seconds"], rel=1e-6
    )
    assert found["model"]["vocab_size"] == 65
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_a_run_is_measured_with_its_own_shape(tiny, inkling):
    assert inkling("train", "tiny.toml", "--out_dir=runs/tiny", "--max_iters=1")[0] == 0
    status, out, err = inkling("bench", "runs/tiny", "--what=train", "--steps=1")
    assert status == 0, err
    found = json.loads(out.splitlines()[-1])
    assert found["model"]["vocab_size"] == 256 and found["train"]["tokens_per_step"] == 4 * 16
    assert "decode" not in found


def test_accumulation_is_part_of_the_step_when_asked_for(tmp_path, monkeypatch, inkling):
    monkeypatch.chdir(tmp_path)
    assert run(inkling, "gpt2_124m", "--what=train")[0]["train"]["tokens_per_step"] == 2 * 16
    asked = run(inkling, "gpt2_124m", "--what=train", "--gradient_accumulation_steps=4")[0]
    assert asked["train"]["tokens_per_step"] == 4 * 2 * 16


def test_traces_that_a_browser_opens(tmp_path, monkeypatch, inkling):
    monkeypatch.chdir(tmp_path)
    _, out = run(inkling, "shakespeare_char", "--profile=traces")
    for what in ("train", "decode"):
        events = json.loads(Path(f"traces/{what}.json").read_text(encoding="utf-8"))["traceEvents"]
        names = {event.get("name") for event in events}
        assert "aten::linear" in names or "aten::addmm" in names or "aten::mm" in names
        assert f"traces/{what}.json" in out.replace("\\", "/")


def test_a_context_longer_than_the_model_is_shortened(tmp_path, monkeypatch, inkling):
    monkeypatch.chdir(tmp_path)
    found, _ = run(inkling, "shakespeare_char", "--what=decode", "--context=999")
    assert found["decode"]["context"] == 12
    found, _ = run(inkling, "shakespeare_char", "--what=decode", "--block_size=1")
    assert found["decode"]["context"] == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "no recipe 'nowhere'"),
        (["a", "b"], "one RECIPE or RUN"),
        (["demo", "--steps=0"], "steps=0"),
        (["demo", "--new_tokens=1"], "new_tokens=1"),
        (["demo", "--rows=0"], "rows=0"),
        (["demo", "--what=all"], "one of both, train, decode"),
        (["demo", "--step=3"], "--steps"),
    ],
)
def test_mistakes(words, says, inkling):
    status, _, err = inkling("bench", *words)
    assert status == 2 and says in err


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10G", 70),
        ("NVIDIA A10", 125),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("NVIDIA GeForce RTX 4090", 165),
        ("Tesla T4", 65),
        ("NVIDIA GeForce GT 710", None),
        ("NVIDIA A1000", None),
        ("NVIDIA L400", None),
    ],
)
def test_published_peaks_are_found_by_whole_words(name, tera):
    assert published_peak(name, "bfloat16") == (tera and tera * 1e12)
    assert published_peak(name, "float32") is None


def test_the_measured_peak_is_the_best_of_three_products(monkeypatch):
    """By a clock that says when each product began and ended: 5, 2 and 3 seconds."""
    said = iter([0, 0, 5, 5, 7, 7, 10, 10])
    monkeypatch.setattr("inkling.peak.time", SimpleNamespace(perf_counter=said.__next__))
    assert measure_peak("cpu", "float32", (8,), 0.0) == 2 * 8**3 / 2
