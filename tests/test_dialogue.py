"""Dialogues with a model that knows its answers by heart: streaming, tools, overflow, and history."""

import time
from contextlib import closing

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inkling.errors import UserError
from inkling.infer.answer import MAX_TOOL_CALLS, Cut, Forgotten, ToolCall, ToolResult
from inkling.infer.dialogue import Dialogue
from inkling.infer.sampling import SamplingSettings
from inkling.infer.tools import ToolError
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT
from inkling.text.conversation import prompt, read_conversations, render
from inkling.text.messages import check_messages
from inkling.text.tokenizer_sources import byte_tokenizer
from test_conversation import TOKENIZER, result, says, short, system, user

MARKS = TOKENIZER.special_tokens
GREEDY = SamplingSettings(temperature=0)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Models as small as these wait longer for a second thread than it helps them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tokens(text):
    """Text with marks in two letters → ids: "no[ae]" ends an answer."""
    long = {short(mark): mark for mark in MARKS}
    ids = []
    while text:
        name = next((name for name in long if text.startswith(name)), None)
        ids += [MARKS[long[name]]] if name else TOKENIZER.encode(text[0])
        text = text[len(name) if name else 1 :]
    return ids


NOISE = TOKENIZER.encode("tick ")


class ByHeart(GPT):
    """A model that answers as it was told, whatever the sampling; each token takes `seconds`.

    `answers` maps the last question (its last line, if there is system text) to the answer, which must hold
    what the tools will give. An unknown question is answered "?"; one that maps to None, with noise without end.
    """

    def __init__(self, answers, block_size=256, seconds=0.0):
        super().__init__(GPTConfig(vocab_size=265, n_layer=1, n_head=1, n_embd=8, block_size=block_size), seed=1)
        self.eval()
        self.answers = {question: answer and tokens(answer) for question, answer in answers.items()}
        self.seconds = seconds
        self.seen = []  # what the model has read, the token included that it will go on from

    def hidden(self, ids, cache=None, documents=None):
        self.seen = self.seen[: int(cache.lengths[0])] + ids[0].tolist()
        return super().hidden(ids, cache, documents)

    def head(self, x):
        time.sleep(self.seconds)
        start = len(self.seen) - self.seen[::-1].index(MARKS["<|assistant_start|>"])
        asked = TOKENIZER.decode(self.seen[:start]).split("<|user_start|>")[-1].split("<|user_end|>")[0]
        answer = self.answers.get(asked.split("\n")[-1], tokens("?[ae]"))
        place = len(self.seen) - start
        logits = torch.full((1, 265), -100.0)
        logits[0, NOISE[place % len(NOISE)] if answer is None else answer[min(place, len(answer) - 1)]] = 100.0
        return logits


def make(answers, block_size=256, **options):
    return Dialogue(ByHeart(answers, block_size), TOKENIZER, **options)


# --- words -----------------------------------------------------------------------------------------------


def test_words_come_one_by_one():
    dialogue = make({"hi": "hello[ae]"})
    assert list(dialogue.say("hi")) == ["h", "e", "l", "l", "o"]
    assert dialogue.messages == [user("hi"), says("hello")]
    assert list(dialogue.events("hi")) == ["h", "e", "l", "l", "o"]
    assert dialogue.messages == [user("hi"), says("hello")] * 2


def test_an_emoji_of_several_tokens_comes_whole():
    dialogue = make({"hi": "a🖋é[ae]"})
    assert list(dialogue.say("hi")) == ["a", "🖋", "é"]
    dialogue = make({"hi": "a[ae]"})
    dialogue.model.answers["hi"] = [*"🖋".encode()[:2], *tokens("[ps]1+1[pe][os]2[oe]"), *b"x", 0xF0, MARKS["<|bos|>"]]
    assert list(dialogue.events("hi")) == ["�", ToolCall("calculator", "1+1"), ToolResult("2"), "x", "�"]


@pytest.mark.parametrize("end", ["[ae]", "[bos]", "[us]", "[ue]", "[as]", "[os]", "[oe]", "[pe]"])
def test_marks_that_end_an_answer_are_not_shown(end):
    dialogue = make({"hi": f"yo{end}more"})
    assert "".join(dialogue.say("hi")) == "yo"
    assert dialogue.messages == [user("hi"), says("yo")]


