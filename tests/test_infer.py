"""The engine against the uncached model, sampling against sums done by hand, text against its bytes."""

import itertools
import math
import sys
import types
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inkling.errors import UserError
from inkling.infer.batch import Batch
from inkling.infer.cache import KVCache
from inkling.infer.engine import Engine, Request, generate, sample_seed
from inkling.infer.reading import alike
from inkling.infer.sampling import (
    SamplingSettings,
    check_sampling,
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    shortlist,
    weights,
)
from inkling.infer.textstream import TextStream
from inkling.keyed import uniform
from inkling.model.config import PRESETS, GPTConfig
from inkling.model.gpt import GPT, fit_context
from inkling.runtime import RuntimeSettings
from inkling.stages import sample
from inkling.text.tokenizer import ByteTokenizer, CharTokenizer

TINY = GPTConfig(block_size=32, vocab_size=61, n_layer=3, n_head=4, n_embd=32)
PLAIN = SamplingSettings(temperature=1.0, top_k=0)
GREEDY = SamplingSettings(temperature=0.0)
ONE_THREAD = RuntimeSettings(device="cpu", dtype="float32", threads=1)

VARIANTS = {
    "gpt2": PRESETS["gpt2"],
    "nanochat": PRESETS["nanochat"],
    "windows": PRESETS["qwen3"] | {"window": 5, "window_pattern": "SL", "n_kv_head": 2},
    "value embeddings": {"value_embeddings": True, "residual_scalars": True, "n_kv_head": 1},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Models as small as these wait longer for a second thread than it helps them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_model(variant="gpt2", **choices):
    model = GPT(replace(TINY, **VARIANTS[variant], **choices), seed=1).eval()
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():  # so that nothing is zero and the logits are far apart
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def random_prompt(length, seed=0):
    return torch.randint(61, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


class Recording(Batch):
    """A batch that keeps the logits from which each token of each request was drawn."""

    def __init__(self, model, requests, **options):
        super().__init__(model, **options)
        self.largest = 0
        self.members = [self.add(request) for request in requests]
        self.logits = {row: [] for row in self.members}

    def _logits(self, ready):
        logits = super()._logits(ready)
        self.largest = max(self.largest, len(self.rows))
        for i, row_logits in zip(ready, logits, strict=True):
            self.logits[self.rows[i]].append(row_logits)
        return logits

    def run(self):
        """The new ids of each request, and the logits they were drawn from."""
        while self.is_busy:
            for _ in self.step():
                pass
        return [row.new for row in self.members], [self.logits[row] for row in self.members]


# --- cached = uncached -----------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_cached_logits_equal_uncached_across_the_end_of_the_context(variant):
    model = make_model(variant)
    request = Request([7], 300, SamplingSettings(temperature=10.0, top_k=0))  # so hot that tokens are random
    [new], [all_logits] = Recording(model, [request]).run()
    assert len(new) == 300
    assert len(set(new)) > 50
    window = [7]
    for token, logits in zip(new, all_logits, strict=True):
        window = fit_context(window, 32)
        with torch.no_grad():
            torch.testing.assert_close(logits, model(torch.tensor([window]))[0, -1], atol=1e-4, rtol=0)
        window.append(token)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("length", [1, 32, 33, 100])
def test_greedy_engine_equals_greedy_twin(variant, length):
    model, prompt = make_model(variant), random_prompt(length)
    expected = model.generate(prompt, 60, temperature=0)
    assert Engine(model).generate([Request(prompt, 60, GREEDY)]) == [expected]


def test_a_context_of_one_token():
    model = make_model(block_size=1)
    expected = model.generate([3, 4], 10, temperature=0)
    assert Engine(model).generate([Request([3, 4], 10, GREEDY)]) == [expected]


def test_float64_cache():
    model = make_model().double()
    model.compute_dtype = torch.float64
    cache = KVCache(model.config, 1, "cpu", torch.float64)
    ids = torch.tensor([random_prompt(20)])
    with torch.no_grad():
        pieces = [model.head(model.hidden(part, cache)) for part in ids.split([7, 1, 1, 11], dim=1)]
        torch.testing.assert_close(torch.cat(pieces, 1), model(ids), atol=1e-12, rtol=1e-12)


def test_cache_rows_are_copied_and_reset():
    model = make_model()
    cache = KVCache(model.config, 3, "cpu", torch.float32, size=16)
    prompt = torch.tensor([random_prompt(6)])
    with torch.no_grad():
        model.hidden(prompt, cache.rows(1, 2))
        assert cache.lengths.tolist() == [0, 6, 0]
        cache.copy(1, 2)
        cache.copy(1, 0)
        cache.reset(1)
        assert cache.lengths.tolist() == [6, 0, 6]
        x = model.hidden(torch.tensor([[9], [9], [9]]), cache)
        expected = model.hidden(torch.cat([prompt, torch.tensor([[9]])], 1))[:, -1]
        alone = model.hidden(torch.tensor([[9]]))[:, -1]
    torch.testing.assert_close(x[:, -1], torch.cat([expected, alone, expected]), atol=1e-5, rtol=1e-5)


# --- one batch of many -----------------------------------------------------------------------------------


def mixed_requests():
    """Prompts and ends of all kinds, settings of three kinds, and one that asks for nothing."""
    kinds = [PLAIN, GREEDY, SamplingSettings(0.7, 5, 0.9, 0.02, 1.2)]
    lengths = [1, 5, 31, 32, 50, 5, 2, 17, 40]
    requests = [
        Request(random_prompt(length, seed=i), 8 * i + 1, kinds[i % 3], seed=i) for i, length in enumerate(lengths)
    ]
    return [*requests, Request([1], 0)]


@pytest.mark.parametrize(("variant", "max_rows"), [*((name, 64) for name in VARIANTS), ("gpt2", 3)])
def test_a_batch_equals_each_request_alone(variant, max_rows):
    model, requests = make_model(variant), mixed_requests()
    together = Recording(model, requests, max_rows=max_rows)
    results, logits = together.run()
    assert together.largest == min(max_rows, 9)
    assert [len(new) for new in results] == [8 * i + 1 for i in range(9)] + [0]
    for i, request in enumerate(requests[:-1]):
        [new], [alone] = Recording(model, [request]).run()
        assert new == results[i]
        torch.testing.assert_close(torch.stack(logits[i]), torch.stack(alone), atol=1e-4, rtol=0)


def test_a_prompt_is_computed_once_for_many_samples():
    model = make_model()
    read = []
    hidden = model.hidden
    model.hidden = lambda ids, cache=None: read.append(tuple(ids.shape)) or hidden(ids, cache)
    prompt = random_prompt(20)
    Engine(model).generate([Request(prompt, 2, PLAIN, seed=i) for i in range(5)])
    assert read == [(1, 19), (6, 1), (6, 1)]  # six is a batch's fixed size


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("max_rows", [7, 64])
def test_prompts_of_many_lengths_are_read_together(variant, max_rows):
    model = make_model(variant)
    prompts = [random_prompt(1 + (7 * i) % 40, seed=i) for i in range(24)]
    requests = [Request(prompt, 3 + i % 5, GREEDY) for i, prompt in enumerate(prompts)]
    read = []
    hidden = model.hidden
    model.hidden = lambda ids, cache=None: read.append(tuple(ids.shape)) or hidden(ids, cache)
    results = Engine(model, max_rows=max_rows).generate(requests)
    assert any(rows > 1 and length > 1 for rows, length in read), "several prompts in one pass"
    model.hidden = hidden
    for request, new in zip(requests, results, strict=True):
        assert new == Engine(model).generate([request])[0]
        assert new == model.generate(request.ids, request.max_new_tokens, temperature=0)


def test_groups_that_are_read_together_are_alike_and_not_too_large():
    texts = [(0,) * length for length in [1, 1, 2, 9, 10, 12, 13, 30, *[1000] * 5]]
    groups = list(alike(texts))
    assert [len(text) for group in groups for text in group] == sorted(map(len, texts))
    assert [len(group) for group in groups] == [2, 1, 3, 1, 1, 2, 2, 1]
    assert list(alike([])) == []


def test_samples_of_one_prompt_differ_from_the_first_token_on():
    model = GPT(TINY, seed=1).eval()  # fresh weights: nearly uniform
    requests = [Request([5], 8, PLAIN, seed=sample_seed(1337, i)) for i in range(40)]
    results = Engine(model).generate(requests)
    assert len({new[0] for new in results}) > 20
    assert len({tuple(new) for new in results}) == 40
    assert Engine(model).generate(requests) == results
    other = [replace(request, seed=sample_seed(1338, i)) for i, request in enumerate(requests)]
    assert Engine(model).generate(other) != results


def test_a_text_taken_up_again_goes_on_as_it_would_have():
    model, prompt = make_model(), random_prompt(4)
    whole = Engine(model).generate([Request(prompt, 20, PLAIN, seed=9)])[0]
    rest = Engine(model).generate([Request(prompt + whole[:8], 12, PLAIN, seed=9)])[0]
    assert whole[8:] == rest


def test_stream_hands_out_each_token_of_each_step():
    model = make_model()
    requests = [Request([1], 2, GREEDY), Request([2], 3, GREEDY)]
    assert [index for index, _ in Engine(model).stream(requests)] == [0, 1, 0, 1, 1]
    assert Engine(model).generate([]) == []


# --- hooks -----------------------------------------------------------------------------------------------


def test_hook_stops():
    model = make_model()
    free = Engine(model).generate([Request([5], 20, PLAIN)])[0]
    seen = []

    def hook(new):
        seen.append(list(new))
        return "stop" if len(new) == 4 else "continue"

    assert Engine(model).generate([Request([5], 20, PLAIN, hook=hook)]) == [free[:4]]
    assert seen == [free[:1], free[:2], free[:3], free[:4]]


@pytest.mark.parametrize("variant", VARIANTS)
def test_hook_forces_ids_which_the_model_then_reads(variant):
    model = make_model(variant)
    forced = random_prompt(9, seed=5)

    def hook(new):
        return list(forced) if len(new) == 3 else "continue"

    neighbours = [Request(random_prompt(n), 30, PLAIN, seed=n) for n in (2, 11)]
    requests = [neighbours[0], Request([5, 6], 40, GREEDY, hook=hook), neighbours[1]]
    first, new, last = Engine(model).generate(requests)
    assert len(new) == 40
    before = model.generate([5, 6], 3, temperature=0)
    assert new[:12] == before + forced
    assert new[12:] == model.generate([5, 6, *new[:12]], 28, temperature=0)
    assert [first, last] == Engine(model).generate(neighbours)


def test_forced_ids_end_with_the_budget_and_may_overflow_the_context():
    model = make_model()
    long = random_prompt(50, seed=5)
    results = Engine(model).generate([Request([5], n, GREEDY, hook=lambda new: long) for n in (4, 60)])
    assert results[0] == [results[0][0], *long[:3]]
    window = fit_context([5, results[1][0], *long], 32)
    assert results[1][1:51] == long
    assert results[1][51] == model.generate(window, 1, temperature=0)[0]
    assert len(results[1]) == 60


def test_the_consumer_can_decide_the_hooks_answer():
    model = make_model()
    done = set()
    request = Request([5], 20, PLAIN, hook=lambda new: "stop" if done else "continue")
    count = 0
    for _ in Engine(model).stream([request]):
        count += 1
        if count == 3:
            done.add(True)
    assert count == 3


# --- what is left behind ---------------------------------------------------------------------------------


def test_generation_leaves_the_model_as_it_was():
    model = make_model(dropout=0.5)
    model.train()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    new = Engine(model).generate([Request([5], 40, GREEDY)])[0]
    assert new == Engine(model.eval()).generate([Request([5], 40, GREEDY)])[0], "dropout was on"
    model.train()
    for _ in Engine(model).stream([Request([5], 40, GREEDY)]):
        assert model.training
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        break
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    ids = torch.tensor([random_prompt(8)])
    model(ids, ids)[0].backward()


def test_changed_weights_are_seen_at_once():
    model = make_model()
    engine = Engine(model)
    before = engine.generate([Request([5], 20, GREEDY)])
    model.transformer["wte"].weight.data.mul_(-1)
    assert engine.generate([Request([5], 20, GREEDY)]) == [model.generate([5], 20, temperature=0)] != before


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request([], 5), "empty"),
        (Request([61], 5), "61 is not in the model's vocabulary"),
        (Request([-1], 5), "vocabulary"),
        (Request([1], -5), "negative"),
        (Request([1], 5, SamplingSettings(temperature=-1)), "temperature"),
    ],
)
def test_what_cannot_be_served_is_refused_before_any_token(request_, message):
    with pytest.raises(UserError, match=message):
        Engine(make_model()).stream([Request([1], 5), request_])


