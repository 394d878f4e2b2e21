"""How fast vocabularies are trained and text is encoded here, beside other libraries. Prints Markdown tables.

    python benchmarks/tokenizer.py                     # all of it, about 25 minutes on two cores
    python benchmarks/tokenizer.py --megabytes 20 --repeat 1

The text is what every machine has: the Python sources of the standard library and of the packages installed here, in
an order that a hash decides; it is repeated if there is too little. All libraries run in turn, `--repeat` times, so
that a machine that slows down slows them all, and the median is printed. Libraries that are slow encode less text
(`--slow_megabytes`). rustbpe is left out where it is not installed.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from inkling.text import bpe, bpe_fast, count_fast
from inkling.text.split import PATTERNS
from inkling.text.tokenizer import BPETokenizer
from inkling.text.tokenizer_json import CHAT_TOKENS
from inkling.text.tokenizer_sources import trained_tokenizer

MERGES = 32_768 - 256 - len(CHAT_TOKENS)


def corpus(size: int) -> list[str]:
    """Python sources of `size` bytes, a document for each file."""
    folders = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]
    files = {file for folder in folders for file in folder.rglob("*.py")}
    order = sorted(files, key=lambda file: hashlib.md5(file.name.encode() + str(file.stat().st_size).encode()).digest())
    texts, total = [], 0
    while total < size:
        for file in order:
            try:
                text = file.read_bytes().decode("utf-8")
            except UnicodeDecodeError:
                continue
            if text and "\0" not in text:
                texts.append(text)
                total += len(text.encode("utf-8"))
            if total >= size:
                break
    return texts


def megabytes(texts: list[str]) -> float:
    return sum(len(text.encode("utf-8")) for text in texts) / 1e6


# --- training: texts, pattern → merges as pairs of bytes ---------------------------------------------------


def with_inkling(texts: list[str], pattern: str) -> list[tuple[bytes, bytes]]:
    return as_bytes(bpe_fast.learn_merges(count_fast.count_chunks(texts, pattern), MERGES))


def with_twin(texts: list[str], pattern: str) -> list[tuple[bytes, bytes]]:
    return as_bytes(bpe.learn_merges(bpe.count_chunks(texts, pattern), MERGES))


def with_tokenizers(texts: list[str], pattern: str) -> list[tuple[bytes, bytes]]:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    library = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=256 + MERGES, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator(texts, trainer)
    model = json.loads(library.to_str())["model"]
    return as_bytes([(model["vocab"][left], model["vocab"][right]) for left, right in model["merges"]])


def with_rustbpe(texts: list[str], pattern: str) -> list[tuple[bytes, bytes]]:
    """It tells the tokens, not the pairs: each is given as (token, b"")."""
    import rustbpe

    library = rustbpe.Tokenizer()
    library.train_from_iterator(texts, vocab_size=256 + MERGES, pattern=PATTERNS[pattern])
    ranks = sorted(library.get_mergeable_ranks(), key=lambda item: item[1])
    return [(bytes(token), b"") for token, _ in ranks[256:]]


def with_gigatoken(texts: list[str], pattern: str) -> list[tuple[bytes, bytes]]:
    """It prints much, so it prints to nowhere. Its pattern is GPT-2's and cannot be chosen."""
    import gigatoken

    data = b"\xff".join(text.encode("utf-8") for text in texts)
    nowhere, kept = os.open(os.devnull, os.O_WRONLY), (os.dup(1), os.dup(2))
    os.dup2(nowhere, 1), os.dup2(nowhere, 2)
    try:
        return gigatoken.train_bpe(data, 256 + MERGES, [], separator=b"\xff")[1]
    finally:
        os.dup2(kept[0], 1), os.dup2(kept[1], 2)


def as_bytes(merges: list[tuple[int, int]]) -> list[tuple[bytes, bytes]]:
    tokens = bpe.BytePairEncoding("gpt2", merges).tokens
    return [(tokens[left], tokens[right]) for left, right in merges]


def training_table(texts: list[str], repeat: int) -> dict[str, BPETokenizer]:
    """Print the table; gives the tokenizers that inkling trained."""
    libraries: dict[str, Callable] = {
        "inkling": with_inkling,
        "its plain twin": with_twin,
        "tokenizers": with_tokenizers,
    }
    if importlib.util.find_spec("rustbpe"):
        libraries["rustbpe"] = with_rustbpe
    libraries["gigatoken"] = with_gigatoken
    seconds: dict[tuple[str, str], list[float]] = {}
    merges: dict[tuple[str, str], list] = {}
    for _ in range(repeat):
        for pattern in PATTERNS:
            for name, train in libraries.items():
                if name != "gigatoken" or pattern == "gpt2":
                    began = time.perf_counter()
                    merges[name, pattern] = train(texts, pattern)
                    seconds.setdefault((name, pattern), []).append(time.perf_counter() - began)
    size = megabytes(texts)
    print(f"\nTraining {256 + MERGES:,} tokens on {size:.0f} MB, MB/s:\n")
    print("| | " + " | ".join(PATTERNS) + " |\n| --- |" + " --- |" * len(PATTERNS))
    for name in libraries:
        print(f"| {name} | " + " | ".join(figure(size, seconds.get((name, pattern))) for pattern in PATTERNS) + " |")
    for (name, pattern), found in merges.items():
        expected = merges["tokenizers", pattern]
        if name == "rustbpe":
            expected = [(left + right, b"") for left, right in expected]
        if found != expected:
            at = next(i for i, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1])
            print(f"\n{name}, {pattern}: not the merges of tokenizers: {at} is {found[at]}, not {expected[at]}")
    ids = {token: i for i, token in enumerate(bpe.BytePairEncoding("gpt2", []).tokens)}
    made = {}
    for pattern in PATTERNS:
        known = dict(ids)
        pairs = []
        for left, right in merges["inkling", pattern]:
            pairs.append((known[left], known[right]))
            known[left + right] = len(known)
        made[pattern] = trained_tokenizer(pairs, pattern)
    return made


