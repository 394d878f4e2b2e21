"""Readers of files: each kind gives the same documents, damage is named, and what is too long is cut and said."""

import gzip
import json
import random
from itertools import chain

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from inkling.data.shards import check_dataset
from inkling.data.sources import jsonl, opening, parquet, textfile
from inkling.data.sources.local import files_of, kind_of
from inkling.errors import UserError
from inkling.stages.prepare import PrepareSettings, main

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

TEXTS = [f"document {i}: größer, 日本 and 👍 {'word ' * (i % 7)}\n" for i in range(60)]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def prepare(name="mine", **settings):
    return main(name, PrepareSettings(**settings))


def lines(texts=TEXTS, key="text") -> bytes:
    return "".join(json.dumps({"id": 1, key: text}) + "\n" for text in texts).encode()


def write_parquet(file, texts=TEXTS, column="text", kind=None, group=7, **options):
    table = pa.table({"id": list(range(len(texts))), column: pa.array(texts, kind or pa.string())})
    pq.write_table(table, file, row_group_size=group, **options)


def ids(dataset) -> tuple[bytes, bytes]:
    return (dataset.path / "train.bin").read_bytes(), (dataset.path / "val.bin").read_bytes()


def read_jsonl(path, start=0, stop=None, key="text", notes=None):
    return list(jsonl.documents(path, start, stop, key, ([] if notes is None else notes).append))


# --- all kinds of files are the same text --------------------------------------------------------------------


def test_every_kind_of_file_gives_the_same_data_set(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines())
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines()[:1000]) + gzip.compress(lines()[1000:]))
    frames = [zstandard.compress(part) for part in (lines()[:3000], lines()[3000:])]
    (tmp_path / "a.JSONL.zst").write_bytes(b"".join(frames))
    write_parquet("a.parquet")
    write_parquet("b.parquet", kind=pa.large_string(), compression="zstd")
    write_parquet("c.parquet", kind=pa.dictionary(pa.int32(), pa.string()), compression="gzip", group=1000)
    expected = ids(prepare(input="a.jsonl"))
    for file in ("a.jsonl.gz", "a.JSONL.zst", "a.parquet", "b.parquet", "c.parquet"):
        assert ids(prepare(input=file)) == expected, file


def test_another_column(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines(key="content"))
    write_parquet("a.parquet", column="content")
    assert ids(prepare(input="a.jsonl", column="content")) == ids(prepare(input="a.parquet", column="content"))


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".txt.zst"])
def test_a_compressed_text_is_cut_where_the_plain_one_is(tmp_path, suffix):
    text = "\ufeff" + "".join(TEXTS)
    pack = {".txt": bytes, ".txt.gz": gzip.compress, ".txt.zst": zstandard.compress}[suffix]
    (tmp_path / f"a{suffix}").write_bytes(pack(text.encode()))
    dataset = prepare(input=f"a{suffix}")
    cut = int((len(text) - 1) * 0.9)
    assert bytes(dataset.train.tolist()).decode() == text[1 : cut + 1]
    assert bytes(dataset.val.tolist()).decode() == text[cut + 1 :]


def test_a_single_line_and_a_single_row_are_cut_as_well(tmp_path):
    text = "".join(TEXTS)
    (tmp_path / "a.jsonl").write_bytes(lines([text]))
    write_parquet("a.parquet", [text])
    (tmp_path / "b.txt").write_bytes(b"")
    for where in ("a.jsonl", "a.parquet", "*.parquet"):
        dataset = prepare(input=where)
        assert bytes(dataset.train.tolist()).decode() == text[: int(len(text) * 0.9)]
        assert (dataset.meta.train.documents, dataset.meta.val.documents) == (1, 1)


def test_kinds_by_name(tmp_path):
    names = ["a.txt", "b.TXT.GZ", "c.jsonl.zst", "d.parquet", "e.parquet.gz", "f.json", "g.gz", "h"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert [kind_of(tmp_path / name) for name in names] == ["txt", "txt", "jsonl", "parquet", "", "", "", ""]
    assert [file.name for file in files_of(str(tmp_path))] == names[:4]


# --- slices ------------------------------------------------------------------------------------------------


@given(st.lists(st.text(st.sampled_from('ab é\\"日'), max_size=12), max_size=12), st.integers(1, 60), st.booleans())
@hypothesis_settings(max_examples=80, deadline=None)
def test_slices_of_lines_are_all_lines_once(tmp_path_factory, texts, size, with_bom):
    file = tmp_path_factory.getbasetemp() / "lines.jsonl"
    content = (b"\xef\xbb\xbf" if with_bom else b"") + b"\r\n\n".join(lines([text]).strip() for text in texts)
    file.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "BLOCK", 16)
        assert read_jsonl(file) == texts
        found = [read_jsonl(file, start, start + size) for start in range(0, len(content), size)]
    assert list(chain(*found)) == texts


