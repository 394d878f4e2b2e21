"""`inkling serve RUN`: a process that listens, answers, and ends when it is told to."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import openai
import pytest

from conftest import clean_environment, command
from inkling.runtime import RuntimeSettings, decide
from inkling.stages import serve
from test_chat import runs
from test_serve import client_of

__all__ = ["runs"]


@pytest.fixture
def talks(runs):
    """`runs`, with `talker` as if it had been taught by `inkling sft`, whose rows are not a stream."""
    rewrite("packing", '"pad"')


def rewrite(key, value):
    """Change what `talker` says of its training."""
    resolved = Path("runs/talker/resolved.toml")
    lines = resolved.read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"{key} ="))
    lines[first] = f"{key} = {value}"
    resolved.write_text("\n".join(lines) + "\n", encoding="utf-8")


def start(*words):
    """The process and its address, once it listens."""
    process = subprocess.Popen(
        command("serve", *words, "--port=0", "--device=cpu", "--threads=1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    line = process.stdout.readline()
    assert line.startswith("Serving "), process.stderr.read()
    return process, line.split(" at ")[1].split()[0]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_it_serves_and_at_sigterm_ends_what_it_began(talks):
    process, address = start("talker", "--max_tokens=100000")
    try:
        client = client_of(address)
        model = client.models.list().data[0]
        assert model.id == "talker" and model.can_chat
        stream = client.completions.create(model="talker", prompt="a", max_tokens=2000, temperature=0, stream=True)
        pieces = iter(stream)
        next(pieces)
        ended = threading.Timer(0.05, os.kill, [process.pid, signal.SIGTERM])
        ended.start()
        reasons = [chunk.choices[0].finish_reason for chunk in pieces]
        assert reasons[-1] in ("length", "stop"), "the answer went on to its end"
        assert process.wait(20) == 0
        assert process.stdout.read().endswith("Ended.\n") and "Traceback" not in process.stderr.read()
        with pytest.raises(openai.APIConnectionError):
            client.models.list()
    finally:
        process.kill()
        process.communicate()


def test_what_is_served_of_a_run(talks):
    runtime = decide(RuntimeSettings(device="cpu", dtype="float32", threads=1, compile=False))
    talker, writer = serve.open_served("talker", "", runtime), serve.open_served("runs/writer", "pen", runtime)
    assert (talker.name, talker.run, talker.can_chat) == ("talker", Path("runs/talker"), True)
    assert (writer.name, writer.run, writer.can_chat) == ("pen", Path("runs/writer"), False)
    assert not talker.model.training


def test_marks_alone_do_not_make_a_talker(runs):
    runtime = decide(RuntimeSettings(device="cpu", dtype="float32", threads=1, compile=False))
    assert not serve.open_served("talker", "", runtime).can_chat


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "serve takes one RUN"),
        (["none"], "There is no run 'none'"),
        (["talker", "--host=0.0.0.0"], "--token=SECRET, or --no_token"),
        (["talker", "--host=0.0.0.0", "--token=a", "--no_token"], "contradict"),
        (["talker", "--token=sécret"], "plain ASCII"),
        (["talker", "--token=FILE:nowhere"], "Cannot read the token in nowhere"),
        (["talker", "--port=70000"], "port=70000"),
        (["talker", "--max_rows=0"], "max_rows=0"),
        (["talker", "--drain_seconds=-1"], "drain_seconds"),
        (["talker", "--host=256.1.1.1", "--no_token"], "Cannot listen at 256.1.1.1"),
        (["talker", "--prot=1"], "--port"),
    ],
    ids=str,
)
def test_what_the_verb_refuses(runs, inkling, words, says):
    status, out, err = inkling("serve", *words, "--device=cpu", "--threads=1")
    assert status in (1, 2) and "Serving" not in out
    assert says in err and "Traceback" not in err


def test_without_its_packages_it_says_which(runs, inkling, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "fastapi" else find(name, *rest)
    )
    status, _, err = inkling("serve", "talker")
    assert status == 1 and "fastapi" in err and "inkling-lm[serve]" in err
