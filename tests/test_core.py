"""CORE on a tiny bundle whose scores are worked out by hand, on a model that knows the alphabet and nothing else."""

import io
import json
import random
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import clean_environment, flags
from inkling.errors import UserError
from inkling.evals.core import fetch
from inkling.evals.core.bundle import CoreTask, read_bundle
from inkling.evals.core.fetch import find_bundle
from inkling.evals.core.prompts import examples, render, spans
from inkling.evals.core.score import PUBLISHED, core_of, pick, run_task, score_question, table_rows
from inkling.evals.likelihood import Scored, Span
from inkling.hub import load
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT
from inkling.runtime import Runtime
from inkling.text.tokenizer_sources import byte_tokenizer
from test_conversation import TOKENIZER
from test_likelihood import make_model, trained_bpe

ALONE = Runtime("cpu", "float32", False, 1)
ON_CPU = flags({"device": "cpu", "threads": 1, "dtype": "float32"})


def alphabet_model(block_size=256) -> GPT:
    """Weights set by hand: after each letter the next one of the alphabet has logit 3, all else has 0.

    Blocks add nothing, so the stream is the token's own direction, and the head is a table of (next, this).
    """
    shape = {"n_layer": 1, "n_head": 1, "n_embd": 272, "norm": "rmsnorm_weightless", "position": "rotary"}
    model = GPT(GPTConfig(vocab_size=265, block_size=block_size, tie_weights=False, **shape), seed=1).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("c_proj.weight"):
            parameter.data.zero_()
    model.transformer["wte"].weight.data = torch.eye(265, 272)
    table = torch.zeros(265, 272)
    for this, following in zip(b"abcdefghijklmnopqrstuvwxy", b"bcdefghijklmnopqrstuvwxyz", strict=True):
        table[following, this] = 3 / 272**0.5  # the norm makes the one in the stream √272
    model.lm_head.weight.data = table
    return model


TASKS = {
    # 4 questions, 3 right: the third's gold is wrong. The last is right per token, and would not be by the sum.
    "letters": [
        {"query": "abc", "choices": ["def", "fed"], "gold": 0},
        {"query": "abc", "choices": ["zzz", "def"], "gold": 1},
        {"query": "mno", "choices": ["pqr", "rqp"], "gold": 1},
        {"query": "abc", "choices": ["defx", "z"], "gold": 0},
    ],
    # 3 questions, 2 right.
    "contexts": [
        {"context_options": ["xa", "xk"], "continuation": "bcd", "gold": 0},
        {"context_options": ["say k", "say long a"], "continuation": "bcd", "gold": 1},
        {"context_options": ["xa", "xk"], "continuation": "lmn", "gold": 0},
    ],
    # 4 questions, 1 right: every letter must be the likeliest.
    "words": [
        {"context": "  abc ", "continuation": "def"},
        {"context": "abc", "continuation": "dee"},
        {"context": "abc", "continuation": "xyz"},
        {"context": "abc", "continuation": "d ef"},
    ],
}
YAML = """\
icl_tasks:
-
  label: letters
  dataset_uri: reasoning/letters.jsonl
  num_fewshot: [0, 5]
  icl_task_type: multiple_choice
  continuation_delimiter: ""
- {label: contexts, dataset_uri: contexts.jsonl, num_fewshot: [1], icl_task_type: schema, continuation_delimiter: ""}
- {label: words, dataset_uri: words.jsonl, num_fewshot: [2], icl_task_type: language_modeling,
   continuation_delimiter: ""}
"""
CSV = "Eval Task,Task Category,Random baseline\nletters,x,50\ncontexts,x,50.0\nwords,x,0\n"
# (3/4 - 1/2) / (1 - 1/2), (2/3 - 1/2) / (1 - 1/2), 1/4, and their mean
CENTRED = [1 / 2, 1 / 3, 1 / 4]
CORE = 13 / 36


@pytest.fixture
def bundle(tmp_path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "eval_data" / "reasoning").mkdir(parents=True)
    (folder / "core.yaml").write_text(YAML, encoding="utf-8")
    (folder / "eval_meta_data.csv").write_text(CSV, encoding="utf-8")
    for name, items in TASKS.items():
        file = folder / "eval_data" / ("reasoning/letters.jsonl" if name == "letters" else f"{name}.jsonl")
        file.write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")
    return folder


