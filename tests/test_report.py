"""The report card: what it says of trainings, imports and runs of other kinds, and that it names what is missing."""

import json
import shutil
from pathlib import Path

import pytest

from conftest import flags
from inkling.evals.markdown import fenced, plain, table
from inkling.evals.report import gather, lineage
from inkling.evals.report_page import write_page
from inkling.evals.report_scores import flat_numbers, scores_table, spread
from inkling.stages.pipeline import BOOK

QUICK = {"max_iters": 3, "eval_interval": 2, "health_interval": 0, "snapshots": 0}

ANSWERED = {
    "task": "almanac",
    "step": 3,
    "seconds": 36.0,
    "mean": 0.75,
    "kinds": {
        "facts": {"right": 1, "asked": 2, "share": 0.5, "low": 0.09, "high": 0.91},
        "greetings": {"right": 2, "asked": 2, "share": 1.0, "low": 0.34, "high": 1.0},
    },
    "answers": [
        {"kind": "facts", "messages": [{"role": "user", "content": "Capital of *France*?"}], "expected": ["Paris"]}
        | {"reply": "Rome | <b>", "shown": "Rome | <b>", "end": "said", "right": False},
        {"kind": "greetings", "messages": [{"role": "user", "content": "Hello!"}], "expected": []}
        | {"reply": "Hello.", "shown": "Hello.", "end": "said", "right": True},
    ],
}


@pytest.fixture
def trained(tiny, inkling):
    """runs/first, and runs/second that began from it."""
    for words in (
        ["--out_dir=runs/first"],
        ["--out_dir=runs/second", "--init_from=runs/first", "--learning_rate=0.01"],
    ):
        status, _, err = inkling("train", "tiny.toml", *flags(QUICK), *words)
        assert status == 0, err
    evaluations = Path("runs/second/evaluations")
    evaluations.mkdir()
    (evaluations / "almanac.json").write_text(json.dumps(ANSWERED), encoding="utf-8")
    return tiny


def test_a_run_and_what_it_began_from(trained, inkling):
    status, out, err = inkling("report", "second", "--price_per_hour=10")
    assert status == 0, err
    assert "report.md" in out
    page = Path("runs/second/report.md").read_text(encoding="utf-8")
    assert page.index("## runs/second\n") < page.index("## runs/first (before it)")
    assert "It began from runs/first (step 3, weights " in page
    metrics = [json.loads(line) for line in Path("runs/second/metrics.jsonl").read_text("utf-8").splitlines()]
    assert f"{metrics[-1]['val_loss']:.4f} at step 3" in page and f"{metrics[0]['loss']:.4f} at step 1" in page
    assert "| learning\\_rate | 0.01 | flag |" in page and "| batch\\_size | 4 | recipe tiny.toml |" in page
    assert "| facts | 50.0% | 9% – 91% | 1 / 2 |" in page and "| mean of 2 kinds | 75.0% |" in page
    assert "Capital of \\*France\\*?<br>→ Rome \\| \\<b\\> (expected: Paris)" in page
    assert "| evaluation of second: almanac | 36s |  | 0.10 |" in page, "36 s at 10 an hour"
    assert "inkling train" not in page.split("## Machine")[1].split("##")[0] and "| torch | " in page
    assert "What is missing" not in page
    for name in ("first", "second"):
        assert f"(report-{name}.svg)" in page and Path(f"runs/second/report-{name}.svg").stat().st_size > 1000


def test_without_a_price_nothing_costs(trained, inkling):
    assert inkling("report", "runs/second", "--out=cards/card.md")[0] == 0
    page = Path("cards/card.md").read_text(encoding="utf-8")
    assert "cost" not in page and Path("cards/card-second.svg").exists()


def test_the_pipelines_book_says_what_the_runs_do_not(trained, inkling):
    book = {
        "tokenizers/x/tokenizer.json": {
            "title": "a vocabulary is learned",
            "seconds": 7.0,
            "made": "ab",
            "process": None,
        },
        "runs/second": {"title": "it learns", "seconds": 65.0, "made": "cd", "process": None},
        "runs/third": {"title": "not yet", "seconds": 65.0, "made": None, "process": None},
    }
    Path(f"runs/second{BOOK}").write_text(json.dumps(book), encoding="utf-8")
    assert inkling("report", "second")[0] == 0
    page = Path("runs/second/report.md").read_text(encoding="utf-8")
    assert "| a vocabulary is learned | 7s |  |" in page and "| it learns | 1m05s |" in page
    assert "| in all | 1m12s |" in page and "not yet" not in page


