"""Evaluation: many replies at once, scores by hand, and the verb on a run."""

import json
import math
from pathlib import Path

import pytest
import torch

from conftest import flags
from inkling.errors import UserError
from inkling.evals import answers
from inkling.evals.answers import Reply, answer_all
from inkling.evals.scores import Graded, Score, as_json, grade_all, mean_score, score_by_kind, table_rows, wilson
from inkling.hub import load
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT
from inkling.runtime import RuntimeSettings
from inkling.stages import evaluate
from inkling.stages.evaluate import EvaluateSettings
from inkling.tasks import TASKS, TaskSettings, find_task
from inkling.tasks.task import Question
from inkling.text.tokenizer_sources import byte_tokenizer
from test_chat import make_talker
from test_conversation import TOKENIZER, says, system, user
from test_dialogue import MARKS, NOISE, tokens

ON_CPU = {"device": "cpu", "threads": 1, "dtype": "float32"}
ONE_THREAD = RuntimeSettings(**ON_CPU)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Models as small as these wait longer for a second thread than it helps them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class ManyByHeart(GPT):
    """`test_dialogue.ByHeart` for many rows at once: what each row has read, it reads from the cache's keys.

    So a cache that mixes its rows up gives wrong answers.
    """

    def __init__(self, answers, block_size=256):
        super().__init__(GPTConfig(vocab_size=265, n_layer=1, n_head=1, n_embd=8, block_size=block_size), seed=1)
        self.eval()
        self.answers = {question: answer and tokens(answer) for question, answer in answers.items()}
        self.rows = 0  # the most that decoded at once

    def hidden(self, ids, cache=None, documents=None):
        B, T = ids.shape
        cache.positions(T)
        keys, _ = cache.update(0, *[ids.float().view(B, 1, T, 1).expand(B, 1, T, 8)] * 2)
        cache.advance(T)
        self.seen = [keys[i, 0, :length, 0].long().tolist() for i, length in enumerate(cache.lengths)]
        return torch.zeros(B, T, 8)

    def head(self, x):
        logits = torch.full((len(x), 265), -100.0)
        # The batch is filled up to a fixed size with rows that nobody asked for.
        asked_of = [row for row, seen in enumerate(self.seen) if MARKS["<|assistant_start|>"] in seen]
        self.rows = max(self.rows, len(asked_of))
        for row in asked_of:
            seen = self.seen[row]
            start = len(seen) - seen[::-1].index(MARKS["<|assistant_start|>"])
            asked = TOKENIZER.decode(seen[:start]).split("<|user_start|>")[-1].split("<|user_end|>")[0]
            answer = self.answers.get(asked.split("\n")[-1], tokens("?[ae]"))
            place = len(seen) - start
            logits[row, NOISE[place % len(NOISE)] if answer is None else answer[min(place, len(answer) - 1)]] = 100.0
        return logits


ANSWERS = {
    "hi": "hello[ae]",
    "sum": "See: [ps]12*3[pe][os]36[oe] so 36.[ae]",
    "division": "[ps]1/0[pe][os]error[oe]oh[ae]",
    "endless": None,
    "silence": "[ae]",
}


# --- many replies ----------------------------------------------------------------------------------------


def test_all_are_answered_in_their_order():
    model = ManyByHeart(ANSWERS)
    finished = []
    asked = ["sum", "hi", "endless", "what", "silence", "division", "x" * 300, "hi"]
    replies = answer_all(
        model, TOKENIZER, [[user(text)] for text in asked], max_new_tokens=30, progress=finished.append
    )
    assert [reply.text for reply in replies] == ["See:  so 36.", "hello", "tick " * 6, "?", "", "oh", "", "hello"]
    assert [reply.end for reply in replies] == ["said", "said", "cut", "said", "said", "said", "too long", "said"]
    assert replies[0].shown == "See: [12*3 → 36] so 36." and replies[5].shown == "[1/0 → error]oh"
    assert [reply.tokens for reply in replies] == [len(tokens(ANSWERS["sum"])), 6, 30, 2, 1, 15, 0, 6]
    assert sum(finished) == 8
    assert model.rows == 7, "in one batch"
    assert answer_all(model, TOKENIZER, []) == []


def test_without_tools():
    model = ManyByHeart({"sum": "[ps]1+1[pe][os]error[oe]oh[ae]"})
    (reply,) = answer_all(model, TOKENIZER, [[user("sum")]], tools={})
    assert reply.shown == "[1+1 → error]oh"


def test_the_oldest_turns_are_left_out_and_the_system_text_is_kept():
    model = ManyByHeart(ANSWERS, block_size=64)
    talk = [system("Hm."), *[user("who"), says("me, I say")] * 9, user("hi")]
    (reply,) = answer_all(model, TOKENIZER, [talk], max_new_tokens=100)
    assert reply.text == "hello"
    (seen,) = model.seen
    assert TOKENIZER.decode(seen).startswith("<|bos|><|user_start|>Hm.\n\nwho") and len(seen) <= 64
    (reply,) = answer_all(model, TOKENIZER, [[user("endless")]], max_new_tokens=100)
    assert reply.end == "cut" and reply.tokens == 64 - len("endless") - 4, "up to the end of the context"


