"""Questions asked by letters, several samples of an answer, pass@k and ChatCORE."""

import json
import math
from itertools import combinations
from pathlib import Path

import pytest
import torch

import published
from conftest import flags
from inkling.errors import UserError
from inkling.evals import answers
from inkling.evals.answers import Reply
from inkling.evals.asking import Asking, ask_all
from inkling.evals.chatcore import ChatCore, chatcore
from inkling.evals.choices import choose_all
from inkling.evals.passes import pass_at, passes_as_json, passes_by_kind, rows_of
from inkling.evals.scores import Graded
from inkling.hub import load
from inkling.infer import reading
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT
from inkling.stages import evaluate
from inkling.stages.evaluate import EvaluateSettings
from inkling.tasks import CHATCORE, TaskSettings, find_task, find_tasks
from inkling.tasks.letters import lettered
from inkling.tasks.task import Question
from inkling.text.conversation import prompt
from inkling.text.tokenizer_sources import byte_tokenizer
from test_chat import make_talker
from test_conversation import TOKENIZER, user
from test_evaluate import ON_CPU, ONE_THREAD, ManyByHeart, one_thread

assert one_thread  # a fixture, for all of this file


@pytest.fixture(scope="module")
def model():
    model = GPT(GPTConfig(vocab_size=265, n_layer=2, n_head=2, n_embd=32, block_size=256), seed=1).eval()
    for parameter in model.parameters():  # far apart, so that rounding decides nothing
        parameter.data *= 3
    return model


QUESTIONS = [
    lettered("a", "x" * (1 + 7 * i % 60), ["one", "two", "three", "four", "five"][: 2 + i % 4], 0) for i in range(40)
]


# --- by letters ------------------------------------------------------------------------------------------


def test_the_likeliest_letter_is_taken(model):
    replies = choose_all(model, TOKENIZER, QUESTIONS)
    assert len({reply.text for reply in replies}) > 2
    for question, reply in zip(QUESTIONS, replies, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt(question.messages, TOKENIZER)]))[0, -1]  # (V,), the plain way
        best = max(question.letters, key=lambda letter: logits[ord(letter)].item())
        assert reply == Reply(best, best, 1, "said")


def test_replies_do_not_depend_on_how_many_are_read_at_once(model, monkeypatch):
    together = choose_all(model, TOKENIZER, QUESTIONS)
    finished = []
    assert choose_all(model, TOKENIZER, QUESTIONS[::-1] * 2, finished.append) == together[::-1] * 2
    assert sum(finished) == 80
    for at_once in (1, 300, 10**6):
        monkeypatch.setattr(reading, "READ_TOGETHER", at_once)
        assert choose_all(model, TOKENIZER, QUESTIONS) == together
    monkeypatch.setattr(reading, "FILLING", 100)  # short with long
    assert choose_all(model, TOKENIZER, QUESTIONS) == together


def test_a_choice_that_cannot_be_read_is_not_answered(model):
    long = lettered("a", "x" * 300, ["one", "two"], 0)
    finished = []
    replies = choose_all(model, TOKENIZER, [long, QUESTIONS[0]], finished.append)
    assert [reply.end for reply in replies] == ["too long", "said"] and sum(finished) == 2
    model.train()
    assert choose_all(model, TOKENIZER, QUESTIONS[:1]) == replies[1:] and model.training, "it is left as it was"
    model.eval()


def test_what_cannot_be_asked_by_letters(model):
    with pytest.raises(UserError, match="no marks for conversations"):
        choose_all(model, byte_tokenizer(), QUESTIONS)
    with pytest.raises(UserError, match="no single token for each of the letters AB, C"):
        choose_all(model, TOKENIZER, [Question("a", [user("?")], ("AB",), ("AB", "C"))])


# --- samples ---------------------------------------------------------------------------------------------


def test_samples_are_drawn_alike_whoever_else_is_asked(model, monkeypatch):
    questions = [Question("a", [user(text)], ("x",)) for text in ("hi", "who", "hi")]
    how = Asking(max_new_tokens=12, samples=4, temperature=1.0)
    replies = ask_all(model, TOKENIZER, questions, how)
    assert [len(of_one) for of_one in replies] == [4, 4, 4]
    assert len({reply.shown for of_one in replies for reply in of_one}) > 6, "samples differ, also of equal questions"
    assert ask_all(model, TOKENIZER, questions[:1], how) == replies[:1]
    few = Asking(max_new_tokens=12, samples=2, temperature=1.0)
    assert ask_all(model, TOKENIZER, questions, few) == [of_one[:2] for of_one in replies], (
        "more samples leave the others"
    )
    monkeypatch.setattr(answers, "MAX_CACHE_BYTES", 50_000)  # fewer rows at once
    assert ask_all(model, TOKENIZER, questions, how) == replies
    other = Asking(max_new_tokens=12, samples=4, temperature=1.0, seed=2)
    assert ask_all(model, TOKENIZER, questions, other) != replies