def test_scores_are_those_worked_out_by_hand(bundle):
    for tokenizer in (TOKENIZER, byte_tokenizer()):  # with a mark to begin with, and without
        for batch_size in (1, 2, 64):
            tasks = read_bundle(bundle)
            results = [run_task(alphabet_model(), tokenizer, task, batch_size, ALONE) for task in tasks]
            assert [(sum(result.is_right), len(result.is_right)) for result in results] == [(3, 4), (2, 3), (1, 4)]
            assert [result.centred for result in results] == pytest.approx(CENTRED)
            assert core_of(results) == pytest.approx(CORE)
    rows = table_rows(results)
    assert rows[0] == ["letters", "75.0%", "4", "0", "50.0%", "0.5000"]
    assert rows[3] == ["CORE", "", "", "", "", "0.3611"]
    assert rows[4][0] == "GPT-2 small (published)" and rows[4][-1] == "0.1139" and len(rows) == 4 + len(PUBLISHED)


def test_nats_of_an_option_by_hand():
    """The next letter has e³ / (e³ + 264), every other token 1 / (e³ + 264)."""
    task = CoreTask("letters", "multiple_choice", 0, "", 0.5, tuple(TASKS["letters"]))
    first, second = score_question(alphabet_model(), TOKENIZER, task, 3)
    sum_of_all = torch.tensor(3.0).exp().add(264).log().item()
    # The norm's ε takes a thousandth of the 3.
    assert first.nats == pytest.approx(4 * sum_of_all - 9, abs=0.02) and first.tokens == 4, "d, e, f; not x"
    assert second.nats == pytest.approx(sum_of_all, abs=0.02) and second.tokens == 1
    assert first.nats > second.nats and pick(task, [first, second]) == 0


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_batches_equal_one_option_at_a_time(bundle, kind):
    tokenizer = TOKENIZER if kind == "bytes" else trained_bpe()
    for block_size in (64, 24):  # the longest prompts lose their beginning
        model = make_model(tokenizer.vocab_size, block_size=block_size)
        for task in read_bundle(bundle):
            alone = [score_question(model, tokenizer, task, index) for index in range(len(task.items))]
            for batch_size in (1, 3, 64):
                assert run_task(model, tokenizer, task, batch_size, ALONE).picked == tuple(
                    pick(task, scored) for scored in alone
                )


def test_the_picks_of_ranks_make_the_whole(bundle, monkeypatch):
    shares: list[list[float]] = []
    monkeypatch.setattr(
        "inkling.evals.core.score.sum_over_ranks", lambda values, runtime: shares.append(values) or values
    )
    for task in read_bundle(bundle):
        shares.clear()
        for rank in range(2):
            run_task(alphabet_model(), TOKENIZER, task, 2, replace(ALONE, rank=rank, world_size=2))
        together = tuple(int(sum(picks)) for picks in zip(*shares, strict=True))
        assert together == run_task(alphabet_model(), TOKENIZER, task, 2, ALONE).picked


# --- prompts ---------------------------------------------------------------------------------------------


def test_examples_are_the_published_draws():
    items = tuple({"context": str(i), "continuation": "x"} for i in range(30))
    task = CoreTask("t", "language_modeling", 10, " ", 0.0, items)
    for index in (0, 7, 29):
        others = [i for i in range(30) if i != index]
        assert examples(task, index) == random.Random(1234 + index).sample(others, 10)


def test_questions_are_shuffled_as_published_and_then_cut(bundle):
    order = list(TASKS["words"])
    random.Random(1337).shuffle(order)
    assert list(read_bundle(bundle)[2].items) == order
    assert list(read_bundle(bundle, 3)[2].items) == order[:3]


def test_prompts_as_they_are_asked():
    choice = {"query": "Sky?", "choices": ["red", "blue"], "gold": 1}
    other = {"query": "Sun?", "choices": ["hot", 3], "gold": 0}
    task = CoreTask("t", "multiple_choice", 1, "\nAnswer: ", 0.5, (choice, other))
    assert render(task, 1) == [
        "Sky?\nAnswer: blue\n\nSun?\nAnswer: hot",
        "Sky?\nAnswer: blue\n\nSun?\nAnswer: 3",
    ]
    schema = [{"context_options": ["Jim", "Kim"], "continuation": "ran.", "gold": i} for i in (0, 1)]
    assert render(CoreTask("t", "schema", 1, " ", 0.5, tuple(schema)), 0) == [
        "Kim ran.\n\nJim ran.",
        "Kim ran.\n\nKim ran.",
    ]
    texts = [{"context": " To be or not to \n", "continuation": "be"}, {"context": "One two", "continuation": "three"}]
    assert render(CoreTask("t", "language_modeling", 1, " ", 0.0, tuple(texts)), 0) == [
        "One two three\n\nTo be or not to",
        "One two three\n\nTo be or not to be",
    ]


def ask(kind, item, block_size=100, tokenizer=TOKENIZER):
    return spans(CoreTask("t", kind, 0, " ", 0.0, (item,)), 0, tokenizer, block_size)


