"""Tasks: what they ask, what they teach, and how they judge."""

import json
from itertools import islice

import pytest

from inkling.data.almanac import EXAM_KINDS
from inkling.errors import UserError
from inkling.tasks import TASKS, TaskSettings, find_task, find_tasks
from inkling.tasks.jsonl import JsonlTask
from inkling.tasks.task import choose
from inkling.text.messages import check_messages
from test_conversation import QUESTION, says, system, user


def write(path, *conversations):
    lines = [json.dumps({"messages": messages}, ensure_ascii=False) for messages in conversations]
    path.write_text("\n".join(lines), encoding="utf-8")
    return JsonlTask(path)


# --- every task ------------------------------------------------------------------------------------------


@pytest.fixture(params=["almanac", "mine.jsonl"])
def task(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine.jsonl", *([user(f"What is {i} + 1?"), says(f"It is {i + 1}.")] for i in range(40)))
    return find_task(request.param)


def test_questions_are_conversations_that_end_with_the_user(task):
    questions = task.questions(1, 3)
    kinds = [question.kind for question in questions]
    assert all(kinds.count(kind) == 3 for kind in kinds)
    for question in questions:
        check_messages(question.messages)
        assert question.messages[-1]["role"] == "user"
        assert not task.grade(question, "Bananas.") or question.kind == "false_refusal"
        if question.expected and question.kind != "spelling":
            assert task.grade(question, f"Well: {question.expected[0]}.")


def test_questions_depend_on_the_seed_only(task):
    assert task.questions(1, 3) == task.questions(1, 3) != task.questions(2, 3)


def test_conversations_teach_an_answer(task):
    for messages in islice(task.conversations(1), 30):
        check_messages(messages)
        assert messages[-1]["role"] == "assistant"


# --- the almanac -----------------------------------------------------------------------------------------


def test_the_almanac_asks_all_its_kinds_and_goes_on_for_ever():
    task = find_task("almanac")
    assert tuple(dict.fromkeys(question.kind for question in task.questions(1, 2))) == EXAM_KINDS
    assert len(list(islice(task.conversations(1), 2000))) == 2000
    assert list(islice(task.conversations(1), 5)) != list(islice(task.conversations(2), 5))


def test_the_almanac_with_ones_own_tables(tmp_path):
    lines = [f"Zembla {i} ; Onhava {i}" for i in range(300)]
    (tmp_path / "countries.txt").write_text("\n".join(["country ; capital", *lines]), encoding="utf-8")
    task = find_task("almanac", TaskSettings(tables=str(tmp_path)))
    own = [question for question in task.questions(1, 20) if "Zembla" in question.messages[-1]["content"]]
    assert own and any(question.expected[0].startswith("Onhava") for question in own)
    taught = [messages[-1]["content"] for messages in islice(task.conversations(1), 100)]
    assert any("Onhava" in answer for answer in taught)
    with pytest.raises(UserError, match="no folder"):
        find_task("almanac", TaskSettings(tables=str(tmp_path / "none")))


# --- a file of conversations -----------------------------------------------------------------------------


def test_the_last_question_of_a_conversation_is_asked(tmp_path):
    talk = [system("Be short."), user("hi"), says("hello"), user("And?")]
    (first, second) = write(tmp_path / "mine.jsonl", [*talk, says("Yes.")], QUESTION).questions(1, 9)
    assert list(first.messages) == talk and first.expected == ("Yes.",) and first.kind == "mine"
    assert list(second.messages) == QUESTION[:1] and second.expected == ("It is 36.",), "the tool's part is no question"


@pytest.mark.parametrize(
    ("expected", "reply", "is_right"),
    [
        ("Paris", "The capital is  PARIS!", True),
        ("Paris", "Parisian", False),
        ("the Nile", "It is The\nNile.", True),
        ("the Nile", "the blue Nile", False),
        ("4", "14", False),
        ("1,000", "It is 1000.", True),
        ("1000", "1,000,000", False),
        ("3", "3.14", False),
        ("3.14", "About 3.14.", True),
        ("5", "-5", False),
        ("−5", "It is -5", True),
        ("5", "10-5", True),
        ("Ångström", "ÅNGSTRÖM", True),
        ("don't", "I don't.", True),
        ("Paris", "", False),
    ],
)
def test_right_is_what_contains_the_words(tmp_path, expected, reply, is_right):
    task = write(tmp_path / "mine.jsonl", [user("?"), says(expected)])
    (question,) = task.questions(1, 9)
    assert task.grade(question, reply) == is_right


def test_which_of_too_many_are_asked():
    assert choose(3, 3, seed=1) == choose(3, 99, seed=1) == [0, 1, 2]
    chosen = choose(100, 10, seed=1)
    assert len(set(chosen)) == 10 and chosen == sorted(chosen) and set(chosen) <= set(range(100))
    assert chosen != choose(100, 10, seed=2)
    assert set(chosen) <= set(choose(100, 11, seed=1)), "one more question leaves the others"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no conversation in"),
        ("\n \n", "no conversation in"),
        ('{"messages": [{"role": "user", "content": "hi"}]}', "Conversation 1 of .* has no answer"),
        ('[{"role": "user", "content": "hi"}, {"role": "assistant", "content": " …!"}]', "has no answer"),
        ('[{"role": "assistant", "content": "hi"}]', r"mine.jsonl:1: Message 1 \(assistant\) is the first"),
        ("not JSON", "mine.jsonl:1: Not valid JSON"),
    ],
)
def test_files_that_ask_nothing(tmp_path, text, match):
    (tmp_path / "mine.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=match):
        JsonlTask(tmp_path / "mine.jsonl").questions(1, 9)


# --- names -----------------------------------------------------------------------------------------------


def test_tasks_are_found_by_name(tmp_path):
    assert [find_task(name).name for name in TASKS] == list(TASKS)
    assert [task.name for task in find_tasks(f"almanac, {tmp_path / 'mine.jsonl'},")] == ["almanac", "mine"]
    for names, match in [
        ("almanach", "no task 'almanach'.\nDid you mean almanac?"),
        ("oven", "Tasks are: almanac, .* or the path of a .jsonl file"),
        ("", "No task is named"),
        ("a/x.jsonl,b/x.jsonl", "Two tasks are called x"),
        ("almanac,almanac", "Two tasks are called almanac"),
    ]:
        with pytest.raises(UserError, match=match):
            find_tasks(names)
    with pytest.raises(UserError, match="No such file"):
        find_task("none.jsonl").questions(1, 1)
