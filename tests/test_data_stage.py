"""inkling data check | show, and arrays in shards."""

import json
import re

import numpy as np
import pytest

from inkling.data import sharded
from inkling.data.batches import get_batch
from inkling.data.sharded import ShardedArray, open_array
from inkling.errors import UserError
from inkling.stages.prepare import PrepareSettings
from inkling.stages.prepare import main as prepare


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = [f"Document {i}:\n\tsie hören 👍{'!' * i}" for i in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return prepare("mine", PrepareSettings(input="a.jsonl", shard_tokens=300))


def test_check_names_every_file_and_what_has_changed(dataset, inkling):
    status, out, _ = inkling("data", "check", "mine")
    files = 1 + 2 * (len(dataset.meta.train.shards) + 1)
    assert status == 0 and out.count("as prepared") == files
    assert inkling("data", "check", str(dataset.path))[1] == out
    (dataset.path / "val.idx").write_bytes(bytes(dataset.val_starts.nbytes - 1) + b"\1")
    status, out, err = inkling("data", "check", "mine")
    assert status == 1 and out.count("as prepared") == files - 1 and re.search(r"val\.idx .* CHANGED", out)
    assert "val.idx has changed" in err and "inkling prepare mine" in err


def test_show_prints_figures_and_tokens(dataset, inkling, monkeypatch):
    status, out, _ = inkling("data", "show", "mine", "--document=1", "--tokens=29")
    assert status == 0
    assert f"{dataset.meta.train.tokens:,}" in out and "vocabulary 256" in out and "a.jsonl" in out
    assert "train document 1: " in out and "D|o|c|u|m|e|n|t|" in out and "more tokens" in out
    assert "h|<C3>|<B6>|r" in out, "bytes of a character that are tokens by themselves"
    out = inkling("data", "show", "mine", "--split=val", "--document=-1", "--documents=5")[1]
    assert f"val document {dataset.meta.val.documents - 1}" in out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    assert "\033[30;48;5;153m" in inkling("data", "show", "mine")[1], "in colour on a terminal"


def test_what_it_is_not_asked_well(dataset, inkling):
    for words, message in (
        (["data"], "takes a word and a NAME"),
        (["data", "mend", "mine"], "data cannot 'mend'"),
        (["data", "show", "other"], "no data set other"),
        (["data", "show", "mine", "--document=99"], "There is no document 99 among the"),
        (["data", "show", "mine", "--document=-99"], "There is no document -99"),
    ):
        status, out, err = inkling(*words)
        assert status in (1, 2) and message in err and out == "", words


# --- arrays in shards ----------------------------------------------------------------------------------------


def in_files(tmp_path, lengths, dtype="<u2"):
    whole = np.arange(sum(lengths), dtype=dtype)
    files = []
    for i, part in enumerate(np.split(whole, np.cumsum(lengths)[:-1])):
        files.append(tmp_path / f"{i}.bin")
        files[-1].write_bytes(part.tobytes())
    return whole, ShardedArray(files, lengths, dtype)


def test_shards_slice_like_one_array(tmp_path, monkeypatch):
    monkeypatch.setattr(sharded, "MAPPED", 2)
    whole, array = in_files(tmp_path, [7, 7, 0, 7, 3])
    assert (len(array), array.shape, array.size, array.nbytes, array.dtype) == (24, (24,), 24, 48, whole.dtype)
    for start in range(-2, 27):
        for stop in (*range(-2, 27), None):
            assert array[start:stop].tolist() == whole[start:stop].tolist(), (start, stop)
    assert [array[i] for i in range(-24, 24)] == [*whole.tolist(), *whole.tolist()]
    assert array[3:20:4].tolist() == whole[3:20:4].tolist() and array[::-1].tolist() == whole[::-1].tolist()
    assert array.tolist() == list(array) == whole.tolist() and (np.asarray(array) == whole).all()
    assert array.astype(np.int64).dtype == np.int64 and array[2:5].base is not None, "a view, no copy"
    with pytest.raises(IndexError):
        array[24]
    with pytest.raises(ValueError, match="read-only"):
        array[2:5][0] = 1


def test_one_file_stays_a_memmap(tmp_path):
    whole, _ = in_files(tmp_path, [9])
    array = open_array([tmp_path / "0.bin"], [9], "<u2")
    assert type(array) is np.memmap and (array == whole).all()


def test_batches_of_shards_are_those_of_one_file(tmp_path):
    whole, array = in_files(tmp_path, [100, 100, 100, 37])
    for first_row in (0, 40):
        expected, found = (get_batch(tokens, 16, 5, first_row, 8) for tokens in (whole, array))
        assert all((a == b).all() for a, b in zip(expected, found, strict=True))


def test_packing_plans_of_shards_are_those_of_one_file(dataset):
    packing = pytest.importorskip("inkling.data.packing")
    one = prepare("one", PrepareSettings(input="a.jsonl"))
    plans = [packing.make_plan(each.train_starts, len(each.train), 64, "crop", 1) for each in (dataset, one)]
    assert all((getattr(plans[0], what) == getattr(plans[1], what)).all() for what in ("starts", "lengths", "first"))


def test_a_shard_with_a_path_for_a_name_is_refused(dataset):
    from inkling.data.shards import open_dataset

    meta = json.loads((dataset.path / "meta.json").read_text())
    meta["train"]["shards"][0]["name"] = "../../etc/x"
    (dataset.path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match=r"meta\.json is damaged"):
        open_dataset("mine")
