"""The program of a helper process: a job on the first line of its input, then tasks; results on its output."""

import json
import os
import signal
import sys


def main() -> None:
    """Work until the input ends, which it does when the parent is done, or is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    from inkling.data.workers import job_from, line_of, perform, task_from
    from inkling.errors import UserError
    from inkling.text.tokenizer_sources import load_tokenizer

    results = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)  # so that what a library prints is no result
    job = job_from(json.loads(sys.stdin.buffer.readline()))
    tokenizer = load_tokenizer(job.tokenizer) if job.tokenizer else None
    while line := sys.stdin.buffer.readline():
        try:
            for result in perform(task_from(json.loads(line)), job, tokenizer):
                print(line_of(result), file=results, flush=True)
        except UserError as error:
            print(json.dumps(["error", [error.problem, error.remedy, error.status]]), file=results, flush=True)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # there is nobody left to tell
        os._exit(1)
