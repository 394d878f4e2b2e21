"""The process in which a person's file runs: python -m inkling.learn.child NAME FILE RESULTS.

It writes a line of JSON to RESULTS before and after each check, so that whoever waits knows what was going on when
the time was up. What the file prints goes to this process's output.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from inkling.learn.checking import ask, checks_of
from inkling.learn.exercises import find


def main(name: str, file: str, results: str) -> None:
    """Ask the checks of exercise `name` of `file`, and write their outcomes."""
    import torch

    torch.set_num_threads(1)  # the checks are small, and a class may share a machine
    exercise = find(name)
    waiting = [f"{exercise.file} can be loaded", *checks_of(exercise)]
    with Path(results).open("w", encoding="utf-8") as out:

        def say(line: dict) -> None:
            out.write(json.dumps(line) + "\n")
            out.flush()

        say({"begins": waiting[0]})
        for i, outcome in enumerate(ask(exercise, Path(file)), 1):
            say(asdict(outcome))
            if i < len(waiting):
                say({"begins": waiting[i]})
        say({"end": True})


if __name__ == "__main__":
    main(*sys.argv[1:])