def test_stop_texts():
    dialogue = make({"hi": "one STORE two STOP three[ae]", "b": "ST[ae]"}, stop=["STOP", ""])
    assert "".join(dialogue.say("hi")) == "one STORE two "
    assert "".join(dialogue.say("b")) == "ST"
    assert dialogue.messages[1] == says("one STORE two ")


def test_an_answer_may_be_silent():
    dialogue = make({"hi": "[ae]"})
    assert list(dialogue.events("hi")) == []
    assert dialogue.messages == [user("hi"), says("")]
    assert "".join(dialogue.say("x")) == "?"


def test_an_answer_is_cut_at_its_limit_or_at_the_end_of_the_context():
    dialogue = make({"hi": None}, max_new_tokens=7)
    assert list(dialogue.events("hi")) == [*"tick ti", Cut()]
    dialogue = make({"hi": None}, block_size=32)
    *words, last = dialogue.events("hi")
    assert last == Cut()
    assert len(words) == 32 - len(prompt([user("hi")], TOKENIZER))


def test_the_system_text_joins_the_first_question():
    dialogue = make({"hi": "yo[ae]"}, system="Be kind.")
    assert "".join(dialogue.say("hi")) == "yo"
    assert dialogue.messages == [system("Be kind."), user("hi"), says("yo")]
    seen = dialogue.model.seen
    assert seen == render(dialogue.messages, TOKENIZER).ids[: len(seen)]
    dialogue.system = "Be short."
    list(dialogue.say("hi"))
    assert "Be short.\n\nhi" in TOKENIZER.decode(dialogue.model.seen)


def test_draws_are_repeatable_and_an_answer_is_not_repeated():
    model = GPT(GPTConfig(vocab_size=265, n_layer=1, n_head=1, n_embd=8, block_size=256), seed=1).eval()

    def answers(seed):
        dialogue = Dialogue(model, TOKENIZER, max_new_tokens=20, seed=seed)
        both = ["".join(dialogue.say("hi"))]
        dialogue.undo()
        return [*both, "".join(dialogue.say("hi"))]

    assert answers(1) == answers(1) != answers(2)
    assert answers(1)[0] != answers(1)[1]


# --- tools -----------------------------------------------------------------------------------------------


def call(text, expression, number):
    made = {"name": "calculator", "arguments": f'{{"expression": "{expression}"}}'}
    return says(text) | {"tool_calls": [{"id": f"call_{number}", "type": "function", "function": made}]}


def answered(text, number):
    return result(text) | {"tool_call_id": f"call_{number}"}


def test_what_a_tool_says_is_forced_in():
    dialogue = make({"q": "See: [ps]12*3[pe][os]36[oe] so 36.[ae]"})
    events = list(dialogue.events("q"))
    assert events == [*"See: ", ToolCall("calculator", "12*3"), ToolResult("36"), *" so 36."]
    expected = [user("q"), call("See: ", "12*3", 1), answered("36", 1), says(" so 36.")]
    assert dialogue.messages == expected
    seen = dialogue.model.seen
    assert seen == render(expected, TOKENIZER).ids[: len(seen)], "the history is what the model saw"
    assert "".join(dialogue.say("q")) == "See:  so 36."
    assert dialogue.messages[5:7] == [call("See: ", "12*3", 2), answered("36", 2)]


def test_the_model_hears_of_an_error_and_the_person_why():
    dialogue = make({"q": "[ps]1/0[pe][os]error[oe]oh[ae]"})
    assert list(dialogue.events("q")) == [ToolCall("calculator", "1/0"), ToolResult("error", "division by zero"), *"oh"]
    assert dialogue.messages[2]["content"] == "error"
    dialogue = make({"q": "[ps]1+1[pe][os]error[oe]oh[ae]"}, tools={})
    assert list(dialogue.events("q"))[1] == ToolResult("error", "there is no tool")


