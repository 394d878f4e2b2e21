"""ARC, MMLU, GSM8K, HumanEval, SmolTalk and spelling: read from files as published, taught, asked and graded."""

import json
import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import published
from inkling.data.almanac.lexicon import spelling_words
from inkling.data.shards import open_dataset
from inkling.data.sources import hub
from inkling.errors import UserError
from inkling.infer.tools import calculate
from inkling.stages.prepare import PrepareSettings, main
from inkling.tasks import TaskSettings, find_task
from inkling.tasks.gsm8k import solution
from inkling.tasks.humaneval import program
from inkling.tasks.letters import lettered
from inkling.tasks.task import Practice
from inkling.text.conversation import render
from inkling.text.messages import call_text, check_messages
from test_conversation import TOKENIZER, says, user

FROM_FILES = ("arc_easy", "arc_challenge", "mmlu", "gsm8k", "humaneval", "smoltalk")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return published.publish(tmp_path_factory.mktemp("published"))


def task(name, files, **settings):
    return find_task(name, TaskSettings(data_from=files, **settings))


# --- all of them -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["arc_easy", "arc_challenge", "mmlu", "gsm8k", "humaneval", "spelling"])
def test_questions_are_the_same_for_the_same_seed(name, files):
    asked = task(name, files, allow_python=True)
    questions = asked.questions(1, 2)
    assert questions == asked.questions(1, 2)
    kinds = [question.kind for question in questions]
    assert all(kinds.count(kind) == 2 for kind in kinds)
    for question in questions:
        check_messages(question.messages)
        assert question.messages[-1]["role"] == "user" and question.expected
        assert not asked.grade(question, "Bananas.") and not asked.grade(question, "")


@pytest.mark.parametrize("name", ["arc_easy", "arc_challenge", "mmlu", "gsm8k", "smoltalk", "spelling"])
def test_conversations_teach_an_answer(name, files):
    taught = list(islice(task(name, files).conversations(1), 50))
    assert taught
    for messages in taught:
        check_messages(messages)
        assert messages[-1]["role"] == "assistant"
        assert any(render(messages, TOKENIZER).mask)


# --- choices ---------------------------------------------------------------------------------------------


def test_a_choice_is_asked_with_letters(files):
    first, second, third = task("arc_easy", files).questions(1, 9)
    assert first.messages[0]["content"] == (
        "Which is a planet?\n\n- Mars = A\n- the Moon = B\n- the Sun = C\n- Sirius = D\n\n"
        "Say only the letter of the right answer: A, B, C or D."
    )
    assert (first.letters, first.expected) == (("A", "B", "C", "D"), ("A",))
    assert (second.letters, second.expected) == (("A", "B", "C"), ("B",)), "numbers in the file, letters here"
    assert second.messages[0]["content"].startswith("What  freezes?\n\n- fire = A")
    assert (third.letters, third.expected) == (("A", "B", "C", "D", "E"), ("E",))
    assert list(task("arc_easy", files).conversations(1))[1] == [*second.messages, says("B")]


def test_mmlu_by_subject(files):
    mmlu = task("mmlu", files)
    assert [question.kind for question in mmlu.questions(1, 2)] == ["anatomy"] * 2 + ["virology"] * 2
    assert [question.expected for question in mmlu.questions(1, 9)[:3]] == [("A",), ("B",), ("C",)]
    assert len(list(mmlu.conversations(1))) == 6


def test_letters_are_graded_alone(files):
    arc = task("arc_challenge", files)
    question = arc.questions(1, 1)[0]
    right = question.expected[0]
    assert arc.grade(question, right) and arc.grade(question, f" {right}\n")
    assert not arc.grade(question, f"{right} or another") and not arc.grade(question, right.lower())


@pytest.mark.parametrize(("options", "right"), [(["x"], 0), (["x", "y"], 2), (["x", "y"], -1), (["x"] * 11, 0)])
def test_what_is_no_choice(options, right):
    with pytest.raises(UserError, match="answers, and number"):
        lettered("a", "?", options, right)


# --- GSM8K -----------------------------------------------------------------------------------------------


