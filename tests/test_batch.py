"""Continuous batching: who joins, leaves, waits and is cancelled, and that nobody's numbers depend on it."""

from dataclasses import replace

import pytest
import torch

from inkling.hub.load import place_model
from inkling.infer.batch import Batch, fixed_size
from inkling.infer.engine import Engine, Request
from inkling.infer.packed import can_pack, pack
from inkling.infer.sampling import SamplingSettings, keep_top_p
from test_infer import GREEDY, PLAIN, VARIANTS, Recording, make_model, one_thread, random_prompt

__all__ = ["one_thread"]


def step(batch):
    """The tokens of one step, by row."""
    found = {}
    for row, token in batch.step():
        found.setdefault(row, []).append(token)
    return found


def finish(batch):
    while batch.is_busy:
        step(batch)


# --- joining and leaving ---------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("chunk", [None, 4])
def test_requests_join_at_any_step_and_say_what_they_say_alone(variant, chunk):
    model = make_model(variant)
    requests = [Request(random_prompt(1 + 9 * i % 40, seed=i), 5 + 7 * i % 23, PLAIN, seed=i) for i in range(12)]
    batch = Batch(model, max_rows=5, chunk=chunk, reads=chunk and 2 * chunk, remember=64)
    rows = []
    for request in requests:
        rows.append(batch.add(request))
        step(batch)
        step(batch)
    finish(batch)
    assert [row.new for row in rows] == Engine(model).generate(requests)


def test_a_cancelled_row_is_free_within_one_step_and_leaves_no_trace():
    model = make_model()
    batch = Batch(model, max_rows=2)
    endless, short, waiting = (batch.add(Request(random_prompt(9, seed=i), 40 - i, PLAIN, seed=i)) for i in range(3))
    for _ in range(5):
        step(batch)
    batch.cancel(endless)
    assert list(step(batch)) == [short, waiting], "the next one decodes at once"
    gone = batch.add(Request([1], 5))
    batch.cancel(gone)
    finish(batch)
    assert len(endless.new) == 5 and gone.new == []
    expected = Engine(model).generate([short.request, waiting.request])
    assert [short.new, waiting.new] == expected


def test_cancelled_by_whom_it_is_handed_to():
    batch = Batch(make_model())
    rows = [batch.add(Request([i], 5, GREEDY)) for i in range(3)]
    for row, _ in batch.step():
        if row is rows[0]:
            batch.cancel(rows[1])
    assert [len(row.new) for row in rows] == [1, 0, 1]
    assert batch.rows == [rows[0], rows[2]]


def test_the_cache_grows_with_what_is_asked_and_no_further():
    model = make_model(block_size=1000)
    batch = Batch(model, max_rows=8)
    sizes = []
    for rows, length in [(1, 5), (3, 5), (3, 90), (8, 90), (2, 999)]:
        for i in range(rows):
            batch.add(Request(random_prompt(length, seed=i), 3, PLAIN))
        finish(batch)
        sizes.append((batch.cache.k.size(1), batch.cache.k.size(3)))
    assert sizes == [(1, 32), (3, 32), (3, 96), (8, 96), (8, 1024)]


def test_fixed_sizes():
    assert [fixed_size(n) for n in range(1, 18)] == [1, 2, 3, 4, 6, 6, 8, 8, 12, 12, 12, 12, 16, 16, 16, 16, 24]
    assert all(n <= fixed_size(n) <= n * 1.5 for n in range(1, 300))


# --- a long prompt does not hold the others up -----------------------------------------------------------


def shapes_read(model):
    """A list that gets the shape of everything the model reads from now on."""
    read, hidden = [], model.hidden
    model.hidden = lambda ids, cache=None: read.append(tuple(ids.shape)) or hidden(ids, cache)
    return read