@given(st.text(st.sampled_from("ab \n\u3000\u00a0é👍"), max_size=200), st.integers(8, 40))
@hypothesis_settings(max_examples=80, deadline=None)
def test_slices_of_a_text_are_cut_safely(tmp_path_factory, text, size):
    """A cut has one visible character on each side, or a newline and a visible character before it."""
    file = tmp_path_factory.getbasetemp() / "slices.txt"
    file.write_bytes(text.encode())
    found = list(textfile.slices(file, 0, file.stat().st_size, size))
    assert [start for start, _ in found[1:]] == [stop for _, stop in found[:-1]]
    assert "".join("".join(textfile.TextFile(file, *part)) for part in found) == text
    for start, _ in found[1:]:
        at = len(text.encode()[:start].decode())
        before = text[: at - 1] if text[at - 1] == "\n" else text[:at]
        after = text[at:] if text[at - 1] == "\n" else text[at + 1 :]
        assert not before[-1].isspace() and not after[0].isspace()


@given(st.text(max_size=50), st.data())
@hypothesis_settings(max_examples=50, deadline=None)
def test_offset_of_a_character(tmp_path_factory, text, data):
    file = tmp_path_factory.getbasetemp() / "offset.txt"
    text = text.encode("utf-8", "ignore").decode()
    at = data.draw(st.integers(0, len(text)))
    for bom in (b"", b"\xef\xbb\xbf"):
        file.write_bytes(bom + text.encode())
        if not text.startswith("\ufeff"):
            assert textfile.offset_of(file, at) == len(bom) + len(text[:at].encode())
            assert textfile.count_characters(textfile.TextFile(file).raw()) == len(text)


# --- damage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.gz", "a.txt.zst", "a.jsonl.zst"])
def test_a_cut_stream_is_not_taken_for_a_shorter_one(tmp_path, name):
    random.seed(0)
    content = lines([random.randbytes(300).hex() for _ in range(2000)])
    pack = gzip.compress if name.endswith("gz") else zstandard.ZstdCompressor(write_checksum=True).compress
    whole = pack(content)
    for damaged in (whole[:-1], whole[:-9], whole[: len(whole) // 2], b"garbage" * 9, whole[:50] + b"x" + whole[51:]):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(UserError, match=rf"{name} is (damaged or cut off|not valid UTF-8)|is not JSON"):
            prepare(input=name)
        assert not list((tmp_path / "data").rglob("*"))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-20],
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content.replace(b"some longer", b"some smaller"[:11]),
        lambda content: content[:4000] + bytes(3000) + content[7000:],
    ],
)
def test_a_broken_parquet_file(tmp_path, change):
    texts = ["some longer text " * 40 + str(i) for i in range(60)]
    write_parquet("a.parquet", texts, compression="none", write_page_checksum=True)
    file = tmp_path / "a.parquet"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(UserError, match="damaged or cut off"):
        prepare(input="a.parquet")
    assert not list((tmp_path / "data").rglob("*"))


def test_a_column_that_is_not_there_or_no_text(tmp_path):
    write_parquet("a.parquet")
    with pytest.raises(UserError, match="no column 'content'") as error:
        prepare(input="a.parquet", column="content")
    assert "id (int64), text (string)" in error.value.remedy
    with pytest.raises(UserError, match=r"'id' of a\.parquet holds no text but int64"):
        prepare(input="a.parquet", column="id")
    write_parquet("b.parquet", [b"x"], kind=pa.binary())
    with pytest.raises(UserError, match="holds no text but binary"):
        prepare(input="b.parquet")
    (tmp_path / "a.jsonl").write_bytes(b'{"id": 1, "content": "x"}\n')
    with pytest.raises(UserError, match=r'a.jsonl:1 has no "text" that is a text. It has: id, content'):
        prepare(input="a.jsonl")


def test_nulls_are_left_out_and_said(capsys):
    texts = [text if i % 3 else None for i, text in enumerate(TEXTS)]
    write_parquet("a.parquet", texts)
    dataset = prepare(input="a.parquet")
    assert dataset.meta.train.documents + dataset.meta.val.documents == 40
    assert "20 rows of a.parquet have no text (NULL)" in capsys.readouterr().err
    write_parquet("a.parquet", [None, None])
    with pytest.raises(UserError, match="no text in the input"):
        prepare(input="a.parquet")


def test_a_row_that_is_not_utf8(tmp_path):
    broken = pa.array([b"good", b"bad\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": broken}), "a.parquet")
    with pytest.raises(UserError, match=r"A row of a\.parquet after row 0 is not valid UTF-8"):
        prepare(input="a.parquet")


