"""Chat as a person has it: in a pseudo-terminal, through a pipe, and its commands.

Run as a program, this file is what the pseudo-terminal shows: a chat with a model that knows its answers by heart.
"""

import codecs
import contextlib
import io
import json
import os
import re
import select
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from conftest import flags
from inkling.data.shards import DatasetWriter
from inkling.errors import UserError
from inkling.infer.dialogue import Dialogue
from inkling.runtime import RuntimeSettings
from inkling.serve import lines
from inkling.serve.commands import COMMANDS, obey
from inkling.serve.terminal import Terminal
from inkling.stages import chat
from inkling.text.conversation import read_conversations
from inkling.text.tokenizer import BPETokenizer
from test_conversation import TOKENIZER, says, system, user
from test_dialogue import ByHeart

ONE_THREAD = RuntimeSettings(device="cpu", dtype="float32", threads=1)

ANSWERS = {
    "hi": "hello there[ae]",
    "emoji": "a🖋é[ae]",
    "endless": None,
    "sum": "See: [ps]12*3[pe][os]36[oe] so 36.[ae]",
    "division": "[ps]1/0[pe][os]error[oe]oh[ae]",
    "silence": "[ae]",
    "lines": "one\ntwo\n[ae]",
    "steer": "a\x1b[2J\x07\rb\x9bc[ae]",
}


def make(seconds=0.0, block_size=4096, **options):
    return Dialogue(ByHeart(ANSWERS, block_size, seconds), TOKENIZER, max_new_tokens=3000, **options)


if __name__ == "__main__":
    torch.set_num_threads(1)
    lines.PASTE_GAP = 0.2  # on a busy machine a paste may come more slowly
    Terminal(make(seconds=0.005), "heart").run()
    print("ended well")
    sys.exit()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Models as small as these wait longer for a second thread than it helps them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- in a pseudo-terminal --------------------------------------------------------------------------------

needs_pty = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")