def test_marked_calculations_become_calls_of_the_calculator(files):
    taught = list(task("gsm8k", files).conversations(1))
    check_messages(taught[0])
    assert [message["role"] for message in taught[0]] == ["user", *["assistant", "tool"] * 2, "assistant"]
    assert taught[0][1]["content"] == "In May she sold 48/2 = "
    assert [call_text(taught[0][i]["tool_calls"][0]) for i in (1, 3)] == ["48/2", "48+24"]
    assert [taught[0][i]["content"] for i in (2, 4)] == ["24", "72"]
    assert [calculate("48/2"), calculate("48+24")] == ["24", "72"], "so it says when it is asked"
    assert taught[0][5]["content"] == "72.\n#### 72"
    shown = TOKENIZER.decode(render(taught[0], TOKENIZER).ids)
    assert "48/2 = <|python_start|>48/2<|python_end|><|output_start|>24<|output_end|>24 clips." in shown
    assert len(taught[2]) == 2, "without a calculation, without a call"


def test_problems_are_practised_through_and_through(files):
    gsm8k = task("gsm8k", files)
    assert isinstance(gsm8k, Practice) and gsm8k.practised == ("gsm8k",)
    taught = [messages[0]["content"] for messages in gsm8k.conversations(1)]
    times = [[gsm8k.practice("gsm8k", 1, len(taught) * time + i) for i in range(len(taught))] for time in range(4)]
    for problems in times:
        assert sorted(problem.messages[-1]["content"] for problem in problems) == sorted(taught)
        assert all(gsm8k.grade(problem, f"#### {problem.expected[0]}") for problem in problems)
    assert any(problems != times[0] for problems in times[1:]), "another order each time"


def test_odd_marks_stay_text():
    assert solution("a << b >> c <<=3>>") == [says("a << b >> c <<=3>>")]
    assert call_text(solution("<<1+1=2>>")[0]["tool_calls"][0]) == "1+1"


@pytest.mark.parametrize(
    ("reply", "is_right"),
    [
        ("#### 1234", True), ("so 1,234\n#### 1,234.00", True), ("#### $1,234", True), ("It is 1,234.", True),
        ("First 9, then 1234", True), ("#### 12", False), ("1234, no: 12", False), ("1234\n#### 9", False),
        ("#### ", False), ("1234 #### none", False), ("-1234", False), ("11234", False), ("1234.5", False),
    ],
)  # fmt: skip
def test_the_number_is_graded(files, reply, is_right):
    gsm8k = task("gsm8k", files)
    question = next(question for question in gsm8k.questions(1, 9) if question.expected == ("1234",))
    assert gsm8k.grade(question, reply) == is_right


def test_below_zero(files):
    gsm8k = task("gsm8k", files)
    question = next(question for question in gsm8k.questions(1, 9) if question.expected == ("-3",))
    assert gsm8k.grade(question, "#### -3") and gsm8k.grade(question, "−3") and not gsm8k.grade(question, "3")


# --- HumanEval -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def functions(files):
    humaneval = task("humaneval", files, allow_python=True)
    return humaneval, humaneval.questions(1, 9)


@pytest.mark.parametrize(
    ("number", "reply", "is_right"),
    [
        (0, "    return sum(numbers)", True),
        (0, "Here:\n```python\ndef total(numbers):\n    return sum(numbers)\n```\nThat is all.", True),
        (0, "def total(numbers: List[int]):\n    return 0", False),
        (1, "def floor_twice(x):\n    return math.floor(twice(x))", True),
        (1, "```\n    return int(twice(x))\n```", True),
        (1, "    raise SystemExit(0)", False),
        (1, "    while True: pass", False),
        (1, "I do not know.", False),
    ],
)
def test_functions_are_run(functions, number, reply, is_right, monkeypatch):
    from inkling.tasks import humaneval as module
    from inkling.tasks.python_runner import Limits, run_python

    monkeypatch.setattr(module, "run_python", lambda code: run_python(code, Limits(cpu_seconds=1)))
    humaneval, questions = functions
    assert humaneval.grade(questions[number], reply) == is_right, program(questions[number], reply)


def test_the_published_solutions_pass(functions):
    humaneval, questions = functions
    assert all(humaneval.grade(question, question.expected[0]) for question in questions)
    assert "def twice(x)" in questions[1].messages[0]["content"]


def test_programs_are_run_only_when_asked_for(files):
    with pytest.raises(UserError, match=r"that is off.\nAdd --allow_python"):
        task("humaneval", files).questions(1, 1)


# --- talk and spelling -----------------------------------------------------------------------------------


