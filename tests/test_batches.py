"""Batches are a pure function of (data, seed, row), and an epoch is every window once."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inkling.data.batches import (
    DataSettings,
    check_length,
    eval_windows,
    get_batch,
    plan_batches,
    shuffled,
    window_starts,
)
from inkling.errors import UserError
from inkling.keyed import uniform, words


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**63))
def test_shuffled_is_a_permutation(size, seed):
    order = shuffled(np.arange(size), size, words(4, "test", seed))
    assert sorted(order) == list(range(size))


def test_shuffled_works_at_the_size_of_a_real_corpus():
    size = 50_000_000
    some = np.random.default_rng(0).integers(0, size, 10_000)
    sent = shuffled(some, size, words(4, "test", 1))
    assert sent.min() >= 0 and sent.max() < size and len(set(sent)) == len(set(some))
    assert abs(np.corrcoef(some, sent)[0, 1]) < 0.05


def test_keyed_words_never_change():
    """These numbers are in every run's history: a change here would break every resume."""
    assert words(2, "order", 1337, 0).tolist() == [7639340877957811525, 7436857845027793535]
    assert 0 <= uniform("draw", 1, 2) < 1
    assert uniform("draw", 1, 2) != uniform("draw", 12, "") != uniform("draw", "1", 2)


@given(n=st.integers(2, 2000), block=st.integers(1, 64), seed=st.integers(0, 99))
def test_an_epoch_visits_every_window_once(n, block, seed):
    if n < block + 1:
        return
    fit = (n - 1) // block
    per_epoch = max(1, fit - 1)
    for epoch in (0, 1):
        starts = window_starts(n, block, seed, np.arange(epoch * per_epoch, (epoch + 1) * per_epoch))
        assert starts.min() >= 0 and starts.max() + block + 1 <= n
        assert len(set(starts)) == per_epoch
        assert len({start % block for start in starts}) == 1  # they do not overlap


def test_epochs_cut_and_order_anew():
    n, block = 10_001, 10
    first = window_starts(n, block, 1, np.arange(999))
    second = window_starts(n, block, 1, np.arange(999, 1998))
    assert first[0] % block != second[0] % block or list(first) != list(second)
    assert list(first) != sorted(first)
    assert list(window_starts(n, block, 2, np.arange(999))) != list(first)


def test_batch_is_pure_and_targets_are_the_next_tokens():
    tokens = np.arange(1000, dtype=np.uint16)
    ids, targets = get_batch(tokens, 8, seed=3, first_row=120, rows=5)
    again, _ = get_batch(tokens, 8, seed=3, first_row=120, rows=5)
    assert ids.shape == targets.shape == (5, 8) and ids.dtype == torch.int64
    assert torch.equal(ids, again) and torch.equal(targets, ids + 1)
    other, _ = get_batch(tokens, 8, seed=3, first_row=120, rows=5, stream="estimate")
    assert not torch.equal(ids, other)


@pytest.mark.parametrize(
    ("world", "batch", "accumulation"), [(1, 8, 1), (1, 4, 2), (1, 1, 8), (2, 4, 2), (2, 1, 8), (8, 1, 8)]
)
def test_ranks_and_splits_see_the_same_rows(world, batch, accumulation):
    settings = DataSettings(batch_size=batch, gradient_accumulation_steps=accumulation)
    rows = []
    for rank in range(world):
        plan = plan_batches(settings, 16, rank, world)
        assert plan.rows_per_step == 8 and plan.tokens_per_step == 128
        for micro in range(plan.micro_steps):
            first = plan.first_row(5, micro)
            rows += range(first, first + batch)
    assert sorted(rows) == list(range(40, 48))


def test_tokens_per_step_derives_accumulation():
    assert plan_batches(DataSettings(batch_size=4, tokens_per_step=256), 16).micro_steps == 4


@pytest.mark.parametrize(
    ("settings", "world", "says"),
    [
        (DataSettings(batch_size=4, tokens_per_step=100), 1, "not a multiple"),
        (DataSettings(batch_size=4, tokens_per_step=128, gradient_accumulation_steps=3), 1, "Give one of them"),
        (DataSettings(batch_size=4, gradient_accumulation_steps=3), 2, "cannot be shared by 2"),
        (DataSettings(batch_size=0), 1, "at least 1"),
    ],
)
def test_impossible_plans_are_refused(settings, world, says):
    with pytest.raises(UserError, match=says):
        plan_batches(settings, 16, 0, world)


def test_data_shorter_than_a_window_is_refused():
    with pytest.raises(UserError, match="--block_size=9 or less"):
        check_length(np.arange(10), 10, "train.bin")
    check_length(np.arange(11), 10, "train.bin")


@given(n=st.integers(2, 500), block=st.integers(1, 70), limit=st.integers(2, 600))
def test_evaluation_predicts_every_token_once(n, block, limit):
    predicted = [start + 1 + i for start, length in eval_windows(np.zeros(n), block, limit) for i in range(length)]
    assert predicted == list(range(1, min(n, limit)))