def test_the_first_tool_that_can_answer_does():
    def refuse(text):
        raise ToolError("no")

    dialogue = make({"q": "[ps]1+1[pe][os]ok[oe][ae]"}, tools={"calculator": refuse, "python": lambda text: "ok"})
    assert list(dialogue.events("q")) == [ToolCall("python", "1+1"), ToolResult("ok")]
    with pytest.raises(UserError, match="no tool oven"):
        make({}, tools={"oven": refuse})


def test_calls_are_bounded():
    dialogue = make({"q": "[ps]1[pe][os]1[oe]" * 20 + "[ae]"}, block_size=512)
    events = list(dialogue.events("q"))
    assert events == [ToolCall("calculator", "1"), ToolResult("1")] * MAX_TOOL_CALLS
    assert len(dialogue.messages) == 2 + 2 * MAX_TOOL_CALLS
    assert dialogue.messages[-1] == says("")


def test_a_call_that_never_ends_is_left_out():
    for answer in ("a[ps]1+[ae]", "a[ps]1+[ps]"):
        dialogue = make({"q": answer})
        assert list(dialogue.events("q")) == ["a"]
        assert dialogue.messages == [user("q"), says("a")]
    dialogue = make({"q": "a[ps]1+" + "1" * 50}, max_new_tokens=20)
    assert list(dialogue.events("q")) == ["a", Cut()]


def test_the_limit_may_fall_into_what_is_forced():
    dialogue = make({"q": "[ps]2**99[pe][os]"}, max_new_tokens=10)
    assert list(dialogue.events("q")) == [ToolCall("calculator", "2**99"), ToolResult(str(2**99)), Cut()]
    assert dialogue.messages[-1] == says("")


def test_stop_texts_do_not_reach_into_tools():
    dialogue = make({"q": "a[ps]1+1[pe][os]2[oe]b1[ae]"}, stop=["1"])
    assert "".join(dialogue.say("q")) == "ab"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(sorted(MARKS.values())), st.sampled_from([*b"1+*x\xf0"])), max_size=40))
def test_whatever_a_model_says_the_history_is_a_conversation(ids):
    dialogue = make({}, stop=["xx"])
    dialogue.model.answers["q"] = [*ids, MARKS["<|assistant_end|>"]]
    events = list(dialogue.events("q"))
    words = "".join(event for event in events if isinstance(event, str))
    assert not set(words) - set("1+*x\ufffd") and "xx" not in words
    check_messages(dialogue.messages)
    assert words == "".join(message["content"] for message in dialogue.messages if message["role"] == "assistant")
    assert "".join(dialogue.say("hi")) == "?"


# --- the end of the context ------------------------------------------------------------------------------


def test_the_oldest_turns_are_forgotten_whole_and_the_system_text_is_kept():
    dialogue = make({f"question {i}": f"answer {i}[ae]" for i in range(9)}, block_size=100, system="Hm.")
    told = []
    for i in range(9):
        events = list(dialogue.events(f"question {i}"))
        told.append([event.turns for event in events if isinstance(event, Forgotten)])
        assert "".join(event for event in events if isinstance(event, str)) == f"answer {i}"
        seen = short(TOKENIZER.decode(dialogue.model.seen))
        assert len(dialogue.model.seen) <= 100
        assert seen.startswith(f"[bos][us]Hm.\n\nquestion {dialogue.forgotten}[ue]")
    assert told == [[], [], [], [1], [2], [3], [4], [5], [6]]
    assert dialogue.forgotten == 6
    assert len(dialogue.messages) == 19, "the history is whole"
    dialogue.clear()
    assert dialogue.messages == [system("Hm.")]
    assert [event for event in dialogue.events("x") if isinstance(event, Forgotten)] == []


def test_a_message_longer_than_the_context():
    dialogue = make({}, block_size=64)
    assert "".join(dialogue.say("hi")) == "?"
    with pytest.raises(UserError, match=r"204 tokens. The model sees 64 tokens at once, and the answer needs 16"):
        dialogue.say("x" * 200)
    dialogue.system = "s" * 60
    with pytest.raises(UserError, match=r"with the system text.*\n.*or the system text"):
        dialogue.say("hi")
    assert len(dialogue.messages) == 3, "nothing was said"
    dialogue.system = ""
    longest = "x" * (64 - 16 - 4)
    assert "".join(dialogue.say(longest)) == "?"
    with pytest.raises(UserError):
        dialogue.say(longest + "x")