def test_a_diverged_model_is_said_to_be_one():
    model = make_model()
    model.lm_head.weight.data[:] = float("nan")
    for sampling in (PLAIN, GREEDY, replace(PLAIN, top_k=5)):
        with pytest.raises(UserError, match="NaN"):
            Engine(model).generate([Request([1], 5, sampling)])


# --- sampling --------------------------------------------------------------------------------------------

P = torch.tensor([[0.1, 0.4, 0.2, 0.05, 0.25]])


def close(found, *expected):
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float32), atol=1e-6, rtol=0)


def shares(logits, settings):
    """What is drawn, as probabilities."""
    found = weights(logits, settings)
    return found / found.sum(dim=-1, keepdim=True)


def test_the_shortlist_has_whoever_is_as_likely_as_the_last():
    logits = torch.tensor([[1.0, 3.0, 2.0, 2.0, 0.0], [5.0, 4.0, 3.0, 2.0, 1.0]])
    short, ids = shortlist(logits, 2)
    assert ids[0].tolist() == [1, 2, 3]
    assert set(ids[1].tolist()) >= {0, 1}
    assert torch.equal(short, logits.gather(1, ids))


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 4), st.integers(0, 1000))
def test_drawing_from_the_shortlist_is_drawing_from_all(k, vocab, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(-3, 4, (rows, vocab), generator=generator) / 2  # many are equal
    chosen = SamplingSettings(0.7, top_k=k, top_p=0.8)
    short, ids = shortlist(logits, k)
    found = torch.zeros(rows, vocab).scatter(1, ids, weights(short, chosen))
    assert torch.equal(found, weights(logits, chosen))


def test_top_k_by_hand():
    close(keep_top_k(P, 2), 0, 0.4, 0, 0, 0.25)
    close(keep_top_k(P, 1), 0, 0.4, 0, 0, 0)
    close(keep_top_k(P, 99), *P[0].tolist())


def test_top_p_by_hand():
    close(keep_top_p(P, 0.3), 0, 0.4, 0, 0, 0)
    close(keep_top_p(P, 0.6), 0, 0.4, 0, 0, 0.25)
    close(keep_top_p(P, 0.7), 0, 0.4, 0.2, 0, 0.25)
    close(keep_top_p(P, 0.999), *P[0].tolist())
    close(keep_top_p(P, 1e-9), 0, 0.4, 0, 0, 0)
    close(keep_top_p(keep_top_k(P, 2), 0.6), 0, 0.4, 0, 0, 0)  # 0.4 is 62 % of what top-k left


def test_min_p_by_hand():
    close(keep_min_p(P, 0.3), 0, 0.4, 0.2, 0, 0.25)
    close(keep_min_p(P, 0.6), 0, 0.4, 0, 0, 0.25)


def test_temperature_by_hand():
    squared = P.square() / P.square().sum()
    torch.testing.assert_close(shares(P.log(), replace(PLAIN, temperature=0.5)), squared)
    close(shares(P.log() + 3, PLAIN), *P[0].tolist())
    close(shares(1e4 * P, replace(PLAIN, temperature=1e-300)), 0, 1, 0, 0, 0)


def test_repetition_penalty_by_hand():
    logits = torch.tensor([[2.0, -2.0, 1.0], [2.0, -2.0, 1.0]])
    expected = torch.tensor([[1.0, -4.0, 1.0], [2.0, -2.0, 0.5]])
    assert torch.equal(penalize_repetition(logits, [[0, 1, 0], [2]], 2.0), expected)
    assert draw(logits, replace(GREEDY, repetition_penalty=4.0), [(1, 1), (1, 1)], [[0], [2]]) == [2, 0]


def test_all_methods_together_by_hand():
    chosen = SamplingSettings(1.0, top_k=4, top_p=0.85, min_p=0.55)
    p = shares(P.log(), chosen)  # top-k drops 0.05, top-p then 0.1, min-p then 0.2
    close(p, 0, 0.4 / 0.65, 0, 0, 0.25 / 0.65)


def test_temperature_0_is_greedy_whatever_the_other_settings():
    logits = torch.randn(50, 61, generator=torch.Generator().manual_seed(1))
    keys = [(1, i) for i in range(50)]
    assert draw(logits, SamplingSettings(0.0, 3, 0.5, 0.1), keys) == logits.argmax(-1).tolist()
    assert draw(logits, SamplingSettings(1.0, 1), keys) == logits.argmax(-1).tolist()


@pytest.mark.parametrize(
    ("chosen", "by_hand"),
    [
        (PLAIN, [0.1, 0.4, 0.2, 0.05, 0.25]),
        # p² in place of p, over their sum 0.01 + 0.16 + 0.04 + 0.0025 + 0.0625 = 0.275
        (replace(PLAIN, temperature=0.5), [0.01 / 0.275, 0.16 / 0.275, 0.04 / 0.275, 0.0025 / 0.275, 0.0625 / 0.275]),
        (replace(PLAIN, top_k=3), [0, 0.4 / 0.85, 0.2 / 0.85, 0, 0.25 / 0.85]),
        (replace(PLAIN, top_p=0.6), [0, 0.4 / 0.65, 0, 0, 0.25 / 0.65]),  # 0.4 alone is less than 0.6
        (replace(PLAIN, min_p=0.45), [0, 0.4 / 0.85, 0.2 / 0.85, 0, 0.25 / 0.85]),  # at least 0.18
        # Logits are logarithms here, all negative, so a penalty of 2 doubles those of tokens 1 and 2: p² again.
        (
            replace(PLAIN, repetition_penalty=2.0),
            [0.1 / 0.6, 0.16 / 0.6, 0.04 / 0.6, 0.05 / 0.6, 0.25 / 0.6],
        ),
    ],
    ids=["plain", "temperature", "top-k", "top-p", "min-p", "repetition penalty"],
)
def test_ten_thousand_draws_have_the_frequencies_worked_out_by_hand(chosen, by_hand):
    n = 10_000
    keys = [(7, i) for i in range(n)]
    drawn = torch.tensor(draw(P.log().expand(n, 5), chosen, keys, [[1, 2, 1]] * n))
    counts = torch.bincount(drawn, minlength=5)
    p = torch.tensor(by_hand)
    assert p.sum().item() == pytest.approx(1)
    assert not counts[p == 0].any()
    expected = n * p[p > 0]
    chi_square = ((counts[p > 0] - expected) ** 2 / expected).sum()
    assert chi_square < 18.5, "exceeded once in a thousand times with 4 degrees of freedom"


def test_a_draw_is_the_inverse_of_the_cumulative_distribution():
    keys = [(3, i) for i in range(200)]
    drawn = draw(P.log().expand(200, 5), PLAIN, keys)
    ends = [0.1, 0.5, 0.7, 0.75, 1.0]
    assert drawn == [next(t for t, end in enumerate(ends) if uniform("draw", *key) < end) for key in keys]


def test_a_draw_does_not_depend_on_its_neighbours():
    logits = torch.randn(30, 61, generator=torch.Generator().manual_seed(1))
    keys = [(i, 10 + i) for i in range(30)]
    for chosen in (PLAIN, SamplingSettings(0.8, 20, 0.9, 0.05)):
        together = draw(logits, chosen, keys)
        assert together == [draw(logits[i : i + 1], chosen, keys[i : i + 1])[0] for i in range(30)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=12),
    st.builds(
        SamplingSettings,
        st.floats(0, 1e6),
        st.integers(0, 20),
        st.floats(1e-9, 1),
        st.floats(0, 0.999),
        st.floats(0.1, 10),
    ),
    st.integers(0, 1000),
)
def test_any_legal_settings_draw_a_token_that_was_not_cut(values, chosen, seed):
    check_sampling(chosen)
    logits = torch.tensor([values])
    token = draw(logits, chosen, [(seed, 1)], [[0]])[0]
    assert 0 <= token < len(values)
    if chosen.temperature:
        penalized = penalize_repetition(logits, [[0]], chosen.repetition_penalty)
        assert weights(penalized, chosen)[0, token] > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": 1.0},
        {"repetition_penalty": 0.0},
    ],
    ids=str,
)
def test_senseless_settings_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        check_sampling(SamplingSettings(**wrong))


