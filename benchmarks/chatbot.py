"""`inkling speedrun` with several seeds: scores by kind, seconds and memory by stage. Prints Markdown tables.

    python benchmarks/chatbot.py                       # three seeds, about half an hour on two cores
    python benchmarks/chatbot.py --seeds 1 --questions 50

Each seed makes its own texts, conversations and weights in a folder of its own (`--folder`, kept); the questions of the
exam are the same. Memory is the largest sum over the stage's processes, looked at ten times a second.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from inkling.stages.pipeline import Book, fingerprint, state_of
from inkling.stages.pipelines import cpu
from inkling.stages.pipelines.settings import SpeedrunSettings, settled


def measured(words: tuple[str, ...], folder: Path) -> tuple[float, float]:
    """Run a command; (seconds, most memory in bytes)."""
    most = 0
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "inkling", *words], cwd=folder, stdout=subprocess.DEVNULL)
    watched = psutil.Process(process.pid)

    def watch() -> None:
        nonlocal most
        while process.poll() is None:
            try:
                family = [watched, *watched.children(recursive=True)]
                most = max(most, sum(each.memory_info().rss for each in family))
            except psutil.Error:
                pass
            time.sleep(0.1)

    thread = threading.Thread(target=watch)
    thread.start()
    status = process.wait()
    thread.join()
    if status:
        raise SystemExit(f"inkling {' '.join(words)} ended with status {status}")
    return time.perf_counter() - began, most


def run(settings: SpeedrunSettings, folder: Path) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """(stage → seconds and memory, kind → share of right answers) of one seed."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    costs = {}
    plan = cpu.plan(settings)
    book = Book(plan.book)
    for stage in plan.stages:
        if state_of(stage, book) != "done":
            book.begin(stage)
            costs[stage.title] = measured(stage.words, folder)
            book.note(stage, made=fingerprint(stage.makes), seconds=costs[stage.title][0])
            print(f"seed {settings.seed}: {stage.title}, {costs[stage.title][0]:.0f} s", file=sys.stderr, flush=True)
    report = json.loads((folder / "runs" / settings.name / "evaluations" / "almanac.json").read_text(encoding="utf-8"))
    return costs, {kind: score["share"] for kind, score in report["kinds"].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark-chatbot"))
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    results = []
    for number in range(arguments.seeds):
        wanted = SpeedrunSettings(questions=arguments.questions, seed=SpeedrunSettings.seed + number)
        settings = settled(wanted, "cpu")
        results.append(run(settings, folder / str(number)))
    costs, scores = [cost for cost, _ in results], [score for _, score in results]
    print("| kind | " + " | ".join(f"seed {i + 1}" for i in range(len(scores))) + " | mean |")
    print("| --- |" + " --- |" * (len(scores) + 1))
    for kind in scores[0]:
        shares = [score[kind] for score in scores]
        print(f"| {kind} | " + " | ".join(f"{s:.1%}" for s in shares) + f" | {statistics.mean(shares):.1%} |")
    print("\n| stage | seconds | memory |\n| --- | --- | --- |")
    for title in costs[0]:
        seconds = ", ".join(f"{cost[title][0]:.0f}" for cost in costs if title in cost)
        print(f"| {title} | {seconds} | {max(cost[title][1] for cost in costs if title in cost) / 1e6:,.0f} MB |")


if __name__ == "__main__":
    main()