def test_a_thousand_turns_are_soon_fitted(monkeypatch):
    """By halving: not a thousand prompts are rendered to find the first that fits."""
    made = []
    monkeypatch.setattr("inkling.infer.fit.prompt", lambda *of: made.append(of) or prompt(*of))
    dialogue = make({}, block_size=128)
    dialogue.restore([user("hello"), says("you")] * 1000)
    assert "".join(dialogue.say("hi")) == "?"
    assert dialogue.forgotten > 990
    assert len(made) < 15


# --- history ---------------------------------------------------------------------------------------------


def test_an_answer_that_is_abandoned_is_kept_as_far_as_it_was_shown():
    dialogue = make({"hi": "hello[ae]", "q": "a[ps]1[pe][os]1[oe]bcd[ae]"})
    with closing(dialogue.say("hi")) as words:
        assert [next(words), next(words)] == ["h", "e"]
    assert dialogue.messages == [user("hi"), says("he")]
    with closing(dialogue.events("q")) as events:
        for event in events:
            if event == "b":
                break
    assert dialogue.messages[2:] == [user("q"), call("a", "1", 1), answered("1", 1), says("b")]
    assert "".join(dialogue.say("hi")) == "hello"
    dialogue.say("hi").close()
    assert len(dialogue.messages) == 8, "an answer that never began leaves no question"


def test_ctrl_c_within_the_model():
    dialogue = make({"hi": "hello[ae]"})
    head, count = dialogue.model.head, []

    def interrupted(x):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return head(x)

    dialogue.model.head = interrupted
    with pytest.raises(KeyboardInterrupt):
        list(dialogue.say("hi"))
    assert dialogue.messages == [user("hi"), says("he")]


def test_undo_and_clear():
    dialogue = make({}, system="Hm.")
    assert dialogue.undo() is None
    for question in ("a", "b", "c"):
        list(dialogue.say(question))
    assert dialogue.undo() == "c"
    assert dialogue.messages == [system("Hm."), user("a"), says("?"), user("b"), says("?")]
    dialogue.clear()
    assert dialogue.messages == [system("Hm.")]


def test_saved_and_loaded(tmp_path):
    file = tmp_path / "talk.jsonl"
    answers = {"q": "See: [ps]12*3[pe][os]36[oe] 🖋[ae]", "a": "b[ae]"}
    dialogue = make(answers, system="Hm.")
    with pytest.raises(UserError, match="nothing to save"):
        dialogue.save(file)
    list(dialogue.say("a"))
    dialogue.save(file)
    list(dialogue.say("q"))
    dialogue.save(file)
    assert len(list(read_conversations(file))) == 2
    other = make(answers)
    list(other.say("x"))
    other.load(file)
    assert other.messages == dialogue.messages
    assert other.system == "Hm."
    list(other.say("a"))
    list(dialogue.say("a"))
    assert other.model.seen == dialogue.model.seen
    file.write_text('{"messages": [{"role": "user", "content": "hi"}]}\n', encoding="utf-8")
    with pytest.raises(UserError, match="without an answer"):
        other.load(file)
    file.write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="no conversation"):
        other.load(file)
    assert other.messages[:-2] == dialogue.messages[:-2], "a mistake changes nothing"


def test_what_cannot_be_asked():
    model = ByHeart({})
    with pytest.raises(UserError, match="no marks for conversations"):
        Dialogue(model, byte_tokenizer())
    with pytest.raises(UserError, match="max_new_tokens=0"):
        Dialogue(model, TOKENIZER, max_new_tokens=0)
    dialogue = Dialogue(model, TOKENIZER, sampling=SamplingSettings(temperature=-1))
    for question, match in [("", "empty"), ("\ud800", "half a character"), ("hi", "temperature")]:
        with pytest.raises(UserError, match=match):
            dialogue.say(question)
    assert dialogue.messages == []