def test_replies_do_not_depend_on_their_neighbours(monkeypatch):
    model = GPT(GPTConfig(vocab_size=265, n_layer=2, n_head=2, n_embd=32, block_size=128), seed=1).eval()
    for parameter in model.parameters():  # far apart, so that rounding decides nothing
        parameter.data *= 3
    dialogues = [[user("abcdefgh"[: 1 + i % 8] * (1 + i % 3))] for i in range(30)]
    together = answer_all(model, TOKENIZER, dialogues, max_new_tokens=20)
    assert len({reply.text for reply in together}) > 10
    assert [answer_all(model, TOKENIZER, [each], max_new_tokens=20)[0] for each in dialogues] == together
    assert answer_all(model, TOKENIZER, dialogues[::-1], max_new_tokens=20) == together[::-1]
    monkeypatch.setattr(answers, "MAX_CACHE_BYTES", 100_000)  # fewer rows at once
    assert answer_all(model, TOKENIZER, dialogues, max_new_tokens=20) == together


def test_the_cache_is_bounded(monkeypatch):
    model = ManyByHeart(ANSWERS)
    one_row = 2 * 4 * 8 * (len("hi") + 4 + 10)  # keys and values, float32, 8 wide, the prompt and 10 tokens
    monkeypatch.setattr(answers, "MAX_CACHE_BYTES", 5 * one_row)
    assert {reply.text for reply in answer_all(model, TOKENIZER, [[user("hi")]] * 20, 10)} == {"hello"}
    assert model.rows == 5


def test_what_cannot_be_answered():
    model = ManyByHeart(ANSWERS)
    with pytest.raises(UserError, match="no marks for conversations"):
        answer_all(model, byte_tokenizer(), [[user("hi")]])
    for messages, match in [
        ([user("hi"), says("yo")], "nothing to answer"),
        ([system("Hm.")], "no question"),
        ([], "empty"),
    ]:
        with pytest.raises(UserError, match=match):
            answer_all(model, TOKENIZER, [messages])


# --- scores ----------------------------------------------------------------------------------------------


def graded(kind, *marks):
    return [Graded(Question(kind, [user("?")], ("yes",)), Reply("no", "no", 1, "said"), mark) for mark in marks]


def test_scores_by_kind_and_their_mean():
    scores = score_by_kind([*graded("b", True, False), *graded("a", True), *graded("b", True, True)])
    assert scores == [Score("b", 3, 4), Score("a", 1, 1)]
    assert mean_score(scores) == (0.75 + 1) / 2, "not 4 of 5"
    assert [row[0] for row in table_rows(scores)] == ["b", "a", "mean of 2 kinds"]
    assert table_rows(scores)[0] == ["b", "75.0%", "30% – 95%", "3 / 4"]
    assert len(table_rows(scores[:1])) == 1, "the mean of one kind is that kind"


@pytest.mark.parametrize("right", [0, 1, 20, 73, 99, 100])
def test_wilsons_interval_solves_its_equation(right):
    """Its ends are the true shares from which the one that was seen is 1.96 standard deviations away."""
    low, high = wilson(right, 100)
    assert 0 <= low <= right / 100 <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            distance = abs(right / 100 - end) / math.sqrt(end * (1 - end) / 100)
            assert distance == pytest.approx(1.959964)
    assert wilson(0, 100)[0] == 0 and wilson(100, 100)[1] == pytest.approx(1)
    assert wilson(right * 10, 1000)[1] - wilson(right * 10, 1000)[0] < high - low


def test_a_question_that_was_not_read_is_not_answered():
    class Lenient:
        def grade(self, question, reply):
            return True

    questions = [Question("a", [user("?")], ())] * 2
    replies = [Reply("", "", 0, "too long"), Reply("", "", 1, "said")]
    assert [item.is_right for item in grade_all(Lenient(), questions, replies)] == [False, True]


def test_json_holds_scores_and_answers():
    report = json.loads(json.dumps(as_json([*graded("a", True, False), *graded("b", True)])))
    assert report["mean"] == 0.75
    assert report["kinds"]["a"]["share"] == 0.5 and report["kinds"]["a"]["asked"] == 2
    assert [answer["right"] for answer in report["answers"]] == [True, False, True]
    assert report["answers"][0]["messages"] == [user("?")] and report["answers"][0]["expected"] == ["yes"]


# --- the verb --------------------------------------------------------------------------------------------


