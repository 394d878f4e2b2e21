"""inkling prepare: nanoGPT's own bytes, your own text, and what it says when something is wrong."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import requests
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from inkling.data.shards import check_dataset, open_dataset
from inkling.data.sources import bundled, opening, shakespeare, textfile
from inkling.errors import UserError
from inkling.stages.prepare import PrepareSettings, main
from inkling.text import gpt2

DATA = Path(__file__).parents[1].parent / "shared" / "data"
SHAKESPEARE = DATA / "tinyshakespeare.txt"
needs_gpt2 = pytest.mark.skipif(
    not (DATA / "gpt2" / "vocab.bpe").exists(), reason="needs vocab.bpe and encoder.json in ../shared/data/gpt2"
)
needs_shakespeare = pytest.mark.skipif(not SHAKESPEARE.exists(), reason="needs ../shared/data/tinyshakespeare.txt")


@pytest.fixture(autouse=True)
def in_a_folder_without_network(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise requests.ConnectionError("no network here")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(requests, "get", refuse)
    monkeypatch.setattr("requests.sessions.Session.request", refuse)


def prepare(name="mine", **settings):
    return main(name, PrepareSettings(**settings))


def text_of(ids) -> str:
    """The text of byte ids."""
    return np.asarray(ids).astype(np.uint8).tobytes().decode()


def everything_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# --- Shakespeare -----------------------------------------------------------------------------------------


@needs_shakespeare
def test_shakespeare_char_has_nanogpts_bytes(capsys):
    dataset = prepare("shakespeare_char", input=str(SHAKESPEARE))

    text = SHAKESPEARE.read_text(encoding="utf-8")
    id_of = {character: i for i, character in enumerate(sorted(set(text)))}
    ids = [id_of[character] for character in text]
    cut = int(len(ids) * 0.9)
    assert (dataset.path / "train.bin").read_bytes() == np.array(ids[:cut], dtype=np.uint16).tobytes()
    assert (dataset.path / "val.bin").read_bytes() == np.array(ids[cut:], dtype=np.uint16).tobytes()
    assert (len(dataset.train), len(dataset.val), dataset.meta.vocab_size) == (1_003_854, 111_540, 65)
    assert dataset.meta.separator == "none" and dataset.meta.train.documents == 1
    assert dataset.tokenizer().decode(dataset.val[-20:]) == text[-20:]

    out, err = capsys.readouterr()
    pattern = r"train 1,003,854 tokens \(2\.0 MB\) · val 111,540 tokens \(0\.2 MB\) · vocabulary 65 · \d+\.\d s\n"
    assert re.fullmatch(pattern + "→ data/shakespeare_char\n", out.replace("\\", "/"))
    assert err == ""


@needs_shakespeare
@needs_gpt2
def test_shakespeare_has_nanogpts_bytes(tmp_path, monkeypatch):
    import tiktoken

    for name in gpt2.SHA256:
        shutil.copy(DATA / "gpt2" / name, tmp_path / hashlib.sha1((gpt2.URL + name).encode()).hexdigest())
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    dataset = prepare("shakespeare", input=str(SHAKESPEARE))

    reference = tiktoken.get_encoding("gpt2")
    text = SHAKESPEARE.read_text(encoding="utf-8")
    cut = int(len(text) * 0.9)
    for split, part in (("train", text[:cut]), ("val", text[cut:])):
        ids = np.array(reference.encode_ordinary(part), dtype=np.uint16)
        assert (dataset.path / f"{split}.bin").read_bytes() == ids.tobytes()
    assert (len(dataset.train), len(dataset.val), dataset.meta.vocab_size) == (301_966, 36_059, 50257)
    assert dataset.meta.separator == "none"
    assert dataset.meta.train.bytes + dataset.meta.val.bytes == SHAKESPEARE.stat().st_size


def test_another_text_under_shakespeares_name_is_noted(tmp_path, capsys):
    (tmp_path / "other.txt").write_text("To be, or not to be" * 5)
    assert prepare("shakespeare_char", input="other.txt").meta.source == "other.txt"
    assert "is not the file at https://" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["shakespeare_char", "shakespeare"])
def test_shakespeare_without_a_network_says_what_to_do(tmp_path, name):
    with pytest.raises(UserError) as error:
        prepare(name)
    assert "--input FILE" in error.value.remedy and shakespeare.URL in error.value.remedy
    assert not list((tmp_path / "data").rglob("*"))


class Response:
    """What `requests.get(..., stream=True)` gives."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def raise_for_status(self):
        pass

    def iter_content(self, size):
        for start in range(0, len(self.content), size):
            yield self.content[start : start + size]