def test_smoltalk_leaves_out_what_is_no_conversation(files, capsys):
    taught = list(task("smoltalk", files).conversations(1))
    assert taught == published.SMOLTALK[:2]
    assert "2 of 4 rows are no conversations" in capsys.readouterr().err


def test_what_is_only_taught_and_what_is_only_asked(files):
    with pytest.raises(UserError, match="smoltalk has nothing to ask"):
        task("smoltalk", files).questions(1, 1)
    with pytest.raises(UserError, match="humaneval has nothing to teach"):
        task("humaneval", files).conversations(1)


def test_spelling_asks_words_that_it_does_not_teach():
    spelling = find_task("spelling")
    held = set(spelling_words(held=True))
    questions = spelling.questions(1, 30)
    spell, count = questions[:30], questions[30:]
    assert {question.kind for question in spell} == {"spell"} and {question.kind for question in count} == {"count"}
    assert {question.expected[0] for question in spell} <= held
    for messages in islice(spelling.conversations(1), 200):
        assert not held & set(messages[0]["content"].replace("?", "").replace(".", "").split())
        if len(messages) == 4:  # the calculator says what was counted
            asked = call_text(messages[1]["tool_calls"][0])
            assert calculate(asked) == messages[2]["content"]
            assert messages[3]["content"].endswith(f": {messages[2]['content']}.")
            last = [step.split() for step in messages[1]["content"].strip(" .").split(", ")]
            assert max([int(step[1]) for step in last if len(step) == 2], default=0) == int(messages[2]["content"])
    word = spell[0].expected[0]
    assert spelling.grade(spell[0], "-".join(word)) and not spelling.grade(spell[0], word)
    assert spelling.grade(count[0], f"so {count[0].expected[0]}.") and not spelling.grade(count[0], "99")


def test_spelling_practises_what_it_does_not_ask():
    spelling = find_task("spelling")
    assert isinstance(spelling, Practice) and set(spelling.practised) == {"spell", "count"}
    for kind in spelling.practised:
        items = [spelling.practice(kind, 1, index) for index in range(100)]
        assert items == [spelling.practice(kind, 1, index) for index in range(100)] and len(set(map(str, items))) > 90
        asked = " ".join(item.messages[-1]["content"] for item in items)
        assert not set(spelling_words(held=True)) & set(re.findall(r"\w+", asked))
        assert {item.kind for item in items} == {kind}


# --- files that are not as they should be ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"question": ["a"]}, "has no column 'answer'.\nIt needs question, answer, and has question"),
        ({"question": ["a"], "answer": [1]}, "Row 1 of .* its 'answer' is 1.\nIt must be text"),
        ({"question": ["a", None], "answer": ["#### 1"] * 2}, "Row 2 of .* its 'question' is None"),
        ({"question": ["a"], "answer": ["no number"]}, "does not end with ####"),
        ({"question": ["a"], "answer": ["#### many"]}, "does not end with ####"),
        ({"question": [], "answer": []}, "openai/gsm8k has no rows for test"),
    ],
)
def test_columns_that_are_not_as_published(tmp_path, columns, match):
    published.write(tmp_path / "gsm8k/main", "test-00000-of-00001.parquet", columns)
    with pytest.raises(UserError, match=match):
        task("gsm8k", str(tmp_path)).questions(1, 9)


@pytest.mark.parametrize("choices", [{"text": ["a", "b"]}, {"text": ["a", None], "label": ["A", "B"]}, ["a", "b"]])
def test_choices_that_are_not_as_published(tmp_path, choices):
    columns = {"question": ["q"], "choices": [choices], "answerKey": ["A"]}
    published.write(tmp_path / "ai2_arc/ARC-Easy", "test.parquet", columns)
    with pytest.raises(UserError, match="It must be fields: text a list, each entry text, label a list"):
        task("arc_easy", str(tmp_path)).questions(1, 9)


def test_an_answer_that_is_no_choice(tmp_path):
    columns = {"question": ["q"], "choices": [{"text": ["a", "b"], "label": ["A", "B"]}], "answerKey": ["C"]}
    published.write(tmp_path / "ai2_arc/ARC-Easy", "test.parquet", columns)
    with pytest.raises(UserError, match="has the answer 'C', and the choices A, B"):
        task("arc_easy", str(tmp_path)).questions(1, 9)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match=r"There is no folder .*none.\n[\s\S]*hf download .* cais/mmlu"):
        task("mmlu", str(tmp_path / "none")).questions(1, 1)
    with pytest.raises(UserError, match=r"There is no file .*mmlu.all.test-\*.parquet"):
        task("mmlu", str(tmp_path)).questions(1, 1)
    (tmp_path / "all").mkdir()
    (tmp_path / "all/test.parquet").write_bytes(b"not parquet")
    with pytest.raises(UserError, match="is damaged or cut off"):
        task("mmlu", str(tmp_path)).questions(1, 1)


