"""`inkling tokenizer train | eval | show`, as a person types it."""

import gzip
import json
import re
from pathlib import Path

import pytest
import requests

from conftest import SHARED, TEXT
from inkling.data.shards import open_dataset
from inkling.stages.tokenizer import TokenizerSettings, visible
from inkling.stages.tokenizer import main as train
from inkling.text import bpe, bpe_fast
from inkling.text.samples import SAMPLES
from inkling.text.split import PATTERNS
from inkling.text.tokenizer_sources import load_tokenizer

LEARN = ("--input=text.txt", "--vocab_size=400")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with a text, where nothing can be downloaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(requests, "get", no_network)
    Path("text.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def no_network(*args, **kwargs):
    raise requests.ConnectionError("no network here")


# --- train -----------------------------------------------------------------------------------------------


def test_train_then_prepare(inkling, here):
    status, out, err = inkling("tokenizer", "train", "mine", *LEARN)
    assert status == 0, err
    assert re.search(r"vocabulary 400 \(\w+\) from 0\.\d MB of text · [\d.]+ s \(\d+ MB/s\)", out)
    assert re.search(r"\d\.\d\d bytes per token on the end of its own text", out)
    tokenizer = load_tokenizer("tokenizers/mine")
    merges = bpe.learn_merges(bpe.count_chunks([TEXT], TokenizerSettings().pattern), 400 - 265)
    assert tokenizer.encode(TEXT) == bpe.BytePairEncoding(TokenizerSettings().pattern, merges).encode(TEXT)
    status, out, err = inkling("prepare", "data", "--input=text.txt", "--tokenizer=tokenizers/mine")
    assert status == 0, err
    dataset = open_dataset("data")
    assert (dataset.meta.vocab_size, dataset.meta.separator) == (400, "bos_before")
    assert dataset.train[0] == tokenizer.bos


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_trains(inkling, here, pattern):
    status, _, err = inkling(
        "tokenizer", "train", "mine", "--input=text.txt", "--vocab_size=340", f"--pattern={pattern}"
    )
    assert status == 0, err
    assert load_tokenizer("tokenizers/mine").decode(load_tokenizer("tokenizers/mine").encode(TEXT)) == TEXT


def test_other_kinds_of_input(inkling, here):
    lines = "".join(json.dumps({"body": line}) + "\n" for line in TEXT.splitlines())
    Path("some.jsonl").write_text(lines, encoding="utf-8")
    status, _, err = inkling("tokenizer", "train", "mine", "--input=*.jsonl", "--column=body", "--vocab_size=300")
    assert status == 0, err
    Path("more.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    assert inkling("tokenizer", "train", "mine", "--input=more.txt.gz", "--vocab_size=300")[0] == 0


def test_some_of_much_text_is_kept_to_measure_on(inkling, here):
    Path("text.txt").write_text(TEXT * 80, encoding="utf-8")
    _, out, _ = inkling("tokenizer", "train", "mine", *LEARN)
    assert "bytes per token on held-out text" in out
    size = len(TEXT.encode()) * 80 / 1e6
    assert float(re.search(r"from ([\d.]+) MB", out)[1]) == pytest.approx(size * 0.95, rel=0.04)


def test_max_bytes_stops_reading(here, capfd):
    Path("text.txt").write_text(TEXT * 50, encoding="utf-8")
    train("mine", TokenizerSettings(input="text.txt", vocab_size=300, max_bytes=100_000))
    assert "from 0.1 MB" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "mine", "--input=text.txt", "--vocab_size=264"], "alone are 265"),
        (["train", "mine", "--input=text.txt", "--vocab_size=90000"], r"no more pairs to merge at ([\d,]+) tokens"),
        (["train", "mine"], "Learn from which text"),
        (["train", "mine", "--input=none.txt"], "no file, folder or match"),
        (["train", "mine", "--input=empty.txt"], "empty"),
        (["train", "mine", "--input=text.txt", "--pattern=gpt5"], "gpt2, cl100k, nanochat, qwen"),
        (["train", "mine", "--input=text.txt", "--max_bytes=0"], "at least 1"),
        (["train", "../mine", "--input=text.txt"], "no name for a tokenizer"),
        (["train"], "takes train, eval or show"),
        (["learn", "mine"], "takes train, eval or show"),
        (["eval", "mine"], "no tokenizer mine"),
        (["show", "byte"], "tokens of which text"),
        (["show", "byte", "--text=FILE:none.txt"], "Cannot read none.txt"),
        (["show", "byte", "--text=FILE:latin.txt"], "not UTF-8"),
    ],
)
def test_mistakes_are_told(inkling, here, words, expected):
    Path("empty.txt").touch()
    Path("latin.txt").write_bytes(b"caf\xe9")
    status, out, err = inkling("tokenizer", *words)
    assert status in (1, 2) and re.search(expected, err), err
    assert "Traceback" not in err and not out
    assert not Path("tokenizers").exists()