@needs_shakespeare
def test_a_download_is_checked_and_kept(tmp_path, monkeypatch):
    content = SHAKESPEARE.read_bytes()
    for damaged in (content[:-1], content + b"x", b"<html>", content[:-1] + b"x"):
        monkeypatch.setattr(requests, "get", lambda *args, damaged=damaged, **kwargs: Response(damaged))
        with pytest.raises(UserError, match="damaged"):
            shakespeare.fetch(tmp_path)
        assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(requests, "get", lambda *args, **kwargs: Response(content))
    assert shakespeare.fetch(tmp_path).read_bytes() == content
    monkeypatch.delattr(requests, "get")  # the second time there is nothing to download
    assert shakespeare.fetch(tmp_path) == tmp_path / "input.txt"


# --- bundled ---------------------------------------------------------------------------------------------


def check_bundled(at_least: int, at_most: int) -> None:
    """Prepare `bundled`, and look whether it is English and of about this size in bytes."""
    dataset = prepare("bundled")
    assert dataset.meta.vocab_size == 256 and dataset.meta.separator == "none"
    assert at_least < len(dataset.train) + len(dataset.val) < at_most
    share = len(dataset.val) / (len(dataset.train) + len(dataset.val))
    assert 0.03 < share < 0.25
    assert "Return True if" in text_of(dataset.train)
    assert all(text_of(dataset.train[:start][-2:]) in ("", "\n\n") for start in dataset.train_starts.tolist())


def test_bundled_text_is_english(tmp_path, monkeypatch):
    """Of a small part of the library: Python takes 6 seconds to read all of it."""
    for name in ("email", "unittest", "importlib"):
        shutil.copytree(Path(sysconfig.get_path("stdlib")) / name, tmp_path / "lib" / name)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / "lib"))
    check_bundled(50_000, 500_000)


@pytest.mark.slow
def test_all_bundled_text_is_english():
    check_bundled(1_000_000, 6_000_000)


def test_bundled_text_imports_nothing(tmp_path, monkeypatch):
    library = tmp_path / "lib"
    (library / "test").mkdir(parents=True)
    (library / "b.py").write_text('"""Module b."""\nraise SystemExit\nif x:\n    def f():\n        """Does f."""\n')
    (library / "a.py").write_text('class A:\n    """An A."""\n')
    (library / "broken.py").write_text("def (:\n")
    (library / "test" / "test_a.py").write_text('"""Left out."""\n')
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(library))
    assert list(bundled.documents()) == ["An A.\n\n", "Module b.\n\nDoes f.\n\n"]
    shutil.rmtree(library)
    with pytest.raises(UserError, match="no source text"):
        list(bundled.documents())


def test_bundled_takes_no_input():
    with pytest.raises(UserError, match="no --input"):
        prepare("bundled", input="x.txt")


# --- own text --------------------------------------------------------------------------------------------