@pytest.fixture
def runs(tiny, inkling):
    """A run `talker` of one step whose tokenizer has marks, and a file of three conversations."""
    make_talker(inkling)
    talks = [("hi", "Hello!"), ("sum", "36"), ("endless", "tock")]
    lines = [json.dumps([user(question), says(answer)]) for question, answer in talks]
    Path("mine.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tiny


def test_evaluate_a_run(runs, inkling):
    words = ["evaluate", "talker", "--tasks=almanac,mine.jsonl", "--max_questions=2", "--max_new_tokens=8"]
    status, out, err = inkling(*words, *flags(ON_CPU))
    assert (status, err) == (0, "")
    assert "almanac: talker at step 1, 20 questions in" in out and "mean of 10 kinds" in out
    assert "mine: talker at step 1, 3 questions" not in out and "mine: talker at step 1, 2 questions" in out
    report = json.loads(Path("runs/talker/evaluations/almanac.json").read_text(encoding="utf-8"))
    assert (report["step"], report["checkpoint"], report["run"]) == (1, "step-000001", "talker")
    assert report["settings"]["max_questions"] == 2 and report["settings"]["dtype"] == "float32"
    assert report["settings"]["seed"] == 1337 and report["seconds"] > 0
    assert len(report["answers"]) == 20 and len(report["kinds"]) == 10
    assert sum(kind["right"] for kind in report["kinds"].values()) == sum(a["right"] for a in report["answers"])
    assert [path.name for path in sorted(Path("runs/talker/evaluations").iterdir())] == ["almanac.json", "mine.json"]


def test_a_checkpoint_is_evaluated_into_its_run(runs, inkling):
    checkpoint = "runs/talker/checkpoints/step-000001"
    assert inkling("evaluate", checkpoint, "--tasks=mine.jsonl", "--max_new_tokens=8", *flags(ON_CPU))[0] == 0
    assert Path("runs/talker/evaluations/mine.json").is_file()
    assert not Path(checkpoint, "evaluations").exists()


def test_what_is_printed(runs, monkeypatch, capfd):
    model = ManyByHeart(ANSWERS | {"hi": "hello\x1b[2J\nthere[ae]"}, block_size=64)
    monkeypatch.setattr(load, "load_weights", lambda weights, device, dtype: (model, TOKENIZER))
    settings = EvaluateSettings(tasks="mine.jsonl", max_new_tokens=40, show=1, runtime=ONE_THREAD)
    results = evaluate.main("talker", settings)
    assert [item.is_right for item in results["mine"]] == [True, True, False]
    out = capfd.readouterr().out
    assert [" ".join(line.split()) for line in out.splitlines()[1:]] == [
        "kind right 95 % interval of",
        "mine 66.7% 21% – 94% 2 / 3",
        "",
        "(1 answers were cut: they reached --max_new_tokens, or the end of the context.)",
        "wrong, for example:",
        "mine: endless",
        "→ tick tick tick tick tick tick tick tick (tock)",
        "right, for example:",
        "mine: hi",
        "→ hello�[2J there",
        "→ runs/talker/evaluations/mine.json".replace("/", str(Path("/"))),
        "",
    ]
    evaluate.main("talker", EvaluateSettings(tasks="mine.jsonl", show=0, runtime=ONE_THREAD))
    assert "example" not in capfd.readouterr().out


def test_a_new_task_is_a_class_and_a_line(runs, inkling, monkeypatch):
    """The example of CONTRIBUTING.md."""

    class Echo:
        name = "echo"

        def conversations(self, seed):
            return ([*question.messages, says(question.expected[0])] for question in self.questions(seed, 100))

        def questions(self, seed, count):
            return [Question("word", [user(f"Say {word}.")], (word,)) for word in ("ink", "pen", "paper")[:count]]

        def grade(self, question, reply):
            return question.expected[0] in reply

    monkeypatch.setitem(TASKS, "echo", lambda settings: Echo())
    assert next(find_task("echo", TaskSettings()).conversations(1)) == [user("Say ink."), says("ink")]
    status, out, _ = inkling("evaluate", "talker", "--tasks=echo", "--max_new_tokens=5", *flags(ON_CPU))
    assert status == 0 and "echo: talker at step 1, 3 questions" in out


def test_what_the_verb_refuses(runs, inkling):
    Path("empty.jsonl").write_text("\n", encoding="utf-8")
    step = flags({"max_iters": 1})
    assert inkling("train", "tiny.toml", "--out_dir=runs/writer", *step)[0] == 0
    for words, says_ in [
        (["writer"], "writer cannot be asked: its tokenizer has no marks"),
        (["writer"], "inkling sample writer"),
        (["none"], "There is no run 'none'"),
        ([], "evaluate takes one RUN"),
        (["talker", "--tasks=almanack"], "Did you mean almanac?"),
        (["talker", "--tasks=empty.jsonl"], "There is no conversation in empty.jsonl"),
        (["talker", "--tasks=none.jsonl"], "No such file"),
        (["talker", "--tables=none"], "no folder none"),
        (["talker", "--max_questions=0"], "max_questions=0"),
        (["talker", "--max_new_tokens=0"], "max_new_tokens=0"),
        (["talker", "--show=-1"], "show=-1"),
        (["talker", "--task=almanac"], "--tasks"),
    ]:
        status, out, err = inkling("evaluate", *words)
        assert status in (1, 2) and out == "", words
        assert says_ in err and "Traceback" not in err
    assert not Path("runs/talker/evaluations").exists()