# --- text ------------------------------------------------------------------------------------------------


class PieceTokenizer(ByteTokenizer):
    """A token is any bytes that the test lays down."""

    def __init__(self, pieces):
        self.pieces = pieces

    def decode_bytes(self, ids):
        return b"".join(self.pieces[i] for i in ids)


def streamed(pieces, *stops):
    text = TextStream(PieceTokenizer(pieces), stops)
    shown = [text.push(i) for i in range(len(pieces))]
    return [*shown, text.finish()], text.stopped


def test_characters_are_never_cut():
    ink = "🖋".encode()
    assert streamed([b"a" + ink[:1], ink[1:3], ink[3:] + b"b"]) == (["a", "", "🖋b", ""], False)
    assert streamed([b"a", ink[:2]]) == (["a", "", "�"], False)
    assert streamed([b"\xff", b"a"]) == (["�", "a", ""], False)


def test_stop_text_across_tokens_is_not_shown():
    assert streamed([b"one ST", b"O", b"P two"], "STOP") == (["one ", "", "", ""], True)
    assert streamed([b"one ST", b"OR", b"E"], "STOP") == (["one ", "STOR", "E", ""], False)
    assert streamed([b"one ST"], "STOP") == (["one ", "ST"], False)
    assert streamed([b"aaa", b"b"], "aab") == (["a", "", ""], True)
    assert streamed([b"x B y A"], "A", "B") == (["x ", ""], True)
    assert streamed([b"xyz"], "") == (["xyz", ""], False)


