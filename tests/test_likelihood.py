"""Likelihoods in batches against one by one, and bits per byte against sums by hand."""

import json
import math
import shutil
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch

from conftest import SHARED, flags
from inkling.data.shards import DatasetWriter, open_dataset
from inkling.errors import UserError
from inkling.evals.bpb import Counted, byte_lengths, count_text, count_tokens, weighted
from inkling.evals.likelihood import Span, beginning, cropped, score_alone, score_groups, shared_length
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT
from inkling.runtime import Runtime
from inkling.text.bpe import count_chunks, learn_merges
from inkling.text.tokenizer_sources import byte_tokenizer, char_tokenizer, gpt2_tokenizer, trained_tokenizer

ALONE = Runtime("cpu", "float32", False, 1)
TEXT = "Ärger im Café: 3 % naïve?\n今日は雨。Привет, мир! שלום 🦊🦊 — fin.\n\tλόγος ≠ λόγον" * 3


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_model(vocab_size=64, dtype=torch.float32, **changes) -> GPT:
    config = GPTConfig(
        **{"vocab_size": vocab_size, "n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 48} | changes
    )
    model = GPT(config, seed=1).eval()
    for parameter in model.parameters():  # far from uniform, so that a wrong place or token shows
        parameter.data *= 3
    model.compute_dtype = dtype
    return model.to(dtype)


def trained_bpe():
    merges = learn_merges(count_chunks([TEXT], "cl100k"), 60)
    return trained_tokenizer(merges, "cl100k")


# --- likelihoods -----------------------------------------------------------------------------------------


def numbers(seed: int, count: int) -> list[int]:
    return torch.randint(0, 64, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def groups() -> list[list[Span]]:
    """Of every kind: many options and one, long beginnings and none, full contexts, one scored token and all."""
    context = numbers(0, 40)
    full = numbers(1, 49)
    return [
        [Span(context + numbers(10 + i, 1 + i), 40) for i in range(9)],
        [Span(full, 1)],
        [Span([*full[:48], 3], 48), Span([*full[:48], 4], 48), Span(full[:20], 10)],
        [Span(numbers(2, 2), 1), Span(numbers(3, 5), 3)],
        [Span(numbers(4, 7) + context[:12], 7), Span(numbers(5, 3) + context[:12], 3)],  # they end alike
        [Span(numbers(6, 30), 29)],
        [Span([1, 2, 3], 2), Span([1, 2, 3], 2)],
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"position": "rotary", "norm": "rmsnorm", "n_kv_head": 1, "window": 8, "n_layer": 3},
        {"softcap": 5.0, "pad_vocab_to": 128},
    ],
)
def test_batches_equal_one_by_one(changes):
    model = make_model(**changes)
    alone = [[score_alone(model, span) for span in group] for group in groups()]
    for batch_size in (1, 2, 5, 64):
        together = score_groups(model, groups(), batch_size)
        for one, other in zip(chain(*alone), chain(*together), strict=True):
            assert other.nats == pytest.approx(one.nats, abs=1e-4)
            assert (other.tokens, other.is_greedy) == (one.tokens, one.is_greedy)


def test_one_by_one_is_what_the_model_says():
    model = make_model(dtype=torch.float64)
    ids = numbers(7, 20)
    by_hand = 0.0
    for place in range(15, 20):
        logits = model(torch.tensor([ids[:place]]))[0, -1].tolist()
        by_hand += math.log(sum(map(math.exp, logits))) - logits[ids[place]]
    scored = score_alone(model, Span(ids, 15))
    assert scored.nats == pytest.approx(by_hand, rel=1e-12) and scored.tokens == 5 and not scored.is_greedy
    likeliest = [*ids, *model.generate(ids, 6, temperature=0)]
    assert score_alone(model, Span(likeliest, 20)).is_greedy
    likeliest[22] = (likeliest[22] + 1) % 64
    assert not score_alone(model, Span(likeliest, 20)).is_greedy


def test_what_is_shared_is_read_once(monkeypatch):
    model = make_model()
    read = []
    hidden = model.hidden
    monkeypatch.setattr(model, "hidden", lambda ids, *rest: read.append(ids.numel()) or hidden(ids, *rest))
    context = numbers(0, 40)
    score_groups(model, [[Span([*context, i, i], 40) for i in range(10)]], batch_size=4)
    assert sum(read) == 39 + 10 * 2, "the context but its last token, and of each option that and its first"


