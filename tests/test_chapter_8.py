"""Chapter 8 of the guide, followed to the letter: an empty folder, what the page says to type, and a bot that talks."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from book.machine.parts import Part, read_page
from conftest import ROOT, clean_environment

PAGE = "guide/08_putting_it_together.md"
CODE = "book/guide/chatbot/"
# Runs the commands in one process, so that PyTorch is loaded once: the words of each as a list of JSON.
DRIVER = """
import json, runpy, sys
sys.path.insert(0, "")
for words in json.loads(sys.argv[1]):
    print("$ python", *words, flush=True)
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
"""


def parts() -> tuple[Part, ...]:
    return read_page(PAGE, (ROOT / "book" / PAGE).read_text(encoding="utf-8")).parts


def listings() -> dict[str, str]:
    """File name → what the page shows of it, one piece below the other."""
    files: dict[str, list[str]] = {}
    for part in parts():
        path = part.args.split(" ")[0]
        if part.kind == "code" and path.startswith(CODE) and path.endswith(".py"):
            fence = [i for i, line in enumerate(part.lines) if line.startswith("```")]
            files.setdefault(path.removeprefix(CODE), []).append("\n".join(part.lines[fence[0] + 1 : fence[-1]]))
    return {name: "\n\n\n".join(pieces) + "\n" for name, pieces in files.items()}


def commands() -> list[list[str]]:
    """The words behind `python` of every command of the page that runs a file of the bot's."""
    fences = (part for part in parts() if part.kind == "fence" and part.args == "console")
    lines = [line for fence in fences for line in fence.body.split("\n")]
    return [
        [words[0], *([" ".join(words[1:]).strip('"')] if len(words) > 1 else [])]
        for words in (line.removeprefix("$ python ").split(" ") for line in lines if line.startswith("$ python "))
    ]


def follow(folder: Path, chosen: list[list[str]], seconds: float) -> str:
    """Type the page's files into the folder and run the commands; what they printed."""
    for name, text in listings().items():
        (folder / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(chosen)],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=seconds,
        env=clean_environment(PYTHONUTF8="1", PYTHONPATH=str(ROOT / "src")),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_shows_every_file_whole():
    shown = listings()
    assert sorted(shown) == sorted(file.name for file in (ROOT / CODE).glob("*.py"))
    for name, text in shown.items():
        source = (ROOT / CODE / name).read_text(encoding="utf-8")
        assert ast.dump(ast.parse(text)) == ast.dump(ast.parse(source)), name


def test_every_file_that_can_be_run_is_run():
    run = [words[0] for words in commands()]
    assert {file.name for file in (ROOT / CODE).glob("test_*.py")} <= set(run)
    for name, stage in (("train.py", "pretrain"), ("train.py", "sft"), ("chat.py", "Who are you?"), ("exam.py", None)):
        assert [name, *([stage] if stage else [])] in commands()
    assert run.index("test_tokenizer.py") < run.index("data.py") < run.index("train.py") < run.index("test_serve.py")


@pytest.mark.slow
def test_the_chapter_in_small(tmp_path):
    small = {"data.py": ["400"], "train.py": ["4"], "exam.py": ["2"]}
    chosen = [[*words, *small.get(words[0], [])] for words in commands() if words[0] != "serve.py"]
    printed = follow(tmp_path, chosen, 500)
    for step in ("tokenizer", "data", "model", "train", "chat", "serve"):
        assert f"{step}: ok" in printed


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_chapter_ends_with_a_model_that_talks(tmp_path):
    printed = follow(tmp_path, [words for words in commands() if words[0] != "serve.py"], 3500)
    talk = printed.partition("$ python chat.py")[2]
    assert "The capital of France is Paris." in talk
    assert "It is 1161." in talk and "I am a small language model that you built." in talk
    counts = re.findall(r"^(asked|read|sums) +(\d+) of (\d+)$", talk, flags=re.MULTILINE)
    right = {kind: int(good) / int(all_of_them) for kind, good, all_of_them in counts}
    assert right["sums"] > 0.8 and right["read"] > 0.3, right
    assert right["asked"] < right["read"], "the page says why"