def test_letters_and_words_together(model):
    questions = [QUESTIONS[0], Question("w", [user("hi")], ("x",)), QUESTIONS[1]]
    finished = []
    replies = ask_all(model, TOKENIZER, questions, Asking(5, samples=3, temperature=1.0), finished.append)
    assert [len(of_one) for of_one in replies] == [1, 3, 1] and sum(finished) == 5
    assert [replies[0][0], replies[2][0]] == choose_all(model, TOKENIZER, QUESTIONS[:2])


def test_tools_are_those_that_are_given():
    heart = ManyByHeart({"sum": "[ps]1+1[pe][os]2[oe]so[ae]"})
    asked = [Question("a", [user("sum")], ("2",))]
    assert ask_all(heart, TOKENIZER, asked)[0][0].shown == "[1+1 → 2]so"
    assert ask_all(heart, TOKENIZER, asked, Asking(tools={"python": lambda code: "7"}))[0][0].shown == "[1+1 → 7]so"


# --- pass@k ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tries", [1, 2, 5])
def test_pass_at_k_is_the_share_of_choices_with_a_right_one(tries):
    for right in range(tries + 1):
        marks = [place < right for place in range(tries)]
        for k in range(1, tries + 1):
            choices = list(combinations(marks, k))
            assert pass_at(k, tries, right) == pytest.approx(sum(map(any, choices)) / len(choices))


def test_pass_at_k_is_unbiased():
    """The mean over all outcomes of ten tries is what k tries have in truth."""
    share, tries = 0.3, 10
    for k in (1, 2, 5, 10):
        outcomes = (
            math.comb(tries, c) * share**c * (1 - share) ** (tries - c) * pass_at(k, tries, c) for c in range(11)
        )
        assert sum(outcomes) == pytest.approx(1 - (1 - share) ** k)


def tried(kind, *marks):
    return [Graded(Question(kind, [user("?")], ("yes",)), Reply("no", "no", 1, "said"), mark) for mark in marks]


def test_passes_by_kind():
    graded = [*tried("a", True, False, False, False), *tried("b", *[False] * 4), *tried("a", True, True, True, True)]
    first, second = passes_by_kind(graded, 4)
    assert (first.kind, first.asked, first.tries) == ("a", 2, 4)
    assert first.at == {1: pytest.approx(0.625), 2: pytest.approx(0.75), 4: 1.0}
    assert second.at == {1: 0, 2: 0, 4: 0}
    assert rows_of([first, second]) == [
        ["a", "62.5%", "75.0%", "100.0%", "2"],
        ["b", "0.0%", "0.0%", "0.0%", "1"],
        ["mean of 2 kinds", "31.2%", "37.5%", "50.0%"],
    ]
    assert list(passes_by_kind(tried("a", *[True] * 6), 6)[0].at) == [1, 2, 4, 6]
    report = json.loads(json.dumps(passes_as_json(graded, 4)))
    assert report["mean"] == report["passes"]["1"] == 0.3125 and report["kinds"]["a"]["passes"]["2"] == 0.75
    assert len(report["answers"]) == 12


# --- ChatCORE --------------------------------------------------------------------------------------------


def test_chatcore_by_hand():
    results = {
        "arc_easy": tried("a", True, True, False, False),  # (0.5 - 0.25) / 0.75 = 1/3
        "gsm8k": tried("g", True, False, False, False, False),  # 0.2
        "mmlu": [*tried("x", False, False), *tried("y", False)],  # (0 - 0.25) / 0.75 = -1/3
        "almanac": tried("z", True),  # none of its tasks
    }
    core = chatcore(results)
    assert core.value == pytest.approx((1 / 3 + 0.2 - 1 / 3) / 3)
    assert core.missing == ["arc_challenge", "humaneval", "spelling"]
    assert core.in_words() == "ChatCORE 0.0667, of 3 tasks only; without arc_challenge, humaneval, spelling"
    assert core.as_json()["tasks"]["mmlu"] == {"accuracy": 0, "baseline": 0.25, "centred": pytest.approx(-1 / 3)}
    assert chatcore({"arc_easy": results["arc_easy"], "almanac": results["almanac"]}) is None
    whole = ChatCore(dict.fromkeys(CHATCORE, 1.0))
    assert (whole.value, whole.missing, whole.in_words()) == (1.0, [], "ChatCORE 1.0000")
    assert ChatCore(CHATCORE).value == 0, "guessing"


def test_chatcore_stands_for_its_tasks():
    assert [task.name for task in find_tasks("chatcore")] == list(CHATCORE)
    assert [task.name for task in find_tasks("chatcore,almanac")] == [*CHATCORE, "almanac"]
    for names, match in [
        ("chatcore,mmlu", "Two tasks are called mmlu"),
        ("chatcor", "Did you mean chatcore"),
        ("gsm8", "Did you mean gsm8k"),
        ("arc", "There is no task 'arc'"),
    ]:
        with pytest.raises(UserError, match=match):
            find_tasks(names)


# --- the verb --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return published.publish(tmp_path_factory.mktemp("published"))


