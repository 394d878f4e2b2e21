"""The whole way in one command: what it runs, that it goes on where it stopped, and what stands in its way."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from conftest import command
from inkling.errors import UserError
from inkling.files import sha256_of
from inkling.stages import pipeline, speedrun
from inkling.stages.pipeline import BOOK, Book, state_of
from inkling.stages.pipelines import cpu
from inkling.stages.pipelines.settings import SpeedrunSettings, again, settled
from inkling.text.tokenizer_sources import trained_tokenizer

SMALL = settled(
    SpeedrunSettings(name="bot", vocab_size=300, documents=60, conversations=60, read_steps=2, teach_steps=2), "cpu"
)
STAGES = ["tokenizer", "prepare", "prepare", "train", "sft", "evaluate"]


@pytest.fixture
def called(tmp_path, monkeypatch):
    """The commands that were run, each leaving what the real one would; `called.fail` is the verb that fails."""
    monkeypatch.chdir(tmp_path)

    class Called(list):
        fail = ""

    calls = Called()

    def call(words, processes=1, started=lambda pid: None):
        calls.append(words)
        started(os.getpid())
        flags = dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)
        if words[0] in ("train", "sft"):
            folder = Path(flags["out_dir"])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "resolved.toml").write_text("max_iters = 2\n", encoding="utf-8")
        if words[0] == calls.fail:
            return 130
        if words[0] == "tokenizer":
            Path("tokenizers/bot").mkdir(parents=True, exist_ok=True)
            merge = (ord("a"), ord("n") if "--vocab_size=300" in words else ord("t"))
            trained_tokenizer([merge], "cl100k").save("tokenizers/bot/tokenizer.json")
        elif words[0] == "prepare":
            made = Path(flags["data_dir"], words[1], "meta.json")
            made.parent.mkdir(parents=True, exist_ok=True)
            vocabulary = Path(flags["tokenizer"], "tokenizer.json").read_bytes()
            made.write_text(json.dumps([*words, hashlib.sha256(vocabulary).hexdigest()]), encoding="utf-8")
        elif words[0] in ("train", "sft"):
            manifest = Path(flags["out_dir"], "checkpoints", "step-000002", "manifest.json")
            manifest.parent.mkdir(parents=True, exist_ok=True)
            manifest.write_text(json.dumps({"model": str(words)}), encoding="utf-8")
        else:
            asked = Path(words[1], "evaluations", "almanac.json")
            asked.parent.mkdir(exist_ok=True)
            asked.write_text("{}", encoding="utf-8")
        return 0

    monkeypatch.setattr(pipeline, "call", call)
    monkeypatch.setattr(speedrun, "converse", lambda settings: calls.append(("converse",)))
    monkeypatch.setattr(speedrun.report, "main", lambda run, settings: calls.append(("report", run)))
    return calls


def verbs(calls):
    return [words[0] for words in calls]


def states(settings):
    plan = cpu.plan(settings)
    return [state_of(stage, Book(plan.book)) for stage in plan.stages]


def test_every_stage_is_run_in_order_and_none_twice(called, capsys):
    assert states(SMALL) == ["new"] * 6
    speedrun.main(SMALL)
    assert verbs(called) == [*STAGES, "converse", "report"]
    out = capsys.readouterr().out
    assert "$ inkling tokenizer train bot" in out and "what it took" in out and "inkling chat bot" in out
    called.clear()
    speedrun.main(SMALL)
    assert verbs(called) == ["converse", "report"], "and the exam is not taken again"
    book = json.loads(Path(f"runs/bot{BOOK}").read_text(encoding="utf-8"))
    assert [entry["asked"]["words"][0] for entry in book.values()] == STAGES
    assert all(entry["made"] and entry["seconds"] >= 0 and entry["process"] is None for entry in book.values())
    assert book["data/bot/almanac/meta.json"]["made"] == sha256_of(Path("data/bot/almanac/meta.json"))


def test_it_goes_on_where_it_stopped(called):
    called.fail = "sft"
    with pytest.raises(UserError, match=r"goes on from here: inkling speedrun .*--documents=60 .*--name=bot") as error:
        speedrun.main(SMALL)
    assert error.value.status == 130
    assert states(SMALL) == ["done"] * 4 + ["begun", "new"]
    called.clear()
    called.fail = ""
    speedrun.main(SMALL)
    assert called[0] == ("sft", "--out_dir=runs/bot", "--resume")
    assert verbs(called) == ["sft", "evaluate", "converse", "report"]


def test_a_training_of_other_data_is_not_touched_and_neither_is_its_data(called):
    speedrun.main(SMALL)
    before = sha256_of(Path("data/bot/almanac_chat/meta.json"))
    more = replace(SMALL, conversations=61)
    assert states(more) == ["done", "done", "changed", "done", "done", "done"], "the data is as it was yet"
    called.clear()
    with pytest.raises(UserError, match="have changed since runs/bot-base was trained") as error:
        speedrun.main(more)
    assert "delete runs/bot-base" in str(error.value) and not called
    assert sha256_of(Path("data/bot/almanac_chat/meta.json")) == before


@pytest.mark.parametrize(
    "change",
    [
        {"vocab_size": 301},
        {"documents": 61},
        {"read_steps": 3},
        {"teach_steps": 3},
        {"seed": 1338},
    ],
)
def test_every_setting_counts(called, change):
    """Done means done with the same settings: a vocabulary of another size was once taken for the one asked for."""
    called.fail = "evaluate"
    with pytest.raises(UserError):
        speedrun.main(SMALL)
    with pytest.raises(UserError, match="have changed since"):
        speedrun.main(replace(SMALL, **change))


def test_what_is_cheap_is_made_anew(called):
    """Before anything was trained on it, text of other settings replaces what is there."""
    called.fail = "train"
    with pytest.raises(UserError):
        speedrun.main(SMALL)
    Path("runs/bot-base/resolved.toml").unlink()
    called.clear()
    called.fail = ""
    speedrun.main(replace(SMALL, vocab_size=301))
    assert verbs(called) == [*STAGES, "converse", "report"]


def test_what_was_deleted_is_made_again_and_a_training_on_it_stands(called):
    speedrun.main(SMALL)
    Path("data/bot/almanac/meta.json").unlink()
    called.clear()
    speedrun.main(SMALL)
    assert verbs(called) == ["prepare", "converse", "report"]


def test_what_somebody_changed_is_noticed(called):
    speedrun.main(SMALL)
    Path("runs/bot/evaluations/almanac.json").write_text('{"mean": 1}', encoding="utf-8")
    called.clear()
    speedrun.main(SMALL)
    assert verbs(called) == ["evaluate", "converse", "report"]
    Path("runs/bot/checkpoints/step-000002/manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="since runs/bot was trained"):
        speedrun.main(SMALL)


def test_what_it_did_not_make_it_leaves_alone(called):
    Path("tokenizers/bot").mkdir(parents=True)
    trained_tokenizer([(1, 2)], "cl100k").save("tokenizers/bot/tokenizer.json")
    with pytest.raises(UserError, match=r"tokenizer\.json is there, and not of this pipeline"):
        speedrun.main(SMALL)
    assert not called


def test_a_stage_that_outlived_its_pipeline_is_not_run_twice(called):
    called.fail = "train"
    with pytest.raises(UserError):
        speedrun.main(SMALL)
    book = Book(Path(f"runs/bot{BOOK}"))
    stage = cpu.plan(SMALL).stages[3]
    began = round(psutil.Process().create_time())
    book.note(stage, process=[os.getpid(), began])
    with pytest.raises(UserError, match=f"still running, as process {os.getpid()}"):
        speedrun.main(SMALL)
    book.note(stage, process=[os.getpid(), began - 100])  # the number was given again
    called.fail = ""
    speedrun.main(SMALL)


@pytest.mark.parametrize(("ended", "status"), [(0, 130), (130, 130), (3, 3)])
def test_ctrl_c_ends_the_way_even_where_the_command_had_just_finished(monkeypatch, ended, status):
    class Finishing:
        """A command that ends well or not, and Ctrl-C comes while it is waited for."""

        pid = os.getpid()

        def __init__(self, words):
            self.waits = [KeyboardInterrupt(), ended]

        def wait(self):
            came = self.waits.pop(0)
            if isinstance(came, KeyboardInterrupt):
                raise came
            return came

    monkeypatch.setattr(pipeline.subprocess, "Popen", Finishing)
    assert pipeline.call(["data", "books"]) == status


def test_it_speaks_to_the_person(called, inkling):
    status, _, err = inkling("speedrun", "now")
    assert status == 2 and "takes no 'now'" in err
    status, _, err = inkling("speedrun", "--name=../x")
    assert status == 2 and "no name" in err
    status, _, err = inkling("speedrun", "--depth=4")
    assert status == 2 and "--depth means nothing to speedrun cpu" in err
    status, out, _ = inkling("speedrun", "cpu", "--dry_run")
    assert status == 0 and "$ inkling sft runs/chatbot-base" in out and not called
    Path("runs").mkdir()
    Path(f"runs/chatbot{BOOK}").write_text("{", encoding="utf-8")
    status, _, err = inkling("speedrun")
    assert status == 1 and "is damaged" in err


def test_the_command_that_goes_on():
    assert again(settled(SpeedrunSettings(), "cpu"), "cpu") == "inkling speedrun"
    some = SpeedrunSettings(name="bot", documents=3, tables="mine")
    assert again(settled(some, "cpu"), "cpu") == "inkling speedrun --documents=3 --tables=mine --name=bot"
    assert again(settled(SpeedrunSettings(yes=True), "gpu"), "gpu") == "inkling speedrun gpu --yes"


# --- the real thing ------------------------------------------------------------------------------------------

WORDS = ["--vocab_size=400", "--documents=4000", "--conversations=3000", "--read_steps=40", "--teach_steps=40"]
WORDS += ["--questions=2", "--name=bot"]


def speedrun_in(folder: Path) -> subprocess.Popen:
    """The command, as the first process of a group of its own, so that a signal can reach all of them.

    A shell that runs tests in its background lets them ignore Ctrl-C, and what they start as well: that is undone.
    """
    folder.mkdir(exist_ok=True)
    out = (folder / "out.txt").open("a", encoding="utf-8")
    with out:
        return subprocess.Popen(
            command("speedrun", *WORDS),
            cwd=folder,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def results(folder: Path) -> dict[str, object]:
    """What an undisturbed and a disturbed way must agree in."""
    answers = json.loads((folder / "runs/bot/evaluations/almanac.json").read_text(encoding="utf-8"))
    found: dict[str, object] = {"answers": answers["answers"], "kinds": answers["kinds"]}
    for run in ("bot-base", "bot"):
        checkpoints = folder / "runs" / run / "checkpoints"
        last = json.loads((checkpoints / "index.json").read_text(encoding="utf-8"))["last"]
        found[run] = last, sha256_of(checkpoints / f"step-{last:06d}" / "model.safetensors")
        rows = [json.loads(line) for line in (folder / "runs" / run / "metrics.jsonl").read_text("utf-8").splitlines()]
        found[f"{run} losses"] = [(row["step"], row["loss"], row.get("val_loss")) for row in rows]
    for data in ("almanac", "almanac_chat"):
        found[data] = hashlib.sha256((folder / f"data/bot/{data}/train.bin").read_bytes()).hexdigest()
    return found


# Stage → a sign that it is at work, in its own folder: what it writes first, or early.
SIGNS = {
    "a vocabulary is learned": "",
    "facts become text": "data/bot/almanac/.unfinished/journal.jsonl",
    "facts become conversations": "data/bot/almanac_chat/.unfinished/journal.jsonl",
    "a small GPT reads": "runs/bot-base/metrics.jsonl",
    "it learns to answer": "runs/bot/metrics.jsonl",
    "questions that it has never seen": "",
}


def wait_until_at_work(process: subprocess.Popen, folder: Path, title: str) -> None:
    """Return when this process's own stage of this title has begun its work; at once when the process has ended.

    What was killed before leaves a book that names its process, and a sign: neither is of this one.
    """
    book, sign = folder / f"runs/bot{BOOK}", folder / SIGNS[title]
    began = time.time()
    end = time.monotonic() + 600  # a busy machine once took more than two minutes to come to the fifth stage
    while process.poll() is None:
        assert time.monotonic() < end, f"{title!r} did not begin"
        try:
            entries = json.loads(book.read_text(encoding="utf-8")).values()
        except (OSError, ValueError):
            entries = []
        for pid in [entry["process"][0] for entry in entries if entry["title"] == title and entry["process"]]:
            with contextlib.suppress(OSError, psutil.Error):
                if os.getpgid(pid) != process.pid:
                    continue
                if not SIGNS[title] and psutil.Process(pid).cpu_times().user > 1.0:  # past the start of Python itself
                    return
                seen = sign.stat()
                if SIGNS[title] and seen.st_mtime > began and seen.st_size > (400 if "metrics" in sign.name else 0):
                    return
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_interrupted_in_every_stage_it_ends_as_if_it_had_not_been(tmp_path):
    """Killed in each stage, begun again, and asked by Ctrl-C to end: the same weights, losses and answers come out."""
    assert speedrun_in(tmp_path / "quiet").wait(timeout=600) == 0
    expected = results(tmp_path / "quiet")
    folder = tmp_path / "disturbed"
    for title in SIGNS:
        for how in (signal.SIGKILL, signal.SIGINT):
            process = speedrun_in(folder)
            wait_until_at_work(process, folder, title)
            assert process.poll() is None, f"{how.name} came too late for {title!r}"
            os.killpg(process.pid, how)
            process.wait(timeout=120)
    assert speedrun_in(folder).wait(timeout=600) == 0
    assert results(folder) == expected
    out = (folder / "out.txt").read_text(encoding="utf-8")
    assert "Traceback" not in out, out
    resumed = [line for line in out.splitlines() if line.startswith("$ inkling") and line.endswith("--resume")]
    assert len(resumed) == 4, "both trainings went on, from nothing and from what Ctrl-C had saved"


@pytest.mark.slow
def test_the_real_thing_in_small(tmp_path):
    whole = command("speedrun", *WORDS)

    def run():
        return subprocess.run(whole, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=300)

    done = run()
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("--- a conversation") == 3
    scores = json.loads((tmp_path / "runs/bot/evaluations/almanac.json").read_text(encoding="utf-8"))
    assert scores
    again = run()
    assert again.returncode == 0 and again.stdout.count("done already") == 6