def test_the_size_that_was_reached_can_be_had(inkling, here):
    _, _, err = inkling("tokenizer", "train", "mine", "--input=text.txt", "--vocab_size=90000")
    size = re.search(r"--vocab_size=(\d+)", err)[1]
    status, out, err = inkling("tokenizer", "train", "mine", "--input=text.txt", f"--vocab_size={size}")
    assert status == 0 and f"vocabulary {int(size):,}" in out, err


def test_the_smallest_vocabulary_is_the_bytes(inkling, here):
    assert inkling("tokenizer", "train", "mine", "--input=text.txt", "--vocab_size=265")[0] == 0
    tokenizer = load_tokenizer("tokenizers/mine")
    assert tokenizer.vocab_size == 265 and len(tokenizer.encode(TEXT)) == len(TEXT.encode())


def test_a_killed_training_leaves_the_old_file(inkling, here, monkeypatch):
    inkling("tokenizer", "train", "mine", *LEARN)
    before = Path("tokenizers/mine/tokenizer.json").read_bytes()

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(bpe_fast, "learn_merges", interrupted)
    assert inkling("tokenizer", "train", "mine", *LEARN, "--pattern=gpt2")[0] == 130
    assert Path("tokenizers/mine/tokenizer.json").read_bytes() == before


# --- eval ------------------------------------------------------------------------------------------------


def test_eval_without_a_network_says_what_is_left_out(inkling, here):
    inkling("tokenizer", "train", "mine", *LEARN)
    status, out, err = inkling("tokenizer", "eval", "mine", "--input=text.txt")
    assert status == 0, err
    for kind in (*SAMPLES, "text.txt"):
        assert re.search(rf"^ +{kind} +\d\.\d\d$", out, re.MULTILINE), out
    assert "gpt2 is left out" in err and "cl100k is left out" in err


def test_eval_compares(inkling, here):
    inkling("tokenizer", "train", "mine", *LEARN)
    status, out, _ = inkling("tokenizer", "eval", "mine", "--compare=byte,tokenizers/mine")
    assert status == 0
    rows = [line.split() for line in out.splitlines() if re.search(r"\d\.\d\d", line)]
    assert len(rows) == len(SAMPLES)
    assert all(row[-2] == "1.00" and row[-3] == row[-1] and float(row[-1]) >= 1 for row in rows)


@pytest.mark.skipif(not (SHARED / "gpt2").exists(), reason="needs vocab.bpe and encoder.json in ../shared/data/gpt2")
def test_eval_against_gpt2(inkling, here):
    status, out, _ = inkling("tokenizer", "eval", "byte", f"--compare={SHARED / 'gpt2'}")
    english = next(line for line in out.splitlines() if "English" in line)
    assert status == 0 and 4 < float(english.split()[-1]) < 5


# --- show ------------------------------------------------------------------------------------------------


def test_show_without_a_terminal_is_plain(inkling, here):
    status, out, err = inkling("tokenizer", "show", "byte", "--text=Hé\n")
    assert status == 0, err
    assert out == "H|<C3>|<A9>|⏎\n\n72 195 169 10\n4 bytes, 4 tokens: 1.00 bytes per token\n"


def test_show_in_colour(inkling, here, monkeypatch):
    inkling("tokenizer", "train", "mine", *LEARN)
    Path("some.txt").write_bytes(b"The old king saw\r\nit")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    status, out, err = inkling("tokenizer", "show", "mine", "--text=FILE:some.txt")
    assert status == 0, err
    assert "\033[30;48;5;153m" in out and "\033[30;48;5;223m" in out and "\\r" in out
    plain = re.sub(r"\033\[[\d;]*m", "", out)
    assert plain.startswith("The old king saw\\r⏎\nit\n")
    assert all("\033[0m" in line for line in out.splitlines()[:2]), "no ground runs over the end of a line"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033" not in inkling("tokenizer", "show", "mine", "--text=FILE:some.txt")[1]


def test_what_a_terminal_would_obey_is_shown_as_a_code():
    assert visible(b"\x1b[31m") == "\\x1b[31m"
    assert visible(b"a\tb\x00") == "a\\tb\\x00"
    assert visible("é日".encode()) == "é日" and visible("日".encode()[:2]) == "<E6><97>"
    assert visible("\u202e".encode()) == "\\u202e"
