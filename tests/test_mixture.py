"""Mixtures of data sets: exact shares, pure functions of the row, and one data set as before."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import TEXT, flags
from inkling.data.batches import get_batch
from inkling.data.mixture import CYCLE, assign, open_mixture, parse_mixture
from inkling.errors import UserError
from inkling.stages import prepare
from inkling.train.progress import read_metrics


@pytest.fixture
def two(tiny):
    """Beside `tiny`, a data set `loud` of the same tokenizer."""
    Path("loud.txt").write_text(TEXT.upper() * 2, encoding="utf-8")
    prepare.main("loud", prepare.PrepareSettings(input="loud.txt", tokenizer="byte"))
    return tiny


shares = st.lists(st.floats(0.02, 1), min_size=1, max_size=6)


@given(shares, st.integers(0, 10**9), st.integers(1, 200))
def test_rows_are_shared_out_exactly_and_evenly(weights, first, count):
    weights = tuple(w / sum(weights) for w in weights)
    rows = np.arange(first, first + count)
    sources, numbers = assign(rows, weights)
    for source, weight in enumerate(weights):
        own = numbers[sources == source]
        assert np.array_equal(own, np.arange(own[0], own[0] + len(own))) if len(own) else True, (
            "no row twice, none left"
        )
        # Within any stretch of rows, a data set is never more than two rows off its share.
        assert abs(len(own) - weight * count) < 2 + count / CYCLE
    alone = [assign(np.array([row]), weights) for row in rows[:5]]
    assert [int(s[0]) for s, _ in alone] == sources[:5].tolist()


@pytest.mark.parametrize(
    ("text", "names", "weights"),
    [
        ("a", ["a"], [1.0]),
        ("a:0.7,b:0.3", ["a", "b"], [0.7, 0.3]),
        ("a:3, b:1", ["a", "b"], [0.75, 0.25]),
        ("a,b", ["a", "b"], [0.5, 0.5]),
        (r"C:\texts\a:1,data/b:1e0", [r"C:\texts\a", "data/b"], [0.5, 0.5]),
        (r"C:\texts", [r"C:\texts"], [1.0]),
    ],
)
def test_what_a_mixture_may_look_like(text, names, weights):
    found, shares = parse_mixture(text)
    assert found == names
    assert shares == pytest.approx(weights)


@pytest.mark.parametrize(
    "text", ["a:0,b:1", "a:-1,b:1", "a:1,a:2", "a,,b", "a:1,b:1e-9", ":0.5", "a:1e999,b", "a:nan,b:-"]
)
def test_what_it_may_not(text):
    with pytest.raises(UserError):
        parse_mixture(text)


def test_a_batch_holds_both_and_depends_on_its_rows_only(two):
    data = open_mixture("tiny:3,loud:1")
    ids, targets = data.batch(16, 1, first_row=40, rows=8)
    assert torch.equal(ids[:, 1:], targets[:, :-1])
    is_loud = [bytes(row.tolist()).isupper() for row in ids]
    assert Counter(is_loud)[True] == 2
    again = [data.batch(16, 1, first_row=40 + i, rows=1)[0] for i in range(8)]
    assert torch.equal(torch.cat(again), ids)


def test_one_data_set_is_what_it_was(tiny):
    data = open_mixture("tiny")
    expected = get_batch(data.parts[0].train, 16, 7, 3, 4, "estimate")
    assert all(torch.equal(a, b) for a, b in zip(data.batch(16, 7, 3, 4, "estimate"), expected, strict=True))


def test_training_on_a_mixture_weights_the_validation_losses(two, inkling):
    extra = flags({"dataset": "tiny:3,loud:1", "max_iters": 6, "eval_interval": 3})
    assert inkling("train", "tiny.toml", "--out_dir=runs/mixed", *extra)[0] == 0
    last = read_metrics(Path("runs/mixed/metrics.jsonl"))[-1]
    assert last["val_loss"] == pytest.approx(0.75 * last["val_loss/tiny"] + 0.25 * last["val_loss/loud"])
    assert last["val_loss/tiny"] != last["val_loss/loud"]
    status, out, _ = inkling("train", "--resume", "--out_dir=runs/mixed", "--max_iters=8")
    assert status == 0, out


def test_data_sets_that_cannot_be_mixed(two, inkling):
    prepare.main("other_char", prepare.PrepareSettings(input="text.txt", tokenizer="char"))
    status, _, err = inkling("train", "tiny.toml", "--dataset=tiny,other_char")
    assert status == 1 and "different tokenizers" in err
    status, _, err = inkling("train", "tiny.toml", "--dataset=tiny:0.5,nowhere:0.5")
    assert status == 1 and "nowhere" in err
