"""What `inkling rl` adds to a bot that was taught briefly: three seeds, a table and a curve → benchmarks/rl.md, rl.svg.

    python benchmarks/rl.py                       # about twenty minutes on two cores, half of them for the bot
    python benchmarks/rl.py --seeds 1 --folder runs/benchmark-rl

The bot is that of `inkling speedrun`, with fewer steps of teaching. Everything is kept in `--folder`, and what is there
is not done again. It practises sums, with the calculator. The exam's numbers and phrasings are kept out of teaching and
of practice.
"""

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from inkling.runtime import describe_machine
from inkling.train.progress import read_metrics

HERE = Path(__file__).resolve().parent
KIND = "arithmetic"
AIM = 20  # points of pass@1
TEACH_STEPS = 600  # of 1,600: so that there is something left to practise
# Exams take up to a minute more: three minutes in all.
PRACTICE = ["--max_iters=60", "--max_seconds=115", "--decay_lr=True", "--schedule=linear", "--rate=0.2"]
PRACTICE += ["--eval_interval=10", "--max_new_tokens=48"]


def inkling(*words: str) -> float:
    """Run a command; the seconds it took, from the start of the process to its end."""
    print("$ inkling", shlex.join(words), file=sys.stderr, flush=True)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "inkling", *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def make_bot(teach_steps: int) -> None:
    """tokenizers/bot, data/bot, runs/bot-base and runs/bot."""
    common = ("--data_dir=data/bot", "--tokenizer=tokenizers/bot")
    if not Path("tokenizers/bot/tokenizer.json").exists():
        inkling("tokenizer", "train", "bot", "--input=almanac", "--vocab_size=512")
    for name, documents in (("almanac", 24_000), ("almanac_chat", 42_000)):
        if not Path("data/bot", name, "meta.json").exists():
            inkling("prepare", name, f"--documents={documents}", *common)
    mixture = "--dataset=data/bot/almanac:0.6,data/bot/almanac_chat:0.4"
    train("bot-base", "train", "almanac", mixture, "--max_iters=500")
    teaching = (f"--max_iters={teach_steps}", "--rate=0.7", "--eval_interval=500", "--eval_tokens=32768")
    train("bot", "sft", "runs/bot-base", "--dataset=data/bot/almanac_chat", *teaching)


def train(run: str, verb: str, *words: str) -> float:
    """Begin a training, or go on with it; a finished one does nothing."""
    if Path("runs", run, "resolved.toml").exists():
        return inkling(verb, f"--out_dir=runs/{run}", "--resume")
    return inkling(verb, *words, f"--out_dir=runs/{run}")


def score(run: str, questions: int) -> dict[str, float]:
    """Kind → share of right answers, each answer the likeliest one."""
    report = Path("runs", run, "evaluations", "almanac.json")
    if not report.exists():
        inkling("evaluate", f"runs/{run}", f"--max_questions={questions}", "--show=0")
    return {kind: each["share"] for kind, each in json.loads(report.read_text(encoding="utf-8"))["kinds"].items()}


def practise(seed: int, settings: list[str]) -> tuple[str, float]:
    """(the run, seconds from the command's start to its end)."""
    run, took = f"rl-{seed}", Path("runs", f"rl-{seed}", "took")
    if not took.exists():
        seconds = train(run, "rl", "runs/bot", f"--kinds={KIND}", f"--seed={seed}", *settings)
        took.write_text(f"{seconds:.1f}\n", encoding="utf-8")
    return run, float(took.read_text(encoding="utf-8"))