@settings(max_examples=60, deadline=None)
@given(st.text("abé🖋", max_size=20), st.text("abé", max_size=3), st.lists(st.integers(0, 60), max_size=8))
def test_streamed_text_equals_text_at_once(whole, stop, cuts):
    data = whole.encode()
    bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(bounds)]
    shown, stopped = streamed(pieces, stop)
    assert "".join(shown) == (whole.partition(stop)[0] if stop else whole)
    assert stopped == (bool(stop) and stop in whole)


# --- inkling.generate and the stage ----------------------------------------------------------------------


@pytest.fixture
def byte_model():
    return GPT(replace(TINY, vocab_size=256), seed=1).eval(), ByteTokenizer()


def test_generate_gives_text(byte_model):
    text = generate(*byte_model, "Once", max_new_tokens=30)
    assert text
    assert text == generate(*byte_model, "Once", max_new_tokens=30)
    assert text != generate(*byte_model, "Once", max_new_tokens=30, seed=1)
    assert generate(*byte_model, "Once", max_new_tokens=30, stop=text[5:7]) == text[:5]
    with pytest.raises(UserError, match="empty"):
        generate(*byte_model, "")


@pytest.fixture
def stage(byte_model, monkeypatch):
    """`sample.main` on a model that is not on disk; gives back what it was asked to load."""
    asked = []
    fake = types.ModuleType("inkling.hub.load")
    fake.load = lambda where, device, dtype: asked.append((where, device, dtype)) or byte_model
    monkeypatch.setitem(sys.modules, "inkling.hub.load", fake)
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    yield asked
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