def test_what_is_shared():
    assert shared_length([Span([1, 2, 3, 4], 2)]) == 0, "nobody to share with"
    assert shared_length([Span([1, 2, 3, 4], 3), Span([1, 2, 3, 5], 3)]) == 2, "the last before the scored is left"
    assert shared_length([Span([1, 2, 3, 4], 3), Span([1, 5, 3, 4], 3)]) == 1
    assert shared_length([Span([1, 2, 3], 1), Span([1, 2, 3], 1)]) == 0


def test_long_texts_lose_their_beginning():
    assert cropped(Span([1, 2, 3, 4, 5], 3), 9) == Span([1, 2, 3, 4, 5], 3)
    assert cropped(Span([1, 2, 3, 4, 5], 3), 4) == Span([2, 3, 4, 5], 2)
    assert cropped(Span([1, 2, 3, 4, 5], 2), 3) == Span([3, 4, 5], 1), "3 has nothing before it now"


def test_what_stands_before_a_text():
    assert beginning(byte_tokenizer()) == [] and beginning(char_tokenizer("ab")) == []
    bpe = trained_bpe()
    assert beginning(bpe) == [bpe.special_tokens["<|bos|>"]]


# --- bits per byte ---------------------------------------------------------------------------------------


def bits_by_hand(model: GPT, tokenizer, stream: list[int]) -> float:
    """Window by window, token by token, with sums in plain Python."""
    nats, size, T = 0.0, 0, model.config.block_size
    for start in range(0, len(stream) - 1, T):
        window = stream[start : start + T + 1]
        logits = model(torch.tensor([window[:-1]]))[0].tolist()
        for row, target in zip(logits, window[1:], strict=True):
            if target not in tokenizer.special_tokens.values():
                nats += math.log(sum(map(math.exp, row))) - row[target]
                size += len(tokenizer.decode_bytes([target]))
    return nats / math.log(2) / size


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_bits_per_byte_of_a_text_equal_a_sum_by_hand(kind):
    tokenizer = {"char": lambda: char_tokenizer(TEXT), "byte": byte_tokenizer, "bpe": trained_bpe}[kind]()
    model = make_model(tokenizer.vocab_size, torch.float64)
    stream = [*beginning(tokenizer), *tokenizer.encode(TEXT)]
    found = [count_text(model, tokenizer, TEXT, batch_size, ALONE) for batch_size in (1, 3, 100)]
    for counted in found:
        assert counted.bits_per_byte == pytest.approx(bits_by_hand(model, tokenizer, stream), rel=1e-10)
        assert counted.tokens == len(stream) - 1
    first = 0 if kind == "bpe" else len(tokenizer.decode_bytes(stream[:1]))  # which nothing stands before
    assert found[0].bytes == len(TEXT.encode()) - first
    assert found[0].tokens < found[0].bytes or kind == "byte"


def test_special_tokens_count_on_neither_side(tmp_path):
    tokenizer = trained_bpe()
    with DatasetWriter(tmp_path / "set", tokenizer, "test") as writer:
        writer.train.add(["x"])
        for text in ("Привет", TEXT, "", "🦊", "<|bos|> is written out"):
            writer.val.add([text])
    data = open_dataset(tmp_path / "set")
    model = make_model(tokenizer.vocab_size, torch.float64)
    counted = count_tokens(model, tokenizer, data.val, 4, ALONE)
    assert counted.bytes == data.meta.val.bytes, "all of the text, because a mark stands before each document"
    assert counted.tokens == len(data.val) - 5
    assert counted.bits_per_byte == pytest.approx(bits_by_hand(model, tokenizer, data.val.tolist()), rel=1e-10)
    part = count_tokens(model, tokenizer, data.val, 4, ALONE, eval_tokens=100)
    assert part.bits_per_byte == pytest.approx(bits_by_hand(model, tokenizer, data.val[:100].tolist()), rel=1e-10)
    assert byte_lengths(tokenizer)[tokenizer.bos] == 0


def test_the_sums_of_ranks_add_up(monkeypatch):
    tokenizer, model = byte_tokenizer(), make_model(256, torch.float64)
    whole = count_text(model, tokenizer, TEXT, 2, ALONE)
    shares: list[list[float]] = []
    monkeypatch.setattr("inkling.evals.bpb.sum_over_ranks", lambda values, runtime: shares.append(values) or values)
    for rank in range(3):
        count_text(model, tokenizer, TEXT, 2, replace(ALONE, rank=rank, world_size=3))
    nats, tokens, size = map(sum, zip(*shares, strict=True))
    assert nats == pytest.approx(whole.nats, rel=1e-12) and (tokens, size) == (whole.tokens, whole.bytes)