@pytest.mark.parametrize(("module", "file"), [("pyarrow", "a.parquet"), ("zstandard", "a.txt.zst")])
def test_a_missing_package_says_what_to_install(tmp_path, monkeypatch, module, file):
    write_parquet("a.parquet")
    (tmp_path / "a.txt.zst").write_bytes(zstandard.compress(b"text " * 50))
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(UserError, match=f"package {module}") as error:
        prepare(input=file)
    assert error.value.remedy == "Run: pip install 'inkling-lm[data]'"


# --- too long --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_line_that_is_too_long_is_cut(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(jsonl, "LONGEST", 1000)
    monkeypatch.setattr(opening, "BLOCK", 256)
    long = '{"id": [1, {"text": "no"}], "text" : "' + "ab\\n\\u00e9" * 900 + '", "more": "' + "x" * 5000 + '"}\n'
    content = lines(["one"]) + long.encode() + lines(["two", "three"])
    file = tmp_path / f"a.jsonl{suffix}"
    file.write_bytes(gzip.compress(content) if suffix else content)
    notes = []
    first, cut, *rest = read_jsonl(file, notes=notes)
    assert (first, rest) == ("one", ["two", "three"])
    assert cut == ("ab\né" * 900)[: len(cut)] and 300 < len(cut) < 500
    assert notes == [f"{file}:2 is longer than 0 MB: its text is cut there"]
    dataset = prepare(input=file.name)
    assert dataset.meta.train.documents + dataset.meta.val.documents == 4
    if not suffix:  # and in slices, each line is read once
        found = [read_jsonl(file, start, start + 700, notes=notes) for start in range(0, len(content), 700)]
        assert list(chain(*found)) == [first, cut, *rest]


@pytest.mark.parametrize(
    "line", ['{"other": "' + "x" * 2000, "[" * 2000, '{"a": 1, ' + " " * 2000, '{"text": 5, "b": "' + "x" * 2000]
)
def test_a_long_line_without_a_beginning_of_text(tmp_path, monkeypatch, line):
    monkeypatch.setattr(jsonl, "LONGEST", 1000)
    (tmp_path / "a.jsonl").write_bytes(line.encode())
    with pytest.raises(UserError, match=r'a.jsonl:1 is longer than 0 MB, and no "text" begins in that'):
        read_jsonl(tmp_path / "a.jsonl")


def test_a_long_line_is_cut_between_characters(tmp_path, monkeypatch):
    for limit in range(1000, 1024):
        monkeypatch.setattr(jsonl, "LONGEST", limit)
        body = "é日👍\\ud83d\\udc4d\\\\" * 100
        (tmp_path / "a.jsonl").write_bytes(b'{"text": "' + body.encode() + b'"}\n')
        (text,) = read_jsonl(tmp_path / "a.jsonl")
        assert ("é日👍👍\\" * 100).startswith(text) and len(text) > 150


def test_a_row_that_is_too_long_is_cut(monkeypatch, capsys):
    monkeypatch.setattr(parquet, "LONGEST", 1000)
    write_parquet("a.parquet", ["short", "é" * 600, "x" * 1000, "last"])
    notes = []
    found = list(parquet.documents(files_of("a.parquet")[0], 0, 1, "text", notes.append))
    assert found == ["short", "é" * 500, "x" * 1000, "last"]
    assert notes == ["row 2 of a.parquet is longer than 0 MB: its text is cut there"]
    prepare(input="a.parquet")
    assert "note: row 2 of a.parquet is longer" in capsys.readouterr().err


# --- standard input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_standard_input(tmp_path, monkeypatch, capsys, kind):
    content = lines() if kind == "jsonl" else "".join(TEXTS).encode()
    (tmp_path / f"a.{kind}").write_bytes(content)
    expected = ids(prepare(input=f"a.{kind}"))
    monkeypatch.setattr("sys.stdin", open(tmp_path / f"a.{kind}", encoding="utf-8"))  # noqa: PTH123, SIM115
    dataset = prepare("other", input="-", stdin=kind)
    assert ids(dataset) == expected and dataset.meta.source == "standard input"
    assert "cannot be resumed" in capsys.readouterr().err
    assert not (dataset.path / ".unfinished").exists()


def test_one_endless_compressed_file_gives_many_parts(tmp_path, monkeypatch):
    from inkling.data import encode

    text = "".join(f"{i} some words\n" for i in range(20_000))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text.encode()))
    expected = ids(prepare(input="a.txt.gz"))
    monkeypatch.setattr(encode, "PART", 20_000)
    monkeypatch.setattr(encode, "GROUP", 5_000)
    monkeypatch.setattr(textfile, "PIECE", 1_000)
    dataset = prepare(input="a.txt.gz")
    assert ids(dataset) == expected and np.array_equal(dataset.train_starts, [0])
    check_dataset(dataset)