def test_what_is_scored():
    bos = TOKENIZER.bos
    # Options that begin alike: what they share is not scored.
    found = ask("multiple_choice", {"query": "q", "choices": ["ab", "ac"], "gold": 0})
    assert found == [Span([bos, *b"q ab"], 4), Span([bos, *b"q ac"], 4)]
    # One is the beginning of the other: a token of it is scored all the same.
    found = ask("multiple_choice", {"query": "q", "choices": ["ab", "abc"], "gold": 0})
    assert [span.start for span in found] == [4, 4]
    found = ask("schema", {"context_options": ["x", "yy"], "continuation": "go", "gold": 0})
    assert found == [Span([bos, *b"x go"], 2), Span([bos, *b"yy go"], 3)]
    assert ask("language_modeling", {"context": "to", "continuation": "be"}) == [Span([bos, *b"to be"], 3)]
    # Without a mark, and with nothing in common, the first token cannot be scored.
    found = ask("multiple_choice", {"query": "", "choices": ["a", "b"], "gold": 0}, tokenizer=byte_tokenizer())
    assert [span.start for span in found] == [1, 1]
    # Too long: the beginning is lost.
    (span,) = ask("language_modeling", {"context": "to", "continuation": "be"}, block_size=4)
    assert span == Span([*b"o be"], 1)


def test_the_first_of_equals_is_picked():
    task = CoreTask("t", "schema", 0, " ", 0.5, ())
    assert pick(task, [Scored(4.0, 2, False), Scored(2.0, 1, True), Scored(6.0, 3, False)]) == 0


# --- bundles that are bad, and the download --------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("core.yaml", None, "has no .*core.yaml"),
        ("core.yaml", "icl_tasks: [", "is not a list of CORE's tasks"),
        ("core.yaml", "tasks: []", "is not a list of CORE's tasks"),
        ("core.yaml", "icl_tasks: []", "is not a list of CORE's tasks"),
        ("core.yaml", YAML.replace("schema", "cloze"), "'cloze'"),
        ("core.yaml", YAML.replace("[2]", "[]"), "is not a list"),
        ("core.yaml", YAML.replace("[2]", "[4]"), "words shows 4 examples"),
        ("eval_meta_data.csv", None, "has no .*eval_meta_data.csv"),
        ("eval_meta_data.csv", "a,b\n1,2\n", "lacks the columns"),
        ("eval_meta_data.csv", CSV.replace("words,x,0", "words,x,none"), "lacks the columns"),
        ("eval_meta_data.csv", CSV.replace("words", "swords"), "guessing scores in words"),
        ("eval_data/words.jsonl", None, "has no .*words.jsonl"),
        ("eval_data/words.jsonl", "\n", "no question in"),
        ("eval_data/words.jsonl", '{"context": "a"}\n', "Line 1 of .*words.jsonl"),
        ("eval_data/words.jsonl", '{"context": "a", "continuation": "b"}\n{oops\n', "Line 2 of .*words.jsonl"),
        ("eval_data/words.jsonl", "[1]\n", "Line 1"),
        ("eval_data/contexts.jsonl", '{"context_options": ["a", "b"], "continuation": "c", "gold": 2}', "Line 1"),
        ("eval_data/contexts.jsonl", '{"context_options": "ab", "continuation": "c", "gold": 0}', "Line 1"),
    ],
)
def test_a_bad_bundle_is_said(bundle, file, text, says):
    (bundle / file).unlink()
    if text is not None:
        (bundle / file).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=says) as raised:
        read_bundle(bundle)
    assert raised.value.remedy