# --- encoding --------------------------------------------------------------------------------------------


def encoders(tokenizer: BPETokenizer, pattern: str) -> dict[str, tuple[bool, Callable[[list[str]], list]]]:
    """name → (slow, texts → ids of each), with nothing remembered from before."""
    import tiktoken

    fresh = BPETokenizer(tokenizer.to_json())
    assert fresh._fast is not None
    ranks = {tokenizer.decode_bytes([i]): i for i in range(256 + MERGES)}
    tik = tiktoken.Encoding("own", pat_str=PATTERNS[pattern], mergeable_ranks=ranks, special_tokens={})
    merges = json.loads(tokenizer.to_json())["model"]
    twin = bpe.BytePairEncoding(pattern, [(merges["vocab"][a], merges["vocab"][b]) for a, b in merges["merges"]])
    return {
        "inkling, first time": (False, fresh.encode_documents),
        "inkling, again": (False, fresh.encode_documents),
        "its plain twin": (True, lambda texts: [twin.encode(text) for text in texts]),
        "tokenizers": (True, lambda texts: list(fresh._encode_in_pieces(texts))),
        "tiktoken": (True, lambda texts: tik.encode_ordinary_batch(texts, num_threads=os.cpu_count() or 1)),
    }


def encoding_table(texts: list[str], made: dict[str, BPETokenizer], few: list[str], repeat: int) -> None:
    seconds: dict[tuple[str, str], list[float]] = {}
    names: dict[str, bool] = {}
    for _ in range(repeat):
        for pattern, tokenizer in made.items():
            expected = None
            for name, (slow, encode) in encoders(tokenizer, pattern).items():
                names[name] = slow
                some = few if slow else texts
                began = time.perf_counter()
                ids = encode(some)
                seconds.setdefault((name, pattern), []).append(time.perf_counter() - began)
                expected = expected or ids
                if not all(np.array_equal(a, b) for a, b in zip(ids, expected, strict=False)):
                    print(f"{name}, {pattern}: other ids")
    sizes = {True: megabytes(few), False: megabytes(texts)}
    print(f"\nEncoding {sizes[False]:.0f} MB ({sizes[True]:.0f} MB from the twin on down), MB/s:\n")
    print("| | " + " | ".join(made) + " |\n| --- |" + " --- |" * len(made))
    for name, slow in names.items():
        print(f"| {name} | " + " | ".join(figure(sizes[slow], seconds[name, pattern]) for pattern in made) + " |")
    print("\n| | " + " | ".join(made) + " |\n| --- |" + " --- |" * len(made))
    tokens = {pattern: sum(map(len, tokenizer.encode_documents(texts))) for pattern, tokenizer in made.items()}
    print("| bytes per token | " + " | ".join(f"{sizes[False] * 1e6 / count:.3f}" for count in tokens.values()) + " |")


def figure(size: float, seconds: list[float] | None) -> str:
    if not seconds:
        return "—"
    rates = sorted(size / each for each in seconds)
    if len(rates) == 1:
        return f"{rates[0]:.1f}"
    return f"{statistics.median(rates):.1f} ({rates[0]:.1f} to {rates[-1]:.1f})"


def command_line(texts: list[str]) -> None:
    """The whole command, in a process of its own."""
    with TemporaryDirectory() as folder:
        lines = (json.dumps({"text": text}) for text in texts)
        (Path(folder) / "text.jsonl").write_text("\n".join(lines), encoding="utf-8")
        words = [sys.executable, "-m", "inkling", "tokenizer", "train", "mine", "--input=text.jsonl"]
        began = time.perf_counter()
        done = subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True, encoding="utf-8")
        print(f"\n`inkling tokenizer train` on the same text as .jsonl, {time.perf_counter() - began:.1f} s in all:\n")
        print("```\n" + done.stdout + "```")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--slow_megabytes", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    texts = corpus(arguments.megabytes * 1_000_000)
    few, size = [], 0
    for text in texts:
        few.append(text)
        size += len(text)
        if size > arguments.slow_megabytes * 1_000_000:
            break
    print(f"{len(texts):,} documents, {megabytes(texts):.1f} MB; load average {os.getloadavg()[0]:.1f}", flush=True)
    made = training_table(texts, arguments.repeat)
    encoding_table(texts, made, few, arguments.repeat)
    command_line(texts)


if __name__ == "__main__":
    main()
