"""What does it cost to prepare all of a text beforehand? Time, disk, and what is gained. Prints Markdown.

    python benchmarks/learning/preparing.py > benchmarks/learning/preparing.md
    python benchmarks/learning/preparing.py --gpt2 FOLDER --shakespeare input.txt      these as well

`disk` is the whole folder of the data set; `first batch` is opening it anew and taking one batch of 12 rows of 64
tokens, which is all that a training waits for, however large the text was.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from common import inkling, parse, show_heading, show_table, workplace

from inkling.data.batches import get_batch
from inkling.data.shards import open_dataset


def measured(name: str, tokenizer: str, words: Sequence[str] = ()) -> list[str]:
    """Prepare one text and give its line of the table."""
    folder = Path(f"made-{tokenizer.replace('/', '-')}")
    began = time.perf_counter()
    inkling("prepare", name, f"--data_dir={folder}", f"--tokenizer={tokenizer}", *words)
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    dataset = open_dataset(folder / name)
    get_batch(dataset.train, block_size=64, seed=1, first_row=0, rows=12)
    waiting = time.perf_counter() - began
    text = dataset.meta.train.bytes + dataset.meta.val.bytes
    tokens = dataset.meta.train.tokens + dataset.meta.val.tokens
    disk = sum(file.stat().st_size for file in dataset.path.rglob("*") if file.is_file())
    return [
        f"{name}, {Path(tokenizer).name}",
        f"{text / 1e6:.2f}",
        f"{tokens:,}",
        f"{seconds:.1f}",
        f"{text / 1e6 / seconds:.1f}",
        f"{disk / 1e6:.2f}",
        f"{disk / text:.2f}",
        f"{1000 * waiting:.1f}",
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare everything and print the table."""
    gpt2 = "a folder with vocab.bpe and encoder.json, to measure GPT-2's vocabulary as well"
    arguments = parse(__doc__ or "", argv, gpt2=gpt2, shakespeare="the tiny Shakespeare text, to measure it as well")
    documents = 300 if arguments.quick else 20_000
    vocabulary = 600 if arguments.quick else 8192
    gpt2, play = (str(Path(path).resolve()) if path else "" for path in (arguments.gpt2, arguments.shakespeare))
    almanac = ["almanac", [f"--documents={documents}"]]
    with workplace(arguments.folder):
        what = "`python benchmarks/learning/preparing.py`: text to tokens on disk, and the wait for the first batch."
        show_heading("Time and disk of a prepare", what, arguments.quick)
        inkling("tokenizer", "train", "learned", "--input=almanac", f"--vocab_size={vocabulary}")
        wanted = [("almanac", tokenizer, almanac[1]) for tokenizer in ("char", "byte", "tokenizers/learned", gpt2)]
        wanted += [("bundled", tokenizer, []) for tokenizer in ("char", "byte", gpt2)] if not arguments.quick else []
        wanted += [("shakespeare_char", "char", [f"--input={play}"])] if play else []
        rows = [measured(*each) for each in wanted if each[1]]
    show_table(
        ["text, tokenizer", "MB of text", "tokens", "s", "MB/s", "MB of disk", "disk / text", "first batch, ms"], rows
    )


if __name__ == "__main__":
    main()