def test_without_yaml_the_extra_is_named(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(UserError, match=r"inkling-lm\[eval\]"):
        read_bundle(bundle)


def zipped(bundle: Path) -> bytes:
    """As it is published: in a folder, with what macOS adds."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path for path in bundle.rglob("*") if path.is_file()):
            archive.write(file, f"eval_bundle/{file.relative_to(bundle).as_posix()}")
        archive.writestr("__MACOSX/eval_bundle/._core.yaml", "junk")
        archive.writestr("eval_bundle/../../escaped/eval_data/x", "out")
    return out.getvalue()


class Server:
    """Answers like a server of files: parts on request, cut after `cut` bytes the first time."""

    def __init__(self, content: bytes, cut: int = 0) -> None:
        self.content, self.cut, self.asked = content, cut, []

    def get(self, url, stream, timeout, headers):
        start = int(headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.asked.append(start)
        self.status_code = 206 if start < len(self.content) else 416
        end = self.cut or len(self.content)
        self.cut = 0
        self.part = self.content[start:end]
        self.headers = {"Content-Range": f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"}
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def raise_for_status(self):
        assert self.status_code == 206

    def iter_content(self, size):
        return (self.part[i : i + 100] for i in range(0, len(self.part), 100))


def test_the_bundle_is_fetched_once_and_goes_on_where_it_was_cut(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = Server(zipped(bundle), cut=300)
    monkeypatch.setattr("requests.get", server.get)
    with pytest.raises(UserError, match="was cut: 300 of") as raised:
        find_bundle("")
    assert "--bundle=PATH" in raised.value.remedy and not Path("data/eval_bundle").exists()
    assert find_bundle("") == fetch.HOME and server.asked == [0, 300]
    assert [task.label for task in read_bundle(fetch.HOME)] == ["letters", "contexts", "words"]
    assert sorted(path.name for path in Path("data").iterdir()) == ["eval_bundle", "eval_bundle.zip"]
    assert not list(tmp_path.rglob("escaped/eval_data/../../../escaped")) and not (tmp_path / "escaped").exists()
    find_bundle("")
    assert server.asked == [0, 300], "what is there is not fetched again"


def test_a_damaged_download_is_thrown_away(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = bytearray(zipped(bundle))
    content[60] ^= 255
    monkeypatch.setattr("requests.get", Server(bytes(content)).get)
    with pytest.raises(UserError, match="damaged"):
        find_bundle("")
    assert list(Path("data").iterdir()) == []


def test_without_a_network(tmp_path, monkeypatch):
    import requests

    def refuse(*url, **options):
        raise requests.ConnectionError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("requests.get", refuse)
    with pytest.raises(UserError, match="could not be fetched") as raised:
        find_bundle("")
    assert fetch.URL in raised.value.remedy


def test_a_bundle_by_its_path(bundle, tmp_path):
    assert find_bundle(str(bundle)) == bundle
    archive = tmp_path / "mine.zip"
    archive.write_bytes(zipped(bundle))
    assert (find_bundle(str(archive)) / "core.yaml").is_file()
    with pytest.raises(UserError, match=r"There is no core.yaml"):
        find_bundle(str(tmp_path / "none"))
    archive.with_suffix(".zip").write_bytes(b"no zip")
    with pytest.raises(UserError, match="damaged"):
        find_bundle(str(archive.rename(tmp_path / "other.zip")))
    assert (tmp_path / "other.zip").exists(), "a file of the person's own is left alone"


# --- the verb --------------------------------------------------------------------------------------------


@pytest.fixture
def writer(tiny, inkling):
    """A run of one step on bytes, without marks."""
    changes = {"max_iters": 1, "block_size": 64}
    assert inkling("train", "tiny.toml", "--out_dir=runs/writer", *flags(changes))[0] == 0
    return tiny


def report(name: str) -> dict:
    return json.loads(Path(f"runs/writer/evaluations/{name}.json").read_text(encoding="utf-8"))


def test_core_of_a_run(writer, bundle, inkling, monkeypatch):
    monkeypatch.setattr(load, "load_weights", lambda weights, device, dtype: (alphabet_model(), TOKENIZER))
    status, out, err = inkling("evaluate", "writer", "--tasks=core", f"--bundle={bundle}", *ON_CPU)
    assert (status, err) == (0, "")
    assert "CORE, 3 tasks of" in out and "writer at step 1" in out and "GPT-2 XL (published)" in out
    found = report("core")
    assert found["core"] == pytest.approx(CORE) and found["settings"]["max_per_task"] == 0
    assert found["tasks"]["letters"]["right"] == 3 and found["tasks"]["letters"]["baseline"] == 0.5
    assert len(found["tasks"]["words"]["picked"]) == 4
    status, _, err = inkling("evaluate", "writer", "--tasks=core", f"--bundle={bundle}", "--max_per_task=2", *ON_CPU)
    assert status == 1 and "Raise --max_per_task" in err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="torchrun needs a POSIX system here")
def test_two_processes_measure_what_one_does(writer, bundle, inkling):
    words = ["evaluate", "writer", "--tasks=bpb,core", f"--bundle={bundle}", "--eval_tokens=500", *ON_CPU]
    assert inkling(*words)[0] == 0
    one = report("bpb"), report("core")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone"]
    launched = [*launcher, "-m", "inkling", *words, "--batch_size=3"]
    done = subprocess.run(launched, capture_output=True, text=True, env=clean_environment(), timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("bits per byte: writer") == 1, "rank 0 alone prints"
    two = report("bpb"), report("core")
    assert two[0]["bits_per_byte"] == pytest.approx(one[0]["bits_per_byte"], rel=1e-6)
    assert two[0]["texts"]["tiny"]["tokens"] == one[0]["texts"]["tiny"]["tokens"] == 499
    assert two[1]["tasks"] == one[1]["tasks"] and two[1]["core"] == one[1]["core"]
    assert two[1]["settings"]["batch_size"] == 3