def test_one_file_is_cut_once_by_characters(tmp_path):
    text = "".join(f"Zeile {i} größer\n" for i in range(1000))
    (tmp_path / "büch 书.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    dataset = prepare(input="büch 书.txt")
    cut = int(len(text) * 0.9)
    assert text_of(dataset.train) == text[:cut] and text_of(dataset.val) == text[cut:]
    assert dataset.meta.train.bytes == len(text[:cut].encode())
    check_dataset(dataset)
    half = prepare(input="büch 书.txt", val_fraction=0.5)
    assert text_of(half.train) == text[: len(text) // 2]


def test_line_endings_reach_the_tokenizer(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\r\n" * 20)
    dataset = prepare(input="a.txt")
    assert text_of(dataset.train) + text_of(dataset.val) == "one\r\ntwo\r\n" * 20


def test_many_documents_are_split_by_their_text(tmp_path):
    texts = [f"document {i}\nwith text ü {i * i}\n" for i in range(200)]
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for i, text in enumerate(texts[:100]):
        (tmp_path / "deep" / ("er" if i % 2 else ".") / f"{i:03}.txt").write_bytes(text.encode())
    lines = [json.dumps({"text": text, "other": 1}) for text in texts[100:]]
    (tmp_path / "deep" / "rest.jsonl").write_text("\ufeff" + "\n\n".join(lines) + '\n{"text": ""}', encoding="utf-8")
    (tmp_path / "deep" / "empty.txt").write_bytes(b"")
    (tmp_path / "deep" / "ignored.md").write_bytes(b"\xff")

    dataset = prepare(input="deep")
    found = []
    for ids, starts in ((dataset.train, dataset.train_starts), (dataset.val, dataset.val_starts)):
        ends = [*starts.tolist()[1:], len(ids)]
        found += [{text_of(ids[start:end]) for start, end in zip(starts.tolist(), ends, strict=True)}]
    train, val = found
    assert train | val == set(texts) and not train & val
    assert 5 < len(val) < 45

    # The choice does not depend on what else there is.
    for file in (tmp_path / "deep").rglob("*.txt"):
        file.unlink()
    fewer = prepare("fewer", input="deep")
    kept = text_of(fewer.val)
    assert all((text in kept) == (text in val) for text in texts[100:])


def test_two_documents_are_enough(tmp_path):
    for number in range(6):
        (tmp_path / "a.txt").write_text(f"first {number}")
        (tmp_path / "b.txt").write_text(f"second {number}")
        dataset = prepare(input="[ab].txt", val_fraction=0.02)
        assert (dataset.meta.train.documents, dataset.meta.val.documents) == (1, 1)


@needs_gpt2
def test_end_of_text_follows_each_document(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": f"text <|endoftext|> {i}"}) for i in range(20)))
    dataset = prepare(input="a.jsonl", tokenizer=str(DATA / "gpt2"))
    tokenizer = dataset.tokenizer()
    assert dataset.meta.separator == "eot_after"
    assert (dataset.train == tokenizer.eot).sum() == dataset.meta.train.documents
    assert dataset.train[-1] == tokenizer.eot
    end = int(dataset.train_starts[1])
    assert tokenizer.decode(dataset.train[:end]).startswith("text <|endoftext|> ")
    assert dataset.meta.train.bytes + dataset.meta.val.bytes == sum(len(f"text <|endoftext|> {i}") for i in range(20))


def test_the_tokenizer_of_another_data_set(tmp_path):
    (tmp_path / "a.txt").write_text("hello world" * 9)
    (tmp_path / "b.txt").write_text("hold her" * 9)
    first = prepare("first_char", input="a.txt")
    second = prepare("second", input="b.txt", tokenizer=str(first.path))
    assert second.meta.tokenizer_sha256 == first.meta.tokenizer_sha256
    assert second.tokenizer().decode(second.train) == ("hold her" * 9)[:64]
    with pytest.raises(UserError, match="U\\+0078"):
        (tmp_path / "b.txt").write_text("x" * 90)
        prepare("second", input="b.txt", tokenizer=str(first.path))


@given(st.text(st.sampled_from("ab. \n\r\té日👍"), max_size=80), st.integers(1, 12))
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_file_in_blocks_is_the_file(tmp_path_factory, text, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "BLOCK", block)
        patch.setattr(textfile, "PIECE", block)
        file = tmp_path_factory.getbasetemp() / "blocks.txt"
        file.write_bytes(text.encode())
        assert "".join(textfile.TextFile(file)) == text


def test_memory_stays_flat(tmp_path):
    line = "The quick brown fox jumps over the lazy dog, né Müller.\n"
    with (tmp_path / "big.txt").open("w", encoding="utf-8", newline="\n") as file:
        for _ in range(50):
            file.write(line * 16_000)
    size = (tmp_path / "big.txt").stat().st_size
    assert size > 40_000_000
    tracemalloc.start()
    try:
        dataset = prepare(input="big.txt")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(dataset.train) + len(dataset.val) == size
    assert peak < size / 2  # 16 MB when this was written, whatever the size


def test_importing_does_nothing(tmp_path):
    code = "import sys, inkling.stages.prepare; print({'torch', 'tokenizers', 'requests', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert list(tmp_path.iterdir()) == []


# --- mistakes --------------------------------------------------------------------------------------------


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError) as error:
        prepare("shakespear")
    assert error.value.status == 2
    assert "shakespeare_char, shakespeare, bundled" in error.value.remedy and "--input" in error.value.remedy


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".."])
def test_a_name_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(UserError, match="no name"):
        prepare(name, input="x.txt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.txt", b"", "no text"),
        ("a.txt", b"\xef\xbb\xbf", "no text"),
        ("a.txt", b"x", "too few"),
        ("a.jsonl", b'{"text": ""}\n', "no text"),
        ("a.jsonl", b'{"text": "same"}\n{"text": "same"}', "same text"),
        ("a.jsonl", b'{"text": "good"}\n\n{"text": "bad"\n', r"a\.jsonl:3 is not JSON"),
        ("a.jsonl", b'{"text": "good"}\n{"txt": "bad"}\n', r'a\.jsonl:2 has no "text"'),
        ("a.jsonl", b'["text"]', r'a\.jsonl:1 has no "text"'),
        ("a.jsonl", b'{"text": 3}', r'a\.jsonl:1 has no "text"'),
        ("a.jsonl", b'{"text": "a\\ud83d"}', r"a\.jsonl:1 has a lone surrogate"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl:1 is not JSON"),
        ("a.jsonl", b'{"text": "good"}\n{"text": "\xff"}', r"a\.jsonl .*byte 0xff at offset 27"),
        ("a.txt", b"good\xe9bad", r"a\.txt .*byte 0xe9 at offset 4"),
        ("a.txt", b"\xef\xbb\xbfgood\xff", r"a\.txt .*byte 0xff at offset 7"),
        ("a.txt", b"x" * 1_048_577 + b"\xc3\xa9" * 600_000 + b"\x80", r"byte 0x80 at offset 2,248,577"),
        ("a.txt", b"x" * 1_048_578 + b"\xe2\x82", r"byte 0xe2 at offset 1,048,578"),
        ("a.txt", b"x" * 1_048_578 + b"\xe2\x82x", r"byte 0xe2 at offset 1,048,578"),
        ("a.parquet.gz", b"\x1f\x8b", "compressed twice"),
        ("a.md", b"text", r"rename it to end in \.txt"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, file, content, message):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        prepare(input=file)
    assert error.value.remedy
    assert not list((tmp_path / "data").rglob("*"))


def test_missing_and_useless_inputs(tmp_path):
    (tmp_path / "empty").mkdir()
    for where, message in (("nothing.txt", "no file"), ("*.txt", "no file"), ("empty", "no file that inkling reads")):
        with pytest.raises(UserError, match=message):
            prepare(input=where)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="this user may read everything")
def test_an_unreadable_file_is_said(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(UserError, match=r"Cannot read a\.txt"):
        prepare(input="a.txt")


def test_a_data_dir_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "a.txt").write_text("text " * 20)
    with pytest.raises(UserError, match=r"Cannot use a\.txt"):
        prepare(input="a.txt", data_dir="a.txt")


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, float("nan")])
def test_a_senseless_val_fraction_is_refused(fraction):
    with pytest.raises(UserError, match="val_fraction"):
        prepare(input="a.txt", val_fraction=fraction)


