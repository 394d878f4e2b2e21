"""The data set on disk: what is written is what is read, and damage is noticed and named."""

import json

import numpy as np
import pytest

from inkling.data.shards import DatasetWriter, check_dataset, folder_for, open_dataset
from inkling.errors import UserError
from inkling.files import sha256_of, write_atomic
from inkling.text.tokenizer import BPETokenizer
from inkling.text.tokenizer_sources import byte_tokenizer


def small(folder, text=("Hé", "llo")):
    with DatasetWriter(folder, byte_tokenizer(), "a test") as writer:
        writer.train.add(text)
        writer.train.add(["second"])
        writer.val.add(["val"])
    return open_dataset(folder)


class WithSeparators(BPETokenizer):
    """Bytes, and ids for the separators that the tests want."""

    def __init__(self, special_tokens, vocab_size=300):
        super().__init__(byte_tokenizer().to_json())
        self.special_tokens = special_tokens
        self.vocab_size = vocab_size


def test_what_is_written_is_read(tmp_path):
    dataset = small(tmp_path / "größe 数据")
    assert dataset.name == "größe 数据"
    assert bytes(dataset.train.tolist()).decode() == "Héllosecond"
    assert bytes(dataset.val.tolist()) == b"val"
    assert dataset.train_starts.tolist() == [0, 6] and dataset.val_starts.tolist() == [0]
    assert dataset.train.dtype == np.uint16
    assert (dataset.meta.train.tokens, dataset.meta.train.bytes, dataset.meta.train.documents) == (12, 12, 2)
    assert dataset.meta.separator == "none" and dataset.meta.source == "a test"
    assert dataset.tokenizer().decode(dataset.val) == "val"
    with pytest.raises(ValueError, match="read-only"):
        dataset.train[0] = 1
    check_dataset(dataset)


def test_the_files_are_plain(tmp_path):
    small(tmp_path)
    assert (tmp_path / "val.bin").read_bytes() == b"v\0a\0l\0"
    assert (tmp_path / "train.idx").read_bytes() == b"\0" * 8 + b"\6" + b"\0" * 7
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert meta["val"]["sha256"] == sha256_of(tmp_path / "val.bin")
    assert meta["tokenizer_sha256"] == sha256_of(tmp_path / "tokenizer.json")
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "meta.json",
        "tokenizer.json",
        "train.bin",
        "train.idx",
        "val.bin",
        "val.idx",
    ]


@pytest.mark.parametrize(
    ("special", "forced", "expected"),
    [
        ({"<|endoftext|>": 299}, None, [97, 98, 299, 99, 299]),
        ({"<|bos|>": 298}, None, [298, 97, 98, 298, 99]),
        ({"<|bos|>": 298, "<|endoftext|>": 299}, None, [298, 97, 98, 298, 99]),
        ({"<|endoftext|>": 299}, "none", [97, 98, 99]),
    ],
)
def test_separators(tmp_path, special, forced, expected):
    with DatasetWriter(tmp_path, WithSeparators(special), "a test", forced) as writer:
        for split in (writer.train, writer.val):
            split.add(["a", "b"])
            split.add(["c"])
    dataset = open_dataset(tmp_path)
    assert dataset.train.tolist() == expected
    assert [expected[start] for start in dataset.train_starts] == [expected[0], dataset.train[dataset.train_starts[1]]]
    assert dataset.meta.train.bytes == 3  # text only


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65536, np.uint16), (65537, np.uint32)])
def test_the_vocabulary_decides_the_dtype(tmp_path, vocab_size, dtype):
    last = vocab_size - 1
    with DatasetWriter(tmp_path, WithSeparators({"<|endoftext|>": last}, vocab_size), "a test") as writer:
        writer.train.add(["a"])
        writer.val.add(["b"])
    dataset = open_dataset(tmp_path)
    assert dataset.train.dtype == dtype and dataset.train.tolist() == [97, last]


def test_a_name_means_a_folder_under_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small(tmp_path / "data" / "mine")
    assert open_dataset("mine").train.tolist() == open_dataset("./data/mine").train.tolist()
    assert folder_for("a.b-c_D9", tmp_path) == tmp_path / "a.b-c_D9"


@pytest.mark.parametrize("name", ["", "..", ".", "../x", "a/b", "a\\b", "/etc", ".hidden", "-x", "a b", "é", "a\n"])
def test_a_name_is_no_path(name):
    with pytest.raises(UserError, match="no name"):
        folder_for(name)


def test_a_missing_data_set_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        open_dataset("shakespeare_char")
    assert error.value.problem.replace("\\", "/") == "There is no data set shakespeare_char at data/shakespeare_char."
    assert error.value.remedy == "Run: inkling prepare shakespeare_char"


def test_a_wrong_size_is_named(tmp_path):
    small(tmp_path)
    file = tmp_path / "train.bin"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"train\.bin .*24 bytes expected, 21 found") as error:
        open_dataset(tmp_path)
    assert f"inkling prepare {tmp_path.name}" in error.value.remedy


@pytest.mark.parametrize("name", ["train.bin", "val.bin", "train.idx", "val.idx"])
def test_a_missing_file_is_named(tmp_path, name):
    small(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("name", ["train.bin", "val.bin", "train.idx", "val.idx", "tokenizer.json"])
def test_check_notices_a_changed_byte(tmp_path, name):
    dataset = small(tmp_path)
    with (tmp_path / name).open("r+b") as file:
        file.write(b"\1")
    with pytest.raises(UserError, match=f"{name} has changed"):
        check_dataset(dataset)


def test_a_changed_tokenizer_is_not_used(tmp_path):
    dataset = small(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"tokenizer\.json has changed"):
        dataset.tokenizer()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"train": {}, "val": {}}', "\ud83d"])
def test_a_damaged_meta_is_named(tmp_path, content):
    small(tmp_path)
    (tmp_path / "meta.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match=r"meta\.json is damaged"):
        open_dataset(tmp_path)


def test_an_error_while_writing_leaves_the_old_data_set(tmp_path):
    small(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt), DatasetWriter(tmp_path, byte_tokenizer(), "another") as writer:
        writer.train.add(["other text"])
        raise KeyboardInterrupt
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_what_a_killed_writer_left_is_not_used(tmp_path):
    expected = small(tmp_path / "a").train.tolist()
    writer = DatasetWriter(tmp_path / "a", byte_tokenizer(), "a test")
    writer.__enter__()
    writer.train.add(["half"])
    writer.write_part()  # and then it is killed
    assert open_dataset(tmp_path / "a").train.tolist() == expected
    assert small(tmp_path / "a", text=("new",)).train.tolist() == list(b"newsecond")
    assert not (tmp_path / "a" / ".unfinished").exists()


def test_write_atomic_leaves_the_old_file_on_error(tmp_path, monkeypatch):
    file = tmp_path / "file"
    write_atomic(file, "old\r\n")
    assert file.read_bytes() == b"old\r\n"
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomic(file, "new")
    assert file.read_bytes() == b"old\r\n"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