def test_a_long_prompt_is_read_in_chunks_while_others_decode():
    model = make_model(block_size=200)
    expected = Engine(model).generate([Request([5], 30, PLAIN), Request(random_prompt(150), 9, PLAIN)])
    batch = Batch(model, chunk=32, reads=32)
    short = batch.add(Request([5], 30, PLAIN))
    step(batch)
    read = shapes_read(model)
    long = batch.add(Request(random_prompt(150), 9, PLAIN))
    for _ in range(4):
        assert list(step(batch)) == [short]
    assert list(step(batch)) == [short, long]
    assert [shape for shape in read if shape[1] > 1] == [(1, 32)] * 4 + [(1, 21)]
    assert [shape for shape in read if shape[1] == 1] == [(2, 1)] * 5
    finish(batch)
    assert [short.new, long.new] == expected


def test_equal_beginnings_are_read_once_at_the_same_time_or_later():
    model = make_model(block_size=100)
    begin = random_prompt(40, seed=1)
    prompts = [begin + random_prompt(n, seed=10 + n) for n in (3, 9, 20)]
    alone = [Engine(model).generate([Request(prompt, 8, PLAIN)])[0] for prompt in prompts]
    batch = Batch(model, chunk=16, reads=64, remember=64)
    read = shapes_read(model)
    first, second = (batch.add(Request(prompt, 8, PLAIN)) for prompt in prompts[:2])
    finish(batch)
    assert sum(T for _, T in read if T > 1) == 32 + (42 - 32) + (48 - 32), "two chunks are shared"
    read.clear()
    third = batch.add(Request(prompts[2], 8, PLAIN))
    finish(batch)
    assert [T for _, T in read if T > 1] == [16, 11] and third.reused == 32
    assert [row.new for row in (first, second, third)] == alone


def test_two_samples_of_a_long_prompt_read_its_end_once_too():
    model = make_model(block_size=100)
    batch = Batch(model, chunk=16, reads=64, remember=64)
    read = shapes_read(model)
    for seed in range(3):
        batch.add(Request(random_prompt(30), 4, PLAIN, seed=seed))
    finish(batch)
    assert [shape for shape in read if shape[1] > 1] == [(1, 16), (1, 13)]


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first():
    model = make_model(block_size=100)
    batch = Batch(model, chunk=8, reads=64, remember=32)
    prompts = [random_prompt(17, seed=i) for i in range(3)]  # two chunks each
    for prompt in prompts:
        batch.add(Request(prompt, 1))
        finish(batch)
    rows = []
    for prompt in (prompts[2], prompts[1], prompts[0]):
        rows.append(batch.add(Request(prompt, 1)))
        finish(batch)
    assert [row.reused for row in rows] == [16, 16, 0]


# --- equal numbers ---------------------------------------------------------------------------------------


def logits_among(model, neighbours, **options):
    """The logits of one request's tokens in a batch with these neighbours, the request in the middle."""
    request = Request(random_prompt(20, seed=99), 12, PLAIN, seed=99)
    middle = len(neighbours) // 2
    recording = Recording(model, [*neighbours[:middle], request, *neighbours[middle:]], **options)
    new, logits = recording.run()
    return new[middle], torch.stack(logits[middle])


