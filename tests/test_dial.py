"""The depth dial: what follows from one number, and that it fills only what nobody set."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkling.model.config import PRESETS, GPTConfig
from inkling.model.cost import flops_per_token, parameters_by_part
from inkling.settings import flatten
from inkling.stages.train_settings import compose
from inkling.train.dial import DialSettings, turn
from inkling.train.runfolder import read_resolved

MODEL = GPTConfig(**PRESETS["nanochat"], vocab_size=32768, block_size=1024)


def values(depth: int, at_once: int = 8192, given: dict | None = None, **dial) -> dict:
    return {key: t.value for key, t in turn(DialSettings(depth, **dial), MODEL, at_once, given or {}).items()}


def test_the_reference_point_by_hand():
    found = values(12)
    assert (found["n_layer"], found["n_embd"], found["n_head"]) == (12, 768, 6)
    assert (found["embedding_lr"], found["head_lr"], found["matrix_lr"]) == (0.2, 0.004, 0.02)
    counted = 12 * 12 * 768**2 + 32768 * 768
    assert found["max_iters"] * found["tokens_per_step"] == pytest.approx(20 * counted, rel=0.01)
    assert found["tokens_per_step"] == pytest.approx(2**19 * (20 * counted / (20 * 123.5e6)) ** 0.383, rel=0.01)


@given(st.integers(1, 40), st.sampled_from([512, 8192, 65536]))
def test_every_depth_gives_a_model_that_can_be_built(depth, at_once):
    found = values(depth, at_once)
    replace(MODEL, **{key: found[key] for key in ("n_layer", "n_embd", "n_head")}).filled()
    assert found["tokens_per_step"] % at_once == 0 and found["max_iters"] >= 1
    wider = values(depth + 1, at_once)
    assert wider["n_embd"] >= found["n_embd"] and wider["embedding_lr"] <= found["embedding_lr"]


def test_iterations_before_flops_before_the_ratio():
    by_ratio, by_flops = values(4), values(4, target_flops=1e16)
    parts = parameters_by_part(replace(MODEL, n_layer=4, n_embd=256, n_head=4))
    assert by_ratio["max_iters"] * by_ratio["tokens_per_step"] == pytest.approx(
        20 * (parts["attention"] + parts["mlp"] + parts["head"]), rel=0.01
    )
    spent = flops_per_token(replace(MODEL, n_layer=4, n_embd=256, n_head=4))
    assert by_flops["max_iters"] * by_flops["tokens_per_step"] * spent == pytest.approx(1e16, rel=0.01)
    assert "max_iters" not in values(4, given={"max_iters": 7}, target_flops=1e16)
    assert values(4, tokens_per_parameter=5.0)["max_iters"] < by_ratio["max_iters"] * 2


def test_what_is_given_stands_and_the_rest_follows_from_it():
    found = values(12, given={"n_embd": 192, "n_layer": 12, "matrix_lr": 0.01})
    assert not {"n_embd", "n_layer", "matrix_lr"} & found.keys()
    assert found["embedding_lr"] == 0.4, "by the width that is given"


def test_from_the_command_line_with_its_reasons(tiny, inkling):
    Path("dial.toml").write_text(
        'dataset = "tiny"\npreset = "nanochat"\noptimizer = "muon"\nblock_size = 16\nbatch_size = 4\nmax_iters = 2\n'
        "threads = 1\n",
        encoding="utf-8",
    )
    words = ["dial.toml", "--depth=1", "--n_embd=32", "--tokens_per_step=64", "--eval_interval=9"]
    status, out, err = inkling("train", *words)
    assert status == 0, err
    assert "the dial at depth 1" in out and "0.2 · (n_embd / 768)^-½" in out
    stored, origins = read_resolved(Path("runs/dial"))
    assert (stored["n_layer"], stored["n_embd"], stored["n_head"]) == (1, 32, 1)
    assert (
        origins["n_layer"] == "dial: the depth"
        and origins["n_embd"] == "flag"
        and origins["max_iters"] == "recipe dial.toml"
    )
    assert inkling("train", "--resume", "--out_dir=runs/dial", "--max_iters=3")[0] == 0


def test_without_a_depth_nothing_is_filled():
    flat = flatten(compose(["demo"], {})[0])
    assert flat["depth"] is None and flat["n_layer"] == 2


@pytest.mark.parametrize("words", [["--depth=0"], ["--target_flops=1e9"], ["--depth=2", "--tokens_per_parameter=0"]])
def test_dials_that_cannot_be_turned(words, inkling):
    assert inkling("train", "demo", *words)[0] == 2