class Person:
    """Types into a terminal where this file runs, and reads its screen."""

    def __init__(self, folder):
        import pty

        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            environment = os.environ | {"TERM": "xterm", "INPUTRC": os.devnull, "PYTHONIOENCODING": "utf-8"}
            os.execve(sys.executable, [sys.executable, str(Path(__file__).resolve())], environment)
        os.set_blocking(self.terminal, False)
        self.unread, self.bytes = "", b""
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def type(self, text):
        data = text.encode()
        while data:  # and read meanwhile: the other side may wait to be read before it reads on
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self.terminal, data[:4096]) :]
            self._look(0.001)

    def see(self, text, seconds=60):
        """Wait until `text` is on the screen; returns what stood before it."""
        silences = 0  # not the clock, which goes on while a busy machine lets nobody run
        while text not in self.unread and silences < 5 * seconds:
            silences += not self._look(0.2)
        assert text in self.unread, f"{text!r} never came: {self.unread[-500:]!r}"
        before, _, self.unread = self.unread.partition(text)
        return before

    def rest(self, seconds=0.7):
        """Wait until nothing has changed on the screen for a while, and forget what is on it."""
        before = -1
        while before != len(self.bytes):
            before = len(self.bytes)
            time.sleep(seconds)
            while self._look(0):
                pass
        self.unread = ""

    def _look(self, seconds):
        """Read what is there, or comes within `seconds`; returns whether there was anything."""
        if not select.select([self.terminal], [], [], seconds)[0]:
            return False
        try:
            new = os.read(self.terminal, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            return False
        self.bytes += new
        self.unread = plain(self.unread + self.decoder.decode(new))
        return bool(new)

    def close(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        finally:
            os.waitpid(self.pid, 0)
            os.close(self.terminal)


def plain(text):
    """Without colours and what readline sends to the terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r\n", "\n")


@pytest.fixture
def person(tmp_path):
    person = Person(tmp_path)
    person.see("Ctrl-D ends.\n> ")
    yield person
    person.close()


@needs_pty
def test_streaming_ctrl_c_and_clear(person, tmp_path):
    person.type("hi\n")
    assert person.see("\n> ") == "hi\nhello there"
    assert b"\x1b[36mh\x1b[0m" in person.bytes, "in colour, as it comes"

    person.type("endless\n")
    person.see("tick tick ")
    person.see("tick tick ")  # long before the 15 seconds that all of it would take
    person.type("\x03")
    person.see("\n(stopped)\n> ")
    person.type("hi\n")
    assert person.see("\n> ") == "hi\nhello there", "the program goes on"
    person.type("/save a.jsonl\n")
    person.see("Appended to a.jsonl.\n> ")
    (messages,) = read_conversations(tmp_path / "a.jsonl")
    assert [message["content"] for message in messages if message["role"] == "user"] == ["hi", "endless", "hi"]
    assert messages[3]["content"].startswith("tick tick "), "what was said is kept"

    person.type("/clear\n")
    person.see("The conversation is forgotten.\n> ")
    person.type("sum\n")
    assert person.see("\n> ") == "sum\nSee: [12*3 → 36] so 36."
    person.type("/save b.jsonl\n")
    person.see("Appended to b.jsonl.\n> ")
    (messages,) = read_conversations(tmp_path / "b.jsonl")
    assert messages[0] == user("sum")

    person.type("half a question")
    person.rest()  # Ctrl-C in the instant before readline waits for keys would be heard with the next key only
    person.type("\x03")
    person.see("(Ctrl-D or /quit ends the chat.)\n> ")
    for pause in (0, 0.003, 0.03):  # held down: some fall on an answer, some on a prompt, some between
        person.type("endless\n")
        person.see("tick")
        for _ in range(4):
            person.type("\x03")
            time.sleep(pause)
        person.rest()  # a late one would take what is typed next with it
    person.type("/quit\n")
    person.see("ended well")


@needs_pty
def test_pastes_emojis_and_the_end(person, tmp_path):
    person.type("emoji\n")
    assert person.see("\n> ") == "emoji\na🖋é"
    person.type("steer\n")
    assert person.see("\n> ").removeprefix("steer\n") == "a�[2J��b�c"

    person.type("x" * (lines.MAX_CHARACTERS + 5000) + "\n")
    person.see("This message has more than 100,000 characters. Nothing was sent.")
    person.see("\n> ")
    person.type("many lines\n" * 100_000)
    person.see("This message has more than 100,000 characters.")
    person.see("\n> ")
    person.type("many lines\n" * 3 + "y" * 5000 + "z\n")
    person.see("This message is too long: 5038 tokens.")
    person.see("\n> ")
    person.type("three\n\nlines 🖋\n")
    person.see("\n?\n> ")
    person.type("\x1b[200~pasted\ntwice\x1b[201~\n")  # a newer terminal says where a paste begins and ends
    person.see("\n?\n> ")
    person.type("\x1b[A\n")  # arrow up: the line before
    person.see("\n?\n> ")
    person.type("/save a.jsonl\n")
    person.see("Appended")
    (messages,) = read_conversations(tmp_path / "a.jsonl")
    questions = [message["content"] for message in messages if message["role"] == "user"]
    assert questions == ["emoji", "steer", "three\n\nlines 🖋", "pasted\ntwice", "pasted\ntwice"]
    person.see("\n> ")
    person.type("\x04")
    person.see("ended well")


# --- through a pipe --------------------------------------------------------------------------------------


def piped(monkeypatch, capsys, text, dialogue=None):
    """(stdout, stderr) of a chat whose input is `text`."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    Terminal(dialogue or make(), "heart").run()
    return capsys.readouterr()


def test_a_pipe_gives_a_line_for_a_line(monkeypatch, capsys):
    out, err = piped(monkeypatch, capsys, "hi\n\nemoji\nsum\nlines\nsilence\nhi")
    assert out == "hello there\na🖋é\nSee:  so 36.\none\ntwo\n\nhello there\n"
    assert err == ""


def test_mistakes_in_a_pipe_are_told_beside_the_answers(monkeypatch, capsys):
    text = "/oven\nhi\n" + "x" * 300_000 + "\nhi\n/temperature hot\nx\ud800\n/quit\nhi\n"
    out, err = piped(monkeypatch, capsys, text)
    assert out == "hello there\n" * 2
    assert "no command /oven" in err and "more than 100,000 characters" in err and "'hot'" in err
    assert "half a character" in err


def test_what_happened_is_told_beside_the_answers(monkeypatch, capsys):
    out, err = piped(monkeypatch, capsys, "hi\n" * 5, make(block_size=64))
    assert out == "hello there\n" * 5
    assert err.splitlines() == [
        "(The context is full: heart no longer sees the oldest turn.)",
        "(The context is full: heart no longer sees the oldest 2 turns.)",
    ]
    out, err = piped(monkeypatch, capsys, "endless\n", make(block_size=64))
    assert out.startswith("tick tick") and out.count("\n") == 1
    assert err.startswith("(The answer was cut")


def test_ctrl_c_ends_a_pipe(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", io.StringIO("hi\n"))
    dialogue = make()
    dialogue.model.head = interrupted
    with pytest.raises(KeyboardInterrupt):
        Terminal(dialogue).run()


# --- the verb -------------------------------------------------------------------------------------------


def make_talker(inkling):
    """The run `talker`, of one step, whose tokenizer has marks."""
    described = json.loads(TOKENIZER.to_json())
    described["model"]["vocab"]["th"] = 265
    described["model"]["merges"] = [["t", "h"]]
    with DatasetWriter(Path("data/talk"), BPETokenizer(json.dumps(described)), "test") as writer:
        writer.train.add(["Some words for training. " * 20])
        writer.val.add(["Some words for validation. " * 20])
    step = flags({"max_iters": 1, "block_size": 64})
    assert inkling("train", "tiny.toml", "--dataset=talk", "--out_dir=runs/talker", *step)[0] == 0


@pytest.fixture
def runs(tiny, inkling):
    """A run with marks, `talker`, and one without, `writer`, both of one step."""
    make_talker(inkling)
    assert inkling("train", "tiny.toml", "--out_dir=runs/writer", *flags({"max_iters": 1, "block_size": 64}))[0] == 0
    return tiny


def test_chat_with_a_run(runs, inkling, monkeypatch):
    one_question = ["chat", "talker", "--prompt=hi", "--max_new_tokens=20", "--device=cpu", "--threads=1"]
    status, out, err = inkling(*one_question)
    assert status == 0 and out.endswith("\n")
    assert inkling(*one_question) == (0, out, err)
    assert inkling(*one_question, "--seed=5")[1] != out
    monkeypatch.setattr(sys, "stdin", io.StringIO("hi\n"))
    without = [word for word in one_question if not word.startswith("--prompt")]
    assert inkling(*without) == (0, out, err), "a line of a pipe is a question too"
    settings = chat.ChatSettings(prompt="hi", max_new_tokens=20, system="Hm.", runtime=ONE_THREAD)
    messages = chat.main("runs/talker", settings)
    assert [message["role"] for message in messages][:3] == ["system", "user", "assistant"]


def test_what_the_verb_refuses(runs, inkling):
    for words, says_ in [
        (["writer"], "writer cannot chat: its tokenizer has no marks"),
        (["writer"], "inkling sample writer"),
        (["none"], "There is no run 'none'"),
        ([], "chat takes one RUN"),
        (["talker", "writer"], "chat takes one RUN"),
        (["talker", "--temperature=-1"], "temperature=-1"),
        (["talker", "--max_new_tokens=0"], "max_new_tokens=0"),
        (["talker", "--prompt=" + "x" * 100], "This message is too long"),
        (["talker", "--promt=hi"], "--prompt"),
    ]:
        status, out, err = inkling("chat", *words)
        assert status in (1, 2) and out == ""
        assert says_ in err and "Traceback" not in err


# --- commands --------------------------------------------------------------------------------------------


def test_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dialogue = make(system="Hm.")
    assert all(f"/{name}" in obey(dialogue, "/help") for name in COMMANDS)
    assert obey(dialogue, "/undo") == "There is nothing to take back."
    list(dialogue.say("hi"))
    assert obey(dialogue, "/undo") == "Taken back: hi"
    list(dialogue.say("hi"))
    assert obey(dialogue, "/save chat.jsonl") == "Appended to chat.jsonl."
    assert obey(dialogue, "/clear") == "The conversation is forgotten."
    assert dialogue.messages == [system("Hm.")]
    assert obey(dialogue, "/system") == "There is no system text now."
    assert dialogue.messages == []
    assert obey(dialogue, "/load chat.jsonl") == "Going on from chat.jsonl, after 1 question."
    assert dialogue.messages == [system("Hm."), user("hi"), says("hello there")]
    assert obey(dialogue, "/system Be  kind.") == "System text from the next question on: Be  kind."
    assert dialogue.system == "Be  kind."
    assert obey(dialogue, "/temperature 0.5") == "temperature = 0.5"
    assert obey(dialogue, "/temperature") == "temperature = 0.5"
    assert obey(dialogue, "/top-k 7") == obey(dialogue, "/top_k") == "top_k = 7"
    assert (dialogue.sampling.temperature, dialogue.sampling.top_k) == (0.5, 7)
    assert obey(dialogue, "/quit") is None


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("/oven", r"no command /oven.\nCommands: /help, /clear"),
        ("/", "no command /"),
        ("/usr/bin", "no command"),
        ("/temperature hot", r"does not take 'hot'.\nFor example: /temperature 1.0"),
        ("/temperature -1", "temperature=-1"),
        ("/temperature nan", "temperature=nan"),
        ("/top_k 1.5", r"does not take '1.5'.\nFor example: /top_k 1"),
        ("/top_k -1", "top_k=-1"),
        ("/save", "name of a file"),
        ("/load", "name of a file"),
        ("/load none.jsonl", "No such file"),
        ("/save none/chat.jsonl", "Cannot write"),
    ],
)
def test_mistaken_commands(line, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dialogue = make()
    before = dialogue.sampling
    list(dialogue.say("hi"))
    with pytest.raises(UserError, match=match):
        obey(dialogue, line)
    assert dialogue.sampling == before and len(dialogue.messages) == 2
    assert list(tmp_path.iterdir()) == []