def test_what_is_missing_is_named(trained, inkling):
    shutil.rmtree("runs/first")
    shutil.rmtree("data/tiny")
    Path("runs/second/environment.json").unlink()
    Path("runs/second/metrics.jsonl").unlink()
    Path("runs/second/evaluations/broken.json").write_text("{", encoding="utf-8")
    assert inkling("report", "second")[0] == 0
    missing = Path("runs/second/report.md").read_text(encoding="utf-8").split("## What is missing")[1]
    for what in ("machine and versions", "losses", "data set tiny", "broken.json", "'runs/first', which is not here"):
        assert what in missing


def test_settings_that_cannot_be_read_leave_the_rest(trained, inkling):
    Path("runs/second/resolved.toml").write_text("= broken", encoding="utf-8")
    assert inkling("report", "second")[0] == 0
    page = Path("runs/second/report.md").read_text(encoding="utf-8")
    assert "its settings, resolved.toml" in page and "| parameters |" in page, "from the checkpoint"


def test_a_killed_command_has_no_time(trained):
    file = Path("runs/second/environment.json")
    (entry,) = json.loads(file.read_text(encoding="utf-8"))
    killed = {key: value for key, value in entry.items() if key not in ("wall_seconds", "peak_memory_bytes")}
    file.write_text(json.dumps([killed | {"ended": "running"}, entry]), encoding="utf-8")
    found = gather(Path("runs/second"))
    assert found.wall_seconds == entry["wall_seconds"]
    assert found.missing == ["the time of 1 of its commands, which were killed or are still running"]


def test_a_run_of_other_metrics(trained):
    """Reinforcement learning writes rewards, of which the best is the highest."""
    rows = [
        {"step": 1, "reward": 0.2, "pass@1": 0.3},
        {"step": 2, "reward": 0.5},
        {"step": 3, "reward": 0.4, "tokens": 9},
    ]
    Path("runs/second/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    page = write_page(lineage(Path("runs/second")), {}, {}, None, 3, {})
    assert "| reward | 0.2000 at step 1 | 0.5000 at step 2 | 0.4000 at step 3 |" in page
    assert "| pass@1 | 0.3000 at step 1 | 0.3000 at step 1 | 0.3000 at step 1 |" in page


def test_an_import(trained, inkling):
    assert inkling("export", "first", "--to=hf", "--out=published")[0] == 0
    assert inkling("import", "published", "--out_dir=runs/bought")[0] == 0
    status, _, err = inkling("report", "bought")
    assert status == 0, err
    page = Path("runs/bought/report.md").read_text(encoding="utf-8")
    assert "imported from published" in page and "which was published elsewhere" in page and "Learning" not in page


def test_a_parent_that_is_its_own_child_ends_the_line(trained):
    Path("runs/first/parent").write_text(json.dumps({"run": "runs/second", "step": 3, "sha256": "x"}), encoding="utf-8")
    assert [run.path.name for run in lineage(Path("runs/second"))] == ["second", "first"]


def test_scores_of_other_kinds_are_shown_as_they_are():
    """What bits per byte, CORE and pass@k will write is not known here: every number is shown."""
    core = {"task": "core", "step": 5, "value": 0.1139, "tasks": {"hellaswag": {"accuracy": 0.3, "centred": 0.07}}}
    assert flat_numbers(core) == [
        ("value", 0.1139),
        ("tasks / hellaswag / accuracy", 0.3),
        ("tasks / hellaswag / centred", 0.07),
    ]
    assert "| tasks / hellaswag / centred | 0.07 |" in scores_table(core)
    assert scores_table({"task": "x", "settings": {"seed": 1}}) == ""


def test_no_text_steers_the_page():
    assert plain("a|b\n# *c* \x1b[0m") == "a\\|b \\# \\*c\\* \ufffd\\[0m"
    assert plain("x" * 500).endswith(" …")
    assert fenced("a ``` b").splitlines()[0] == "````text"
    assert table(["a"], []) == ""
    assert spread(list(range(10)), 3) == [0, 3, 6] and spread([1], 3) == [1] and spread([1], 0) == []


def test_it_speaks_to_the_person(tiny, inkling):
    for words, said in {
        (): "one RUN",
        ("nowhere",): "no run 'nowhere'",
        ("x", "--price_per_hour=-1"): "at least 0",
        ("x", "--examples=-1"): "at least 0",
        ("x", "--out=card.pdf"): "no Markdown file",
    }.items():
        status, _, err = inkling("report", *words)
        assert status in (1, 2) and said in err and "Traceback" not in err
