"""lm-evaluation-harness on our models: one local task of each type, and the same figures from our own scoring."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conftest import flags
from inkling.errors import UserError
from inkling.evals import harness
from inkling.evals.bpb import count_text
from inkling.evals.harness import HarnessAnswers, harness_model, rolling_spans, run_harness
from inkling.evals.likelihood import Span, score_alone
from inkling.hub import load
from inkling.infer.engine import generate
from inkling.text.tokenizer_sources import byte_tokenizer
from test_core import ALONE, ON_CPU, TOKENIZER, alphabet_model
from test_likelihood import make_model, numbers, trained_bpe


def asked(*args):
    return SimpleNamespace(args=args)


def letters_model():
    """Far from uniform, and says letters rather than marks or halves of characters."""
    model = make_model(265, block_size=64, tie_weights=False)
    model.lm_head.weight.data[:32] = model.lm_head.weight.data[127:] = 0
    model.lm_head.weight.data[32:127] *= 3
    return model


def nats_by_hand(model, ids: list[int], start: int) -> float:
    logits = model(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
    return -sum(logits[place - 1, ids[place]].item() for place in range(start, len(ids)))


# --- what the harness asks, without the harness ----------------------------------------------------------


def test_likelihoods_are_sums_over_the_continuation():
    model, answers = letters_model(), HarnessAnswers(letters_model(), TOKENIZER, batch_size=3)
    pairs = [("The sky is", " blue"), ("The sky is", " red"), ("One", " two three"), ("The sky is", " green")]
    bos = TOKENIZER.bos
    for (context, continuation), (likelihood, is_greedy) in zip(
        pairs, answers.loglikelihood([asked(*pair) for pair in pairs]), strict=True
    ):
        ids = [bos, *TOKENIZER.encode(context + continuation)]
        assert likelihood == pytest.approx(-nats_by_hand(model, ids, 1 + len(context)), abs=1e-4) and not is_greedy
    said = generate(model, byte_tokenizer(), "xyz", 5, temperature=0)
    assert HarnessAnswers(model, byte_tokenizer()).loglikelihood([asked("xyz", said)])[0][1]


def test_edges_of_likelihoods():
    model = letters_model()
    answers = HarnessAnswers(model, TOKENIZER)
    bos, a = TOKENIZER.bos, ord("a")
    # A space at the end of the context belongs to the continuation.
    spaced, plain = answers.loglikelihood([asked("ab ", "c"), asked("ab", " c")])
    assert spaced == plain
    # No context: the mark stands there; without a mark the first token is not scored.
    assert answers.loglikelihood([asked("", "ab")])[0][0] == pytest.approx(
        -nats_by_hand(model, [bos, a, a + 1], 1), abs=1e-4
    )
    bare = HarnessAnswers(model, byte_tokenizer()).loglikelihood([asked("", "ab")])[0][0]
    assert bare == pytest.approx(-nats_by_hand(model, [a, a + 1], 1), abs=1e-4)
    # Too long: 65 ids are kept, of which the last is not read.
    long = answers.loglikelihood([asked("x" * 100, "ab")])[0][0]
    assert long == pytest.approx(-nats_by_hand(model, [*b"x" * 63, a, a + 1], 63), abs=1e-4)
    assert answers.loglikelihood([]) == []


def test_rolling_windows_score_every_token_once():
    for length, block_size in [(2, 4), (5, 4), (9, 4), (10, 4), (11, 4), (12, 5)]:
        ids = numbers(length, length)
        found, place = [], 1
        for span in rolling_spans(ids, block_size):
            scored = span.ids[span.start :]
            assert len(span.ids) <= block_size + 1 and len(scored) <= block_size
            assert ids[place : place + len(scored)] == scored
            place += len(scored)
            found.append(span)
        assert place == length
        assert all(len(span.ids) == block_size + 1 for span in found) or length <= block_size
    assert rolling_spans([1], 4) == []
    # The harness's own example: the last window sees all it can, and scores two.
    assert rolling_spans([99, *range(10)], 4)[-1] == Span([5, 6, 7, 8, 9], 3)


def test_rolling_likelihood_is_what_bits_per_byte_counts():
    for tokenizer in (TOKENIZER, trained_bpe(), byte_tokenizer()):
        model = make_model(tokenizer.vocab_size, block_size=64)
        texts = ["Ein Text, naïve 日本.", "short", ""]
        found = HarnessAnswers(model, tokenizer, 2).loglikelihood_rolling([asked(text) for text in texts])
        for text, likelihood in zip(texts[:2], found, strict=False):
            assert -likelihood == pytest.approx(count_text(model, tokenizer, text, 4, ALONE).nats, abs=1e-4)
        assert found[2] == 0


def test_generation_is_the_engines():
    model = letters_model()
    answers = HarnessAnswers(model, byte_tokenizer(), batch_size=2)
    plain = generate(model, byte_tokenizer(), "Once upon", 20, temperature=0)
    assert len(plain) == 20
    stop = plain[6:8]
    expected = generate(model, byte_tokenizer(), "Once upon", 20, temperature=0, stop=stop)
    assert expected == plain[: plain.index(stop)]
    requests = [
        asked("Once upon", {"until": [stop, "never said"], "max_gen_toks": 20}),
        asked("Once upon", {"until": stop, "max_gen_toks": 20, "do_sample": False, "temperature": 1.0}),
        asked("Once upon", {"max_gen_toks": 20}),
        asked("Once upon", {"until": []}),
        asked("z" * 100, {"max_gen_toks": 4}),
    ]
    found = answers.generate_until(requests)
    assert found[:3] == [expected, expected, plain]
    assert found[3].startswith(plain) and len(found[3]) == 32, "half of the context at most"
    assert found[4] == generate(model, byte_tokenizer(), "z" * 60, 4, temperature=0)


def test_a_mark_ends_an_answer():
    model = alphabet_model()
    model.lm_head.weight.data[TOKENIZER.bos, ord("e")] = 1.0  # after e comes a mark
    assert HarnessAnswers(model, TOKENIZER).generate_until([asked("abc", {"until": ["zz"]})]) == ["de"]


# --- the harness itself ----------------------------------------------------------------------------------


def write_tasks(folder: Path) -> None:
    """One task of each type, on letters."""
    folder.mkdir()
    choices = [
        {"question": "abc", "choices": ["def", "fed"], "gold": 0},
        {"question": "mno", "choices": ["zzz", "pqr"], "gold": 1},
        {"question": "abc", "choices": ["def", "ged"], "gold": 1},
    ]
    texts = [{"text": "abcdefg"}, {"text": "hello, wörld"}]
    answers = [{"question": "abc", "answer": "defg"}, {"question": "stu", "answer": "vwzz"}]
    for name, lines in {"choices": choices, "texts": texts, "answers": answers}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    common = "dataset_path: json\ntest_split: test\nmetadata: {version: 1.0}\n"
    data = {
        name: f"dataset_kwargs:\n  data_files:\n    test: {json.dumps((folder / f'{name}.jsonl').as_posix())}\n"
        for name in ("choices", "texts", "answers")
    }
    (folder / "tiny_choice.yaml").write_text(
        f"task: tiny_choice\n{common}{data['choices']}output_type: multiple_choice\n"
        'doc_to_text: "{{question}}"\ndoc_to_choice: "{{choices}}"\ndoc_to_target: gold\ntarget_delimiter: ""\n'
        "metric_list:\n  - {metric: acc, aggregation: mean, higher_is_better: true}\n",
        encoding="utf-8",
    )
    (folder / "tiny_rolling.yaml").write_text(
        f"task: tiny_rolling\n{common}{data['texts']}output_type: loglikelihood_rolling\n"
        'doc_to_text: ""\ndoc_to_target: "{{text}}"\n'
        "metric_list:\n  - {metric: bits_per_byte}\n  - {metric: byte_perplexity}\n",
        encoding="utf-8",
    )
    (folder / "tiny_until.yaml").write_text(
        f"task: tiny_until\n{common}{data['answers']}output_type: generate_until\n"
        'doc_to_text: "{{question}}"\ndoc_to_target: "{{answer}}"\n'
        'generation_kwargs: {until: ["h", "z"], max_gen_toks: 8, do_sample: false}\n'
        "metric_list:\n  - {metric: exact_match, aggregation: mean, higher_is_better: true}\n",
        encoding="utf-8",
    )


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    pytest.importorskip("lm_eval")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    write_tasks(tmp_path / "tasks")
    return str(tmp_path / "tasks")


@pytest.mark.slow  # 10 seconds and more are the harness's own start
def test_one_task_of_each_type(tasks):
    model = alphabet_model()
    lm = harness_model(model, TOKENIZER)
    found = run_harness(lm, "tiny_choice", tasks)
    assert found["tiny_choice"]["acc,none"] == pytest.approx(2 / 3)

    found = run_harness(lm, "tiny_rolling", tasks)
    texts = ["abcdefg", "hello, wörld"]
    counts = [count_text(model, TOKENIZER, text, 1, ALONE) for text in texts]
    bits = sum(each.nats for each in counts) / math.log(2) / sum(each.bytes for each in counts)
    assert found["tiny_rolling"]["bits_per_byte,none"] == pytest.approx(bits, abs=1e-4)

    found = run_harness(lm, "tiny_until", tasks)
    assert found["tiny_until"]["exact_match,none"] == 0.5, "defg, and vwxy instead of vwzz"
    assert generate(model, TOKENIZER, "abc", 8, temperature=0, stop="h") == "defg"

    ids = [TOKENIZER.bos, *b"abcdef"]
    likelihood, is_greedy = lm.loglikelihood([asked("abc", "def")])[0]
    assert likelihood == pytest.approx(-score_alone(model, Span(ids, 4)).nats, abs=1e-4) and is_greedy


def test_tasks_that_nobody_knows(tmp_path, monkeypatch):
    looked = []

    def manager(include_path, with_defaults):
        looked.append(with_defaults)
        return SimpleNamespace(all_tasks=["hellaswag"] if with_defaults else ["mine"])

    monkeypatch.setattr(harness, "_task_manager", manager)
    harness._manager_that_knows("mine", str(tmp_path))
    assert looked == [False], "the harness's own are not read for it"
    harness._manager_that_knows("hellaswag", str(tmp_path))
    assert looked == [False, False, True]
    with pytest.raises(UserError, match="no task 'helaswag'"):
        run_harness(None, "helaswag")
    with pytest.raises(UserError, match="no folder"):
        run_harness(None, "mine", str(tmp_path / "none"))


@pytest.mark.slow
def test_the_verb_runs_a_task_of_the_harness(tiny, inkling, tasks, monkeypatch):
    assert inkling("train", "tiny.toml", "--out_dir=runs/writer", *flags({"max_iters": 1}))[0] == 0
    monkeypatch.setattr(load, "load_weights", lambda weights, device, dtype: (alphabet_model(), TOKENIZER))
    words = ["--tasks=harness:tiny_choice,harness:tiny_until", f"--include_path={tasks}", *ON_CPU]
    status, out, err = inkling("evaluate", "writer", *words)
    assert status == 0, err
    assert "lm-evaluation-harness, tiny_choice: writer at step 1" in out and "0.6667" in out
    file = Path("runs/writer/evaluations/harness-tiny_until.json")
    assert json.loads(file.read_text(encoding="utf-8"))["results"]["tiny_until"]["exact_match,none"] == 0.5


def test_without_the_harness_the_extra_is_named(monkeypatch):
    def missing(name):
        raise ImportError

    monkeypatch.setattr("inkling.evals.harness.importlib.import_module", missing)
    with pytest.raises(UserError, match=r"inkling-lm\[harness\]"):
        harness_model(alphabet_model(), TOKENIZER)
