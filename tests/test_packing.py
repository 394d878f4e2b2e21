"""Packing: every token once or counted as cropped, plans that depend on lengths and seed alone, equal losses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import SHARED, flags
from inkling.data.mixture import open_mixture
from inkling.data.packing import cut_to_rows, load_plan, make_plan, packed_batch, row_numbers, save_plan
from inkling.data.shards import DatasetWriter
from inkling.ids import IGNORE
from inkling.model.config import PRESETS, GPTConfig
from inkling.model.gpt import GPT
from inkling.text.tokenizer import BPETokenizer
from inkling.text.tokenizer_sources import byte_tokenizer
from inkling.train.progress import read_metrics

T = 12


def starts_of(lengths):
    return np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=60).filter(any), st.integers(1, 20), st.integers(0, 5))
def test_no_token_is_lost_or_seen_twice(lengths, row_length, seed):
    n = sum(lengths)
    for mode in ("pad", "crop"):
        plan = make_plan(starts_of(lengths), n, row_length, mode, seed)
        seen = np.zeros(n, dtype=int)
        for row in range(len(plan)):
            spans = list(plan.spans(row))
            assert spans and all(length > 0 for _, length in spans)
            filled = sum(length for _, length in spans)
            assert filled <= row_length
            for start, length in spans:
                seen[start : start + length] += 1
        assert seen.max() <= 1
        assert plan.shares.cropped == (seen == 0).sum()
        assert plan.shares.padded == len(plan) * row_length - seen.sum()
        if mode == "pad":
            assert plan.shares.cropped == 0
            # Two rows less than half full would have gone into one.
            assert (plan.shares.padded < row_length) or plan.shares.padded * 2 <= len(plan) * row_length + row_length
        else:
            assert plan.shares.padded < row_length, "only the last row may be short"
        again = make_plan(starts_of(lengths), n, row_length, mode, seed)
        assert np.array_equal(plan.starts, again.starts) and np.array_equal(plan.first, again.first)


def test_pieces_of_long_documents_by_hand():
    starts, lengths = cut_to_rows(np.array([0, 5, 5, 30]), 33, 12)
    assert list(zip(starts.tolist(), lengths.tolist(), strict=True)) == [(0, 5), (5, 12), (17, 12), (29, 1), (30, 3)]


def test_best_fit_by_hand():
    # With everything at hand: 10 is the longest that fits 12, then 2 fits exactly; then 7, then 5; then 4 and 3.
    plan = make_plan(starts_of([4, 10, 7, 3, 2, 5]), 31, 12, "pad", seed=0)
    rows = [[length for _, length in plan.spans(row)] for row in range(len(plan))]
    assert rows == [[10, 2], [7, 5], [4, 3]]
    cropped = make_plan(starts_of([4, 10, 7, 3, 2, 5]), 31, 11, "crop", seed=0)
    rows = [[length for _, length in cropped.spans(row)] for row in range(len(cropped))]
    assert rows == [[10, 1], [7, 4], [5, 3]], "2 is cut to 1, the shortest at hand"
    assert cropped.shares.cropped == 1


def test_every_row_once_an_epoch_in_an_order_of_its_own():
    first, second = (row_numbers(50, 3, np.arange(e * 50, e * 50 + 50), "train") for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(50))
    assert first.tolist() != second.tolist()
    assert [int(row_numbers(50, 3, np.array([r]), "train")[0]) for r in range(50)] == first.tolist()


def test_plans_are_kept_and_damage_is_noticed(tmp_path):
    plan = make_plan(starts_of([4, 10, 7]), 21, 12, "pad", seed=0)
    assert load_plan(tmp_path, "k") is None
    save_plan(tmp_path, "k", plan)
    kept = load_plan(tmp_path, "k")
    assert kept.shares == plan.shares
    assert all(list(kept.spans(i)) == list(plan.spans(i)) for i in range(len(plan)))
    file = tmp_path / "packing" / "k.bin"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    assert load_plan(tmp_path, "k") is None


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("window", [0, 3])
def test_packed_and_padded_losses_are_equal(preset, window):
    """Packed rows whose documents do not see each other give each token the loss it has alone in a row."""
    switches = {"vocab_size": 61, "n_layer": 3, "n_head": 2, "n_embd": 32, "block_size": T, "window": window}
    extra = {"value_embeddings": True} if preset == "nanochat" else {}
    model = GPT(GPTConfig(**{**PRESETS[preset], **switches, **extra}), seed=3).double()
    model.compute_dtype = torch.float64
    with torch.no_grad():
        for parameter in model.parameters():  # nanochat's residual projections start at zero
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7)))
    lengths = [5, 3, 9, 2, 30, 1, 12, 4]
    tokens = np.random.default_rng(1).integers(0, 61, sum(lengths)).astype(np.uint16)
    plan = make_plan(starts_of(lengths), len(tokens), T, "pad", seed=0)
    packed = packed_batch(tokens, plan, T, seed=0, first_row=0, rows=len(plan))
    alone = []
    for start, length in (span for row in range(len(plan)) for span in plan.spans(row)):
        text = tokens[start : start + length + 1].astype(np.int64)
        ids, targets = np.zeros((2, T), dtype=np.int64)
        targets[:] = IGNORE
        ids[:length], targets[: len(text) - 1] = text[:length], text[1 : length + 1]
        alone.append((torch.from_numpy(ids), torch.from_numpy(targets)))
    padded = tuple(torch.stack(part) for part in zip(*alone, strict=True))
    results = []
    for batch in (packed, padded):
        model.zero_grad()
        nats, count = model(*batch)
        nats.backward()
        results.append((nats, count, [p.grad for p in model.parameters()]))
    (nats, count, grads), (nats_alone, count_alone, grads_alone) = results
    assert count == count_alone == sum(lengths) - 1, "what follows the last token is not known"
    torch.testing.assert_close(nats, nats_alone, atol=1e-9, rtol=1e-12)
    for one, other in zip(grads, grads_alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)
    assert not torch.isclose(model(*packed[:2])[0], nats), "without the mask they do see each other"


def test_the_mask_is_the_same_by_hand_and_fused():
    config = GPTConfig(vocab_size=61, n_layer=2, n_head=2, n_embd=32, block_size=T)
    tokens = np.random.default_rng(1).integers(0, 61, 40).astype(np.uint16)
    plan = make_plan(starts_of([5, 3, 9, 2, 21]), 40, T, "pad", seed=0)
    batch = packed_batch(tokens, plan, T, seed=0, first_row=0, rows=4)
    one, other = (GPT(replace(config, attention=kind), seed=1)(*batch)[0] for kind in ("sdpa", "by_hand"))
    torch.testing.assert_close(one, other)


@pytest.fixture
def documents(tiny):
    """A data set whose documents have an end-of-text mark."""
    described = json.loads(byte_tokenizer().to_json())
    special = {"content": "<|endoftext|>", "id": 256, "special": True}
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    described["added_tokens"] = [special | plain]
    tokenizer = BPETokenizer(json.dumps(described))
    with DatasetWriter(Path("data/docs"), tokenizer, "test") as writer:
        for i in range(60):
            writer.train.add([f"document {i} " * (1 + i % 5)])
        writer.val.add(["for validation " * 20])
    return tiny


def test_training_on_packed_rows_resumes_exactly(documents, inkling):
    extra = flags({"dataset": "docs", "packing": "pad", "document_mask": True})
    status, out, err = inkling("train", "tiny.toml", "--out_dir=runs/whole", *extra)
    assert status == 0, err
    assert "% of the tokens cropped" in out and "% of the places padded" in out
    assert len(list(Path("data/docs/packing").glob("*.bin"))) == 1
    assert inkling("train", "tiny.toml", "--out_dir=runs/cut", *extra, "--max_iters=5", "--lr_decay_iters=12")[0] == 0
    assert inkling("train", "--resume", "--out_dir=runs/cut", "--max_iters=12")[0] == 0
    whole, cut = (read_metrics(Path(f"runs/{name}/metrics.jsonl")) for name in ("whole", "cut"))
    assert [row["loss"] for row in whole] == [row["loss"] for row in cut]


def test_ends_of_texts_are_taught_and_what_follows_them_is_not(documents):
    data = open_mixture("docs").packed(16, "pad", document_mask=True, seed=1, keep=False)
    ids, targets, numbers = data.batch(16, 1, first_row=0, rows=40)
    assert (targets == 256).any(), "the end itself is a target"
    assert (targets[ids == 256] == IGNORE).all()
    assert (targets[numbers == -1] == IGNORE).all()


def test_batches_without_a_mask_have_two_parts(documents):
    data = open_mixture("docs").packed(16, "crop", document_mask=False, seed=1, keep=False)
    assert len(data.batch(16, 1, 0, 4)) == 2


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"packing": "pad"}, "nothing between its documents"),
        ({"document_mask": True}, "--packing=pad"),
        ({"packing": "tight"}, "one of stream, crop, pad"),
    ],
)
def test_what_cannot_be_packed(tiny, inkling, extra, says):
    status, _, err = inkling("train", "tiny.toml", *flags(extra))
    assert status in (1, 2) and says in err


@pytest.mark.skipif(not SHARED.exists(), reason="needs the GPT-2 vocabulary in ../shared/data")
def test_with_gpt2s_tokens(tiny, inkling):
    Path("many.jsonl").write_text("".join(json.dumps({"text": f"Text {i}. " * (i % 9 + 1)}) + "\n" for i in range(200)))
    assert inkling("prepare", "many", "--input=many.jsonl", f"--tokenizer={SHARED / 'gpt2'}")[0] == 0
    extra = flags({"dataset": "many", "packing": "crop", "document_mask": True, "max_iters": 2})
    assert inkling("train", "tiny.toml", "--out_dir=runs/many", *extra)[0] == 0