def table(runs: list[tuple[str, float]], before: dict[str, float], after: list[dict[str, float]]) -> list[str]:
    """Lines of Markdown, one for each seed."""
    lines = [
        "| seed | seconds | steps | pass@1 before | after | gained | pass@8 before | after "
        "| likeliest before | after |",
        "| --- |" + " --- |" * 9,
    ]
    for (run, seconds), scores in zip(runs, after, strict=True):
        first, last = exams_of(run)
        shares = [f"{share:.1%}" for share in (first["pass@8"], last["pass@8"], before[KIND], scores[KIND])]
        lines.append(
            f"| {run.removeprefix('rl-')} | {seconds:.0f} | {last['step']} | {first['pass@1']:.1%} | "
            f"{last['pass@1']:.1%} | {gained(run):+.1f} points | {' | '.join(shares)} |"
        )
    return lines


def exams_of(run: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rows of the first exam and of the last."""
    rows = [row for row in read_metrics(Path("runs", run, "metrics.jsonl")) if "pass@1" in row]
    return rows[0], rows[-1]


def gained(run: str) -> float:
    """Points of pass@1."""
    first, last = exams_of(run)
    return 100 * (last["pass@1"] - first["pass@1"])


def verdict(runs: list[tuple[str, float]]) -> str:
    """Whether the aim was reached, in a sentence."""
    points = [gained(run) for run, _ in runs]
    reached = sum(one >= AIM for one in points)
    return (
        f"The aim is {AIM} points with each seed: {reached} of {len(points)} reach it, the mean is "
        f"{statistics.mean(points):+.1f}. What practice did to other kinds and other bots is in experiments/LOG.md."
    )


def others(before: dict[str, float], after: list[dict[str, float]]) -> list[str]:
    """What practice in one kind did to all of them."""
    lines = ["| kind | before | after, mean of the seeds |", "| --- | --- | --- |"]
    for kind, share in before.items():
        lines.append(f"| {kind} | {share:.1%} | {statistics.mean(scores[kind] for scores in after):.1%} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark-rl"))
    parser.add_argument("--teach-steps", type=int, default=TEACH_STEPS)
    parser.add_argument("--questions", type=int, default=300)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(arguments.folder)
    make_bot(arguments.teach_steps)
    before = score("bot", arguments.questions)
    runs = [practise(1337 + number, PRACTICE) for number in range(arguments.seeds)]
    after = [score(run, arguments.questions) for run, _ in runs]
    inkling("plot", *(f"runs/{run}" for run, _ in runs), "--x=seconds", "--out=rl.svg")
    shutil.copyfile("rl.svg", HERE / "rl.svg")
    text = page(describe_machine(), arguments.teach_steps, arguments.questions, runs, before, after)
    (HERE / "rl.md").write_text(text, encoding="utf-8")
    print(text)


def page(
    machine: dict[str, Any],
    teach_steps: int,
    questions: int,
    runs: list[tuple[str, float]],
    before: dict[str, float],
    after: list[dict[str, float]],
) -> str:
    """benchmarks/rl.md."""
    memory, commit = machine["memory_bytes"] / 2**30, str(machine["commit"])[:7]
    lines = [
        "# Practice by trial",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {memory:.0f} GiB, {machine['system']}, Python "
        f"{machine['python']}, torch {machine['torch']}, commit {commit}. `python benchmarks/rl.py`: the bot of "
        f"`inkling speedrun`, taught for {teach_steps} steps instead of 1,600, practises sums with its "
        "calculator:",
        "",
        "```console",
        f"inkling rl runs/bot --kinds={KIND} {' '.join(PRACTICE)}",
        "```",
        "",
        "Numbers and phrasings of the exam are in no teaching and no practice. pass@1 is the share of right answers, "
        "eight drawn at temperature 1 to each of 100 questions; pass@8, that of questions with a right one among "
        f"eight; likeliest: the answers of `inkling evaluate`, to {questions} questions. Seconds are those of the "
        "whole command, from its start to its end, exams included.",
        "",
        *table(runs, before, after),
        "",
        "![Reward of each step, and pass@1 on the exam](rl.svg)",
        "",
        "## What else changed",
        "",
        f"Likeliest answers to all kinds of question. Only `{KIND}` was practised.",
        "",
        *others(before, after),
        "",
        verdict(runs),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