@pytest.mark.parametrize("variant", VARIANTS)
def test_at_equal_shapes_numbers_are_equal_to_the_last_bit(variant):
    model = make_model(variant, block_size=64)

    def neighbours(seed, kind):
        return [Request(random_prompt(20, seed=seed + i), 12, kind, seed=seed + i) for i in range(5)]

    tokens, expected = logits_among(model, neighbours(0, PLAIN))
    for others in (neighbours(100, GREEDY), neighbours(200, SamplingSettings(0.9, 7, 0.8, 0.01, 1.1))):
        new, logits = logits_among(model, others)
        assert new == tokens
        assert torch.equal(logits, expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_at_other_shapes_logits_are_close_and_draws_the_same(variant):
    model = make_model(variant, block_size=64)
    tokens, expected = logits_among(model, [])
    for rows, chunk in [(1, None), (4, 8), (9, 16), (17, None)]:
        others = [Request(random_prompt(1 + 5 * i % 50, seed=i), 3 + i, PLAIN, seed=i) for i in range(rows)]
        new, logits = logits_among(model, others, chunk=chunk, reads=chunk)
        assert new == tokens
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


def test_alone_a_remembered_prompt_gives_the_same_bits_as_one_that_is_read():
    model = make_model(block_size=100)
    recording = Recording(model, [], chunk=16, reads=16, remember=64)
    rows = []
    for _ in range(2):
        rows.append(recording.add(Request(random_prompt(60), 20, PLAIN)))
        recording.logits[rows[-1]] = []
        finish(recording)
    first, again = (torch.stack(recording.logits[row]) for row in rows)
    assert [row.reused for row in rows] == [0, 48]
    assert torch.equal(first, again)


def test_of_a_prompt_longer_than_what_is_remembered_the_beginning_is():
    batch = Batch(make_model(block_size=200), chunk=16, reads=16, remember=64)
    found = []
    for prompt in (random_prompt(100), random_prompt(100), random_prompt(60, seed=2), random_prompt(100)):
        row = batch.add(Request(prompt, 2, GREEDY))
        finish(batch)
        found.append(row.reused)
    assert found == [0, 64, 0, 16]  # three chunks came, and three went: not the first


def test_cutting_by_top_p_does_not_depend_on_how_many_rows_are_cut():
    torch.set_num_threads(2)  # the threads share out one row's sum and not that of nine; with this seed it matters
    p = torch.randn(9, 50_257, generator=torch.Generator().manual_seed(2)).softmax(-1)
    together = keep_top_p(p, 0.9)
    for row in range(9):
        assert torch.equal(keep_top_p(p[row : row + 1], 0.9)[0], together[row])
    torch.set_num_threads(1)


# --- how likely ------------------------------------------------------------------------------------------


def test_likelihoods_are_the_models_own():
    model = make_model()
    batch = Batch(model)
    row = batch.add(Request([5], 6, replace(PLAIN, temperature=0.5, top_k=3), alternatives=4))
    silent = batch.add(Request([5], 6, PLAIN))
    context = [5]
    while batch.is_busy:
        step(batch)
        with torch.no_grad():
            expected = model(torch.tensor([context]))[0, -1].log_softmax(-1)
        noted = row.likelihood
        assert noted.token == row.new[-1] and noted.logprob == pytest.approx(expected[noted.token].item(), abs=1e-4)
        assert [token for token, _ in noted.top] == expected.topk(4).indices.tolist()
        assert [value for _, value in noted.top] == pytest.approx(expected.topk(4).values.tolist(), abs=1e-4)
        context.append(row.new[-1])
    assert silent.likelihood is None


def test_forced_tokens_have_no_likelihood():
    batch = Batch(make_model())
    row = batch.add(Request([5], 4, PLAIN, hook=lambda new: [7, 8] if len(new) == 1 else "continue", alternatives=0))
    noted = [(token, row.likelihood) for row, token in batch.step()]
    assert [token for token, _ in noted[1:]] == [7, 8]
    assert noted[0][1].top == () and [likelihood for _, likelihood in noted[1:]] == [None, None]
    finish(batch)
    assert row.likelihood is not None


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN")
@pytest.mark.parametrize("preset", ["gpt2", "nanochat"])
def test_packed_weights_say_the_same(preset):
    plain, packed = (make_model(preset) for _ in range(2))
    assert can_pack(packed)
    pack(packed)
    for rows in (1, 3, 4, 16):
        x = torch.arange(rows * 5).view(rows, 5) % 60
        with torch.inference_mode():
            torch.testing.assert_close(packed.head(packed.hidden(x)), plain.head(plain.hidden(x)), atol=1e-5, rtol=1e-5)
    requests = [Request([1 + i, 2, 3], 8, SamplingSettings(1.0, 10), seed=i) for i in range(6)]
    assert Engine(packed).generate(requests) == Engine(plain).generate(requests)


def test_only_what_was_measured_is_packed():
    assert not can_pack(place_model(make_model("gpt2"), "cpu", torch.bfloat16))
