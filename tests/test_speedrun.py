"""The whole way in one command: what it runs, that it goes on where it stopped, and what stands in its way."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import command
from inkling.errors import UserError
from inkling.stages import prepare, speedrun
from inkling.stages.speedrun import SpeedrunSettings, stages_of
from inkling.text.tokenizer_sources import trained_tokenizer

SMALL = SpeedrunSettings(name="bot", vocab_size=300, documents=60, conversations=60, read_steps=2, teach_steps=2)


@pytest.fixture
def called(tmp_path, monkeypatch):
    """The commands that were run, each leaving what the real one would; `called.fail` is the verb that fails."""
    monkeypatch.chdir(tmp_path)

    class Called(list):
        fail = ""

    calls = Called()

    def call(words):
        calls.append(words)
        if words[0] == calls.fail:
            return 130
        flags = dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)
        if words[0] == "tokenizer":
            Path("tokenizers/bot").mkdir(parents=True)
            trained_tokenizer([(ord("a"), ord("n"))], "cl100k").save("tokenizers/bot/tokenizer.json")
        elif words[0] == "prepare":
            kept = prepare.PrepareSettings(
                documents=int(flags["documents"]),
                data_dir=flags["data_dir"],
                tokenizer=flags["tokenizer"],
                seed=int(flags["seed"]),
            )
            prepare.main(words[1], kept)
        elif words[0] in ("train", "sft"):
            folder = Path(flags["out_dir"])
            (folder / "checkpoints" / "step-000002").mkdir(parents=True)
            (folder / "resolved.toml").write_text("max_iters = 2\n", encoding="utf-8")
            (folder / "config.toml").write_text("", encoding="utf-8")
            an_hour_ago = (folder / "config.toml").stat().st_mtime - 3600
            for made in Path("data").rglob("meta.json"):  # so that no clock's grain decides
                os.utime(made, (an_hour_ago, an_hour_ago))
        return 0

    monkeypatch.setattr(speedrun, "_call", call)
    monkeypatch.setattr(speedrun, "converse", lambda settings: calls.append(("converse",)))
    return calls


def verbs(calls):
    return [words[0] for words in calls]


def test_every_stage_is_run_in_order_and_none_twice(called, capsys):
    speedrun.main(SMALL)
    whole = ["tokenizer", "prepare", "prepare", "train", "sft", "evaluate"]
    assert verbs(called) == [*whole, "converse"]
    out = capsys.readouterr().out
    assert "$ inkling tokenizer train bot" in out and "what it took" in out and "inkling chat bot" in out
    called.clear()
    speedrun.main(SMALL)
    assert verbs(called) == ["evaluate", "converse"], "only the exam is taken again"


def test_it_goes_on_where_it_stopped(called):
    called.fail = "sft"
    with pytest.raises(UserError, match="goes on from here: inkling speedrun --name=bot") as error:
        speedrun.main(SMALL)
    assert error.value.status == 130
    called.clear()
    called.fail = ""
    Path("runs/bot").mkdir(parents=True)
    Path("runs/bot/config.toml").write_text("", encoding="utf-8")
    Path("runs/bot/resolved.toml").write_text("max_iters = 2\n", encoding="utf-8")
    stages = stages_of(SMALL)
    assert [stage.is_done for stage in stages] == [True, True, True, True, False, False]
    assert stages[4].words == ("sft", "--out_dir=runs/bot", "--resume")


def test_a_model_of_other_data_stands_in_the_way(called):
    speedrun.main(SMALL)
    more = replace(SMALL, conversations=61)
    assert [stage.is_done for stage in stages_of(more)] == [True, True, False, True, True, False]
    with pytest.raises(UserError, match="have changed since runs/bot-base was trained") as error:
        speedrun.main(more)
    assert "delete runs/bot-base" in str(error.value)


def test_it_speaks_to_the_person(called, inkling):
    status, _, err = inkling("speedrun", "now")
    assert status == 2 and "takes no 'now'" in err
    status, _, err = inkling("speedrun", "--name=../x")
    assert status == 2 and "no name" in err


@pytest.mark.slow
def test_the_real_thing_in_small(tmp_path):
    words = ["--name=bot", "--vocab_size=400", "--documents=300", "--conversations=300", "--read_steps=3"]
    whole = command("speedrun", *words, "--teach_steps=3", "--questions=2")

    def run():
        return subprocess.run(whole, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=300)

    done = run()
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("--- a conversation") == 3
    scores = json.loads((tmp_path / "runs/bot/evaluations/almanac.json").read_text(encoding="utf-8"))
    assert scores
    again = run()
    assert again.returncode == 0 and again.stdout.count("done already") == 5