def test_figures_of_counts():
    counted = Counted(nats=8 * math.log(2), tokens=4, bytes=16)
    assert counted.bits_per_byte == pytest.approx(0.5) and counted.nats_per_token == pytest.approx(2 * math.log(2))
    assert weighted([counted, Counted(math.log(2), 1, 1)], [0.75, 0.25]) == pytest.approx(0.625)


def test_nothing_to_predict():
    tokenizer = byte_tokenizer()
    for text in ("", "a"):
        with pytest.raises(UserError, match="nothing to predict"):
            count_text(make_model(256), tokenizer, text, 1, ALONE)


# --- the verb --------------------------------------------------------------------------------------------

ON_CPU = flags({"device": "cpu", "threads": 1, "dtype": "float32"})


def report(name: str, run: str = "writer") -> dict:
    return json.loads(Path(f"runs/{run}/evaluations/{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def writer(tiny, inkling):
    """A run of one step on bytes, without marks."""
    assert inkling("train", "tiny.toml", "--out_dir=runs/writer", *flags({"max_iters": 1}))[0] == 0
    return tiny


def test_bits_per_byte_of_a_run(writer, inkling):
    status, out, err = inkling("evaluate", "writer", "--tasks=bpb", "--eval_tokens=200", *ON_CPU)
    assert (status, err) == (0, "")
    assert "bits per byte: writer at step 1" in out and "tiny" in out
    lines = Path("runs/writer/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    val_loss = json.loads(lines[-1])["val_loss"]
    found = report("bpb")
    # Bytes are tokens here, so this is the validation loss of training, in bits.
    assert found["bits_per_byte"] == pytest.approx(val_loss / math.log(2), rel=1e-5)
    assert found["texts"]["tiny"]["tokens"] == found["texts"]["tiny"]["bytes"] == 199
    assert found["settings"]["eval_tokens"] == 200 and found["step"] == 1

    Path("mine.txt").write_text(TEXT, encoding="utf-8", newline="")
    for batch_size in (1, 7):
        words = ["--tasks=bpb", "--text=mine.txt", f"--batch_size={batch_size}"]
        assert inkling("evaluate", "writer", *words, *ON_CPU)[0] == 0
        mine = report("bpb")["texts"]["mine.txt"]
        assert mine["bytes"] == len(TEXT.encode()) - 1
        assert report("bpb")["bits_per_byte"] == pytest.approx(mine["nats"] / math.log(2) / mine["bytes"])
    shutil.copytree("data/tiny", "data/twin")
    words = ["--tasks=bpb", "--dataset=tiny:0.5,twin:0.5", "--eval_tokens=200"]
    status, out, _ = inkling("evaluate", "writer", *words, *ON_CPU)
    assert status == 0 and "weighted" in out
    assert report("bpb")["bits_per_byte"] == pytest.approx(val_loss / math.log(2), rel=1e-5)


def test_what_bits_per_byte_refuses(writer, inkling):
    Path("latin.txt").write_bytes(b"caf\xe9")
    Path("a.txt").write_text("a", encoding="utf-8")
    with DatasetWriter(Path("data/chars"), char_tokenizer("abc"), "test") as other:
        other.train.add(["abc"])
        other.val.add(["cba"])
    for words, says in [
        (["--text=none.txt"], "No such file"),
        (["--text=latin.txt"], "latin.txt is not UTF-8"),
        (["--text=a.txt"], "nothing to predict"),
        (["--text=a.txt", "--dataset=tiny"], "Give one of them"),
        (["--dataset=none"], "There is no data set none"),
        (["--dataset=chars"], "another tokenizer"),
        (["--batch_size=0"], "batch_size=0"),
        (["--eval_tokens=-1"], "eval_tokens=-1"),
    ]:
        status, _, err = inkling("evaluate", "writer", "--tasks=bpb", *words, *ON_CPU)
        assert status in (1, 2) and says in err and "Traceback" not in err, words
    Path("runs/writer/resolved.toml").unlink()
    status, _, err = inkling("evaluate", "writer", "--tasks=bpb", *ON_CPU)
    assert status == 2 and "--dataset=NAME, or --text=FILE" in err


@pytest.mark.skipif(not (SHARED / "gpt2" / "vocab.bpe").exists(), reason="needs GPT-2's vocabulary in ../shared/data")
def test_gpt2s_mark_of_an_end_stands_before_a_text():
    tokenizer = gpt2_tokenizer(SHARED / "gpt2")
    assert beginning(tokenizer) == [50256] and byte_lengths(tokenizer)[50256] == 0