# --- from the hub ----------------------------------------------------------------------------------------


def test_without_a_folder_the_hub_is_asked(files, monkeypatch, capsys):
    from test_hub_source import Hub

    server = Hub()
    server.repo = "openai/gsm8k"
    folder = Path(files, "gsm8k")
    server.files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*.parquet")}
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(hub, "PAUSE", 0.01)
    cache = Path(files, "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    try:
        gsm8k = find_task("gsm8k")
        assert gsm8k.questions(1, 9) == task("gsm8k", files).questions(1, 9)
        assert list(server.gets) == ["main/test-00000-of-00001.parquet"], "and no other split"
        assert "openai/gsm8k:" in (err := capsys.readouterr().err) and "to download, for test" in err
        gsm8k.questions(1, 9)
        assert server.gets.total() == 1 and not capsys.readouterr().err
        server.repo = "someone/else"
        with pytest.raises(UserError, match=r"cannot be read from the hub: [^\n]*404[\s\S]*--data_from=tasks"):
            gsm8k.questions(1, 9)
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(UserError, match="openai/gsm8k cannot be read from the hub"):
        gsm8k.questions(1, 9)


# --- as data sets ----------------------------------------------------------------------------------------


@pytest.fixture
def tokenizer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TOKENIZER.save(tmp_path / "tokenizer.json")
    return "tokenizer.json"


def test_a_task_becomes_a_data_set(files, tokenizer, capsys):
    settings = PrepareSettings(input=str(Path(files, "gsm8k")), tokenizer=tokenizer, val_fraction=0.4)
    dataset = main("gsm8k", settings)
    assert dataset.meta.source == "the task gsm8k, 3 conversations"
    assert dataset.meta.train.documents + dataset.meta.val.documents == 3
    both = np.concatenate([dataset.train, dataset.val]).tolist()
    (taught, *_) = find_task("gsm8k", TaskSettings(data_from=files)).conversations(1)
    whole = render(taught, TOKENIZER).ids
    assert any(both[i : i + len(whole)] == whole for i in range(len(both)))
    main("smoltalk", PrepareSettings(input=files, tokenizer=tokenizer))
    assert open_dataset("smoltalk").meta.train.documents == 1
    assert "2 of 4 rows are no conversations" in capsys.readouterr().err


def test_a_task_without_end_is_as_long_as_it_is_asked_to_be(tokenizer):
    first = main("spelling", PrepareSettings(documents=300, tokenizer=tokenizer))
    assert first.meta.train.documents + first.meta.val.documents == 300
    assert first.meta.source == "the task spelling, 300 conversations of seed 1337"
    before = (first.path / "train.bin").read_bytes()
    main("spelling", PrepareSettings(documents=300, tokenizer=tokenizer))
    assert (first.path / "train.bin").read_bytes() == before
    main("spelling", PrepareSettings(documents=300, tokenizer=tokenizer, seed=2))
    assert (first.path / "train.bin").read_bytes() != before


def test_what_prepare_refuses(files, tokenizer):
    for name, settings, match in [
        ("humaneval", {}, "humaneval has nothing to teach"),
        ("gsm8k", {"input": str(Path(files, "mmlu"))}, "There is no file .*gsm8k"),
        ("spelling", {"tokenizer": "byte"}, "no marks for conversations"),
    ]:
        with pytest.raises(UserError, match=match):
            main(name, PrepareSettings(**{"tokenizer": tokenizer} | settings))
    assert not Path("data").exists() or not list(Path("data").rglob("*.bin"))


def test_ones_own_text_may_bear_a_tasks_name(tokenizer):
    Path("mine.jsonl").write_text("\n".join(json.dumps([user(f"{i}?"), says("!")]) for i in range(9)), encoding="utf-8")
    assert main("spelling", PrepareSettings(input="mine.jsonl", tokenizer=tokenizer)).meta.source == "mine.jsonl"