def test_sample_prints_what_it_returns(stage, byte_model, capsys):
    chosen = sample.SampleSettings(
        start="Once", num_samples=3, max_new_tokens=20, out_dir="runs/other", runtime=ONE_THREAD
    )
    samples = sample.main("runs/demo", chosen)
    assert len(set(samples)) == 3
    assert samples[0] == "Once" + generate(*byte_model, "Once", max_new_tokens=20)
    printed = capsys.readouterr().out
    assert printed == "".join(f"{text}\n---------------\n" for text in samples)
    assert sample.main("", replace(chosen, stream=True)) == samples
    assert capsys.readouterr().out == printed
    assert [where for where, _, _ in stage] == ["runs/demo", "runs/other"]


def test_sample_stops_before_the_stop_text(stage, capsys):
    chosen = sample.SampleSettings(start="Once", num_samples=1, max_new_tokens=20, stream=True, runtime=ONE_THREAD)
    whole = sample.main("demo", chosen)[0]
    assert sample.main("demo", replace(chosen, stop=whole[8:10])) == [whole[:8]]
    capsys.readouterr()


def test_sample_reads_the_prompt_from_a_file(stage, tmp_path, capsys):
    path = tmp_path / "prompt.txt"
    path.write_bytes("Čau\r\n".encode())
    chosen = sample.SampleSettings(start=f"FILE:{path}", num_samples=1, max_new_tokens=1)
    assert sample.main("demo", chosen)[0].startswith("Čau\r\n")
    path.write_bytes(b"\xff")
    for start, message in [(f"FILE:{path}", "not UTF-8"), (f"FILE:{tmp_path / 'no'}", "No such file")]:
        with pytest.raises(UserError, match=message):
            sample.main("demo", replace(chosen, start=start))


