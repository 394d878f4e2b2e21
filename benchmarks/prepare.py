"""Prepare a large text: speed, memory, and the same bytes after kills. Prints a Markdown table.

    python benchmarks/prepare.py --gigabytes 2 --tokenizer ../shared/data/gpt2
    python benchmarks/prepare.py --speed 7              # 100 MB, with a tokenizer trained on it; start-up apart

The text is made of the Python sources and docstrings on this machine, file by file, over again with the words changed
a little until it is long enough. It is prepared once undisturbed, and once killed (-9) at random moments and begun
again; the two data sets must be equal to the byte. Memory is that of all processes together, without pages that they
share or that belong to files (USS), and of the largest process.
"""

import argparse
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from tokenizer import corpus


class Memory:
    """Watches a process and its children from a thread: the largest sums and single sizes, in bytes."""

    def __init__(self, pid: int) -> None:
        self.together = self.largest = 0
        self._process = psutil.Process(pid)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while self._process.is_running():
            sizes = []
            try:
                for process in [self._process, *self._process.children(recursive=True)]:
                    sizes.append(process.memory_full_info().uss)
            except psutil.Error:  # one has ended meanwhile
                pass
            self.together = max(self.together, sum(sizes))
            self.largest = max(self.largest, *sizes, 0)
            time.sleep(0.1)


def source_texts() -> Iterator[str]:
    """The Python files that this Python can import, each once, without end; later rounds with changed words."""
    files = sorted({file for folder in sys.path if folder for file in Path(folder).rglob("*.py")})
    for number in range(1_000_000):
        for file in files:
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            if text.strip():
                # Every ninth word gets a number of its own, so that a tokenizer cannot know it all from before.
                yield re.sub(r"((?:\w+\W+){8})(\w+)", rf"\1\g<2>{number}", text) if number else text


def write_text(file: Path, size: int, kind: str) -> int:
    """Write `size` bytes of text, or a little more, as .txt or .jsonl; returns the bytes of text."""
    written = 0
    with file.open("w", encoding="utf-8", newline="\n") as out:
        for text in source_texts():
            out.write(text if kind == "txt" else json.dumps({"text": text}, ensure_ascii=False) + "\n")
            written += len(text.encode("utf-8"))
            if written >= size:
                return written
    return written


def start(words: list[str], folder: Path, data_dir: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "inkling", "prepare", "mine", f"--data_dir={data_dir}", *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)


def finish(process: subprocess.Popen) -> tuple[float, Memory]:
    """(seconds, memory) of a process from now until it ends well."""
    began = time.perf_counter()
    memory = Memory(process.pid)
    if process.wait() != 0:
        raise SystemExit("prepare failed")
    return time.perf_counter() - began, memory


def kill(process: subprocess.Popen) -> float:
    """kill -9, and the seconds until its helpers have ended by themselves."""
    helpers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    began = time.perf_counter()
    _, alive = psutil.wait_procs(helpers, timeout=60)
    if alive:
        raise SystemExit("helpers outlive their parent")
    return time.perf_counter() - began


def equal(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files with the same bytes."""
    names = sorted(file.name for file in one.iterdir())
    if names != sorted(file.name for file in other.iterdir()):
        return False
    for name in names:
        with (one / name).open("rb") as a, (other / name).open("rb") as b:
            while block := a.read(1 << 22):
                if block != b.read(1 << 22):
                    return False
            if b.read(1):
                return False
    return True


def print_speed(repeat: int) -> None:
    """Median speed on 100 MB of Python sources, each once, with a tokenizer of the default kind trained on them.

    Start-up is what the command takes for the first ten documents.
    """
    with tempfile.TemporaryDirectory() as folder:
        lines = [json.dumps({"text": text}) + "\n" for text in corpus(100_000_000)]
        for name, some in (("few.jsonl", lines[:10]), ("all.jsonl", lines)):
            (Path(folder) / name).write_text("".join(some), encoding="utf-8")
        command = [sys.executable, "-m", "inkling"]
        subprocess.run([*command, "tokenizer", "train", "mine", "--input=all.jsonl"], cwd=folder, check=True)
        seconds: dict[str, list[float]] = {"few": [], "all": []}
        for _ in range(repeat):
            for name, found in seconds.items():
                words = ["prepare", name, f"--input={name}.jsonl", "--tokenizer=tokenizers/mine"]
                began = time.perf_counter()
                subprocess.run([*command, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
                found.append(time.perf_counter() - began)
                shutil.rmtree(Path(folder) / "data")
    rates = sorted(100 / (whole - few) for few, whole in zip(seconds["few"], seconds["all"], strict=True))
    print(
        "| runs | start-up, s | in all, s | MB/s, start-up aside | lowest to highest |\n| --- | --- | --- | --- | --- |"
    )
    print(
        f"| {repeat} | {statistics.median(seconds['few']):.2f} | {statistics.median(seconds['all']):.2f} "
        f"| {statistics.median(rates):.0f} | {rates[0]:.0f} to {rates[-1]:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--kind", choices=("jsonl", "txt"), default="jsonl")
    parser.add_argument("--tokenizer", default="byte", help="as for inkling prepare")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--shard_tokens", type=int, default=100_000_000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="where the text and the data sets are written, for a while")
    parser.add_argument("--speed", type=int, metavar="RUNS", help="only the speed on 100 MB, so often")
    arguments = parser.parse_args()
    if arguments.speed:
        print_speed(arguments.speed)
        return
    chosen = random.Random(arguments.seed)
    if Path(arguments.tokenizer).exists():
        arguments.tokenizer = str(Path(arguments.tokenizer).resolve())
    folder = Path(tempfile.mkdtemp(prefix="prepare-", dir=arguments.folder))
    try:
        size = write_text(folder / f"text.{arguments.kind}", int(arguments.gigabytes * 1e9), arguments.kind)
        words = [f"--input=text.{arguments.kind}", f"--tokenizer={arguments.tokenizer}"]
        words += [f"--workers={arguments.workers}", f"--shard_tokens={arguments.shard_tokens}"]
        print("| run | GB of text | seconds | MB/s | MB of memory, all | MB, largest process | equal |")
        print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
        seconds, memory = finish(start(words, folder, "undisturbed"))
        row(f"{arguments.tokenizer}, {arguments.kind}, undisturbed", size, seconds, memory, "")
        left = seconds
        for number in range(arguments.kills):
            process = start(words, folder, "killed")
            moment = chosen.uniform(0.2, 0.7) * left
            time.sleep(moment)
            if process.poll() is not None:
                raise SystemExit("it was done before it could be killed: choose more --gigabytes")
            ended = kill(process)
            print(f"| killed after {moment:.1f} s ({number + 1}), helpers ended {ended:.1f} s later |", flush=True)
            left -= moment
        seconds, memory = finish(start(words, folder, "killed"))
        same = equal(folder / "undisturbed" / "mine", folder / "killed" / "mine")
        row("begun again", size, seconds, memory, "yes" if same else "NO")
        if not same:
            raise SystemExit("the bytes differ")
    finally:
        shutil.rmtree(folder)


def row(what: str, size: int, seconds: float, memory: Memory, same: str) -> None:
    print(
        f"| {what} | {size / 1e9:.2f} | {seconds:.1f} | {size / seconds / 1e6:.0f} | {memory.together / 1e6:.0f} "
        f"| {memory.largest / 1e6:.0f} | {same} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