# --- whole or not at all ---------------------------------------------------------------------------------


def test_the_same_text_gives_the_same_bytes(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": f"text {i}"}) for i in range(50)))
    first = everything_in(prepare("one_char", input="a.jsonl").path)
    assert everything_in(prepare("two_char", input="a.jsonl").path) == first


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_leaves_the_old_data_set_or_none(tmp_path, monkeypatch):
    (tmp_path / "old.txt").write_text("old text " * 50)
    (tmp_path / "new.txt").write_text("NEW! " * 70)
    old = everything_in(prepare("mine_char", input="old.txt").path)
    outcomes = []
    for last_step in range(30):
        prepare("mine_char", input="old.txt")
        child = os.fork()
        if child == 0:
            die_after(last_step)
            prepare("mine_char", input="new.txt")
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        try:
            check_dataset(open_dataset("mine_char"))
            now = (tmp_path / "data" / "mine_char" / "train.bin").read_bytes()
            outcomes.append("old" if now == old["train.bin"] else "new")
        except UserError as error:
            assert error.problem.startswith("There is no data set mine_char")
            outcomes.append("none")
        assert prepare("mine_char", input="old.txt").meta.source == "old.txt"
        assert everything_in(tmp_path / "data" / "mine_char") == old  # and nothing is left over
        if not killed:
            break
    assert outcomes[-1] == "new" and not killed
    assert outcomes == sorted(outcomes, key=["old", "none", "new"].index)
    assert {"old", "none", "new"} == set(outcomes)


def die_after(steps: int) -> None:
    """End this process, with no clean-up, before its file operation number `steps` that changes a folder."""
    left = iter(range(steps))

    def counted(operation):
        def run(*args, **kwargs):
            if next(left, None) is None:
                os._exit(9)
            return operation(*args, **kwargs)

        return run

    for name in ("replace", "unlink"):
        setattr(Path, name, counted(getattr(Path, name)))


@pytest.mark.parametrize("progress", [True, False])
def test_the_bar_shows_on_a_terminal_only(tmp_path, monkeypatch, capsys, progress):
    (tmp_path / "a.txt").write_text("text " * 50)
    monkeypatch.setattr("time.monotonic", iter(range(0, 100_000, 3)).__next__)
    if progress:
        monkeypatch.setenv("FORCE_COLOR", "1")
    prepare(input="a.txt")
    assert ("encoding" in capsys.readouterr().err) == progress