def test_sample_from_the_command_line(stage, capsys):
    words = {"start": "Once", "num_samples": "1", "max_new_tokens": "5", "temperature": "0", "threads": "1"}
    sample.command(["demo"], words)
    sample.command([], words | {"out_dir": "demo"})
    first, second = capsys.readouterr().out.split("---------------\n", 1)
    assert first.startswith("Once") and second == first + "---------------\n"
    sample.command(["demo"], words | {"compile": "True"})
    assert "--compile is not used" in capsys.readouterr().err
    with pytest.raises(UserError, match="one RUN"):
        sample.command(["demo", "other"], words)


def test_sample_refuses_what_it_cannot_do(stage, byte_model, monkeypatch):
    for wrong in ({"num_samples": 0}, {"max_new_tokens": -1}, {"sampling": SamplingSettings(top_p=2)}, {"start": ""}):
        with pytest.raises(UserError):
            sample.main("demo", replace(sample.SampleSettings(), **wrong))
    with pytest.raises(UserError, match="Which model"):
        sample.main("", sample.SampleSettings())
    characters = CharTokenizer("abc")
    sys.modules["inkling.hub.load"].load = lambda where, device, dtype: (byte_model[0], characters)
    with pytest.raises(UserError, match="vocabulary of 3 characters"):
        sample.main("demo", sample.SampleSettings(start="abcd"))