@pytest.fixture
def runs(tiny, inkling):
    make_talker(inkling)
    return tiny


def knows(files):
    """A model that knows some answers of the published tasks by heart."""
    settings = TaskSettings(data_from=files, allow_python=True)
    by_heart = {}
    for name in ("arc_easy", "arc_challenge", "mmlu"):
        for question in find_task(name, settings).questions(1337, 9):
            by_heart[question.messages[0]["content"]] = "A[ae]"
    for question in find_task("gsm8k", settings).questions(1337, 9):
        by_heart[question.messages[0]["content"]] = "It is [ps]70+2[pe][os]72[oe]#### 72[ae]"
    for question in find_task("humaneval", settings).questions(1337, 9):
        by_heart[question.messages[0]["content"]] = "    return sum(numbers)[ae]"
    for question in find_task("spelling").questions(1337, 2):
        by_heart[question.messages[0]["content"]] = "-".join(question.expected[0]) + "[ae]"
    heart = ManyByHeart({question.split("\n")[-1]: answer for question, answer in by_heart.items()}, block_size=1024)

    def hidden(ids, cache=None, documents=None):
        if cache is not None:
            return ManyByHeart.hidden(heart, ids, cache, documents)
        heart.seen = ids.tolist()  # by letters: all is read at once
        return torch.zeros(*ids.shape, 8)

    def head(x):
        heart.seen = [[token for token in seen if token] for seen in heart.seen]
        return ManyByHeart.head(heart, x)

    heart.hidden, heart.head = hidden, head
    return heart


def test_chatcore_of_a_run(runs, files, monkeypatch, capfd):
    monkeypatch.setattr(load, "load_weights", lambda weights, device, dtype: (knows(files), TOKENIZER))
    settings = EvaluateSettings(
        tasks="chatcore", max_questions=2, show=0, task=TaskSettings(data_from=files, allow_python=True),
        runtime=ONE_THREAD,
    )  # fmt: skip
    results = evaluate.main("talker", settings)
    shares = {name: sum(item.is_right for item in graded) / len(graded) for name, graded in results.items()}
    assert shares["humaneval"] == 0.5 and shares["spelling"] >= 0.5 and list(shares) == list(CHATCORE)
    out, err = capfd.readouterr()
    assert f"ChatCORE {ChatCore(shares).value:.4f}\n" in out and "no safe box" in err
    folder = Path("runs/talker/evaluations")
    assert sorted(path.stem for path in folder.iterdir()) == sorted([*CHATCORE, "chatcore"])
    report = json.loads((folder / "chatcore.json").read_text(encoding="utf-8"))
    assert report["chatcore"] == pytest.approx(ChatCore(shares).value) and report["missing"] == []
    assert (report["step"], report["tasks"]["humaneval"]["accuracy"]) == (1, 0.5)


def test_samples_of_a_run(runs, files, inkling):
    words = ["evaluate", "talker", "--tasks=gsm8k,arc_easy", f"--data_from={files}", "--max_new_tokens=5"]
    status, out, _ = inkling(*words, "--samples=3", "--temperature=0.9", "--show=0", *flags(ON_CPU))
    assert status == 0
    assert "gsm8k: talker at step 1, 3 questions, 3 times each, in" in out and "pass@1  pass@2  pass@3" in out
    assert "arc_easy: talker at step 1, 3 questions in" in out
    assert "ChatCORE" in out and "of 2 tasks only; without arc_challenge, mmlu, humaneval, spelling" in out
    report = json.loads(Path("runs/talker/evaluations/gsm8k.json").read_text(encoding="utf-8"))
    assert len(report["answers"]) == 9 and report["kinds"]["gsm8k"]["tries"] == 3
    assert report["settings"]["samples"] == 3 and set(report["passes"]) == {"1", "2", "3"}


def test_what_the_verb_refuses(runs, files, inkling):
    for words, says in [
        (["--samples=2"], "samples=2 at temperature 0 would all be the same"),
        (["--samples=0"], "samples=0 must be at least 1"),
        (["--temperature=-1"], "temperature=-1.0 must be at least 0"),
        (["--tasks=humaneval", f"--data_from={files}"], "Add --allow_python"),
        (["--tasks=smoltalk"], "smoltalk has nothing to ask"),
        (["--tasks=mmlu", "--data_from=nowhere"], "There is no folder nowhere"),
        (["--tasks=humanevil"], "Did you mean humaneval?"),
    ]:
        status, out, err = inkling("evaluate", "talker", *words)
        assert status in (1, 2) and out == "" and says in err and "Traceback" not in err, words


def test_python_in_a_chat_is_asked_for(runs, inkling):
    words = ["chat", "talker", "--prompt=hi", "--max_new_tokens=3", *flags(ON_CPU)]
    status, _, err = inkling(*words)
    assert status == 0 and "no safe box" not in err
    status, _, err = inkling(*words, "--allow_python")
    assert status == 0 and "what the model writes as Python is run here" in err
