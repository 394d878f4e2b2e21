"""Preparing in units: the same bytes as the plainest loop, whatever the units, the processes and the kills."""

import gzip
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import zstandard

from conftest import command
from inkling.data import encode, journal, preparing, units, workers
from inkling.data.shards import check_dataset, open_dataset
from inkling.data.sources import textfile
from inkling.errors import UserError
from inkling.stages import prepare as stage
from inkling.stages.prepare import PrepareSettings, main
from inkling.text.tokenizer_sources import load_tokenizer

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

WORDS = ["tree", "größer", "the", "日本", "of\n", "\n\nand", "  is", "👍", "house", "def f(x):\n    return x", "123456"]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small_units(monkeypatch):
    """Everything in pieces so small that little text makes many."""
    monkeypatch.setattr(units, "SMALLEST", 2_000)
    monkeypatch.setattr(units, "LARGEST", 2_000)
    monkeypatch.setattr(encode, "GROUP", 300)
    monkeypatch.setattr(encode, "PART", 900)
    monkeypatch.setattr(textfile, "PIECE", 200)


def prepare(name="mine", **settings):
    return main(name, PrepareSettings(**settings))


def text(seed: int, length: int) -> str:
    chosen = random.Random(seed)
    return " ".join(chosen.choice(WORDS) for _ in range(length))


def write_mixture(folder: Path, scale: int = 1) -> list[str]:
    """Files of every kind; returns their documents in the order of the files' names."""
    folder.mkdir()
    small = [text(i, 5 + i % 40) for i in range(60 * scale)]
    lines = [json.dumps({"text": each}, ensure_ascii=i % 2 == 0) + "\n" for i, each in enumerate(small)]
    (folder / "a.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
    (folder / "b.jsonl.gz").write_bytes(gzip.compress("".join(lines).replace("tree", "bee").encode()))
    pq.write_table(pa.table({"text": [each + "!" for each in small]}), folder / "c.parquet", row_group_size=9)
    (folder / "d.txt").write_bytes(text(1, 900 * scale).encode())
    (folder / "e.txt.zst").write_bytes(zstandard.compress(text(2, 900 * scale).encode()))
    (folder / "f.txt").write_bytes(b"short")
    (folder / "g.txt").write_bytes(b"")
    bees = [each.replace("tree", "bee") for each in small]
    return [*small, *bees, *(each + "!" for each in small), text(1, 900 * scale), text(2, 900 * scale), "short"]


def plainly(documents: list[str], tokenizer, val_fraction=0.1) -> dict[str, bytes]:
    """What the data set's files must be, by the plainest loop."""
    found = {"train": ([], []), "val": ([], [])}
    for document in documents:
        digest = hashlib.blake2b(document.encode(), digest_size=8).digest()
        ids, starts = found["val" if int.from_bytes(digest, "little") < int(val_fraction * 2**64) else "train"]
        starts.append(len(ids))
        ids += [tokenizer.bos] * (tokenizer.separator == "bos_before")
        ids += tokenizer.encode(document)
        ids += [tokenizer.eot] * (tokenizer.separator == "eot_after")
    files = {}
    for split, (ids, starts) in found.items():
        files[f"{split}.bin"] = np.array(ids, "<u2").tobytes()
        files[f"{split}.idx"] = np.array(starts, "<u8").tobytes()
    return files


def files_of(folder: Path) -> dict[str, bytes]:
    assert not [found for found in folder.iterdir() if found.is_dir()]
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def bpe(tmp_path) -> str:
    """A byte-level BPE tokenizer with a mark before each document."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|bos|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text(9, 500)], trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return str(tmp_path / "tokenizer.json")


# --- the same bytes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["byte", "char", "bpe"])
def test_units_give_the_bytes_of_the_plain_loop(tmp_path, small_units, kind):
    documents = write_mixture(tmp_path / "texts")
    dataset = prepare(input="texts", tokenizer=bpe(tmp_path) if kind == "bpe" else kind)
    assert files_of(dataset.path).items() >= plainly(documents, dataset.tokenizer()).items()
    sizes = [sum(len(each.encode()) for each in documents), dataset.meta.train.bytes + dataset.meta.val.bytes]
    assert sizes[0] == sizes[1] and dataset.meta.train.documents + dataset.meta.val.documents == len(documents)
    check_dataset(dataset)


def test_the_number_of_processes_does_not_matter(tmp_path, monkeypatch):
    documents = write_mixture(tmp_path / "texts", scale=4)
    tokenizer = bpe(tmp_path)
    monkeypatch.setattr(units, "SMALLEST", 5_000)
    alone = prepare("alone", input="texts", tokenizer=tokenizer, workers=1)
    monkeypatch.setattr(workers, "WORTH_HELPERS", 0)
    helped = prepare("helped", input="texts", tokenizer=tokenizer, workers=3)
    assert files_of(alone.path) == files_of(helped.path)
    assert files_of(alone.path).items() >= plainly(documents, load_tokenizer(tokenizer)).items()


def test_a_helpers_complaint_is_the_persons(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "SMALLEST", 2_000)
    monkeypatch.setattr(workers, "WORTH_HELPERS", 0)
    good = json.dumps({"text": text(3, 200)}) + "\n"
    (tmp_path / "a.jsonl").write_text(good * 20 + '{"text": 5}\n' + good * 2, encoding="utf-8")
    # Only helpers: this process leaves all tasks to them.
    monkeypatch.setattr(workers._Team, "_own_work", lambda team: iter(()))
    with pytest.raises(UserError, match=r'a.jsonl:21 has no "text"'):
        prepare(input="a.jsonl", workers=3)
    assert not list((tmp_path / "data").rglob("*"))


def test_a_helper_that_is_ended_is_said_and_the_rest_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "SMALLEST", 2_000)
    monkeypatch.setattr(workers, "WORTH_HELPERS", 0)
    write_mixture(tmp_path / "texts")
    expected = files_of(prepare("expected", input="texts", workers=1).path)

    own_work = workers._Team._own_work

    def work_and_kill(team):
        task = team._next()
        if task.do != "encode":
            team._todo.appendleft(task)
            yield from own_work(team)
            return
        for result in workers.perform(task, team._job, team._tokenizer):
            yield task.number, result
        for helper in team._helpers:
            helper.kill()

    with monkeypatch.context() as patch:
        patch.setattr(workers._Team, "_own_work", work_and_kill)
        with pytest.raises(UserError, match="helper process was ended") as error:
            prepare(input="texts", workers=2)
    assert "same command again" in error.value.remedy
    assert (tmp_path / "data" / "mine" / ".unfinished" / "journal.jsonl").exists()
    assert files_of(prepare(input="texts", workers=1).path) == expected


# --- how text is shared out -----------------------------------------------------------------------------------


def test_few_documents_are_on_both_sides(tmp_path, small_units):
    """Also of a few large ones, and of large and small ones mixed, and when all are on one side at first."""
    for count in (2, 3):
        for seed in range(4):
            shutil.rmtree(tmp_path / "texts", ignore_errors=True)
            (tmp_path / "texts").mkdir()
            for i in range(count):
                (tmp_path / "texts" / f"{i}.txt").write_bytes(text(seed * 10 + i, 600).encode())
            (tmp_path / "texts" / "x.jsonl").write_text(json.dumps({"text": f"x{seed}"}), encoding="utf-8")
            for fraction in (0.01, 0.99):
                for where, documents in (("texts", count + 1), ("texts/*.txt", count)):
                    dataset = prepare(input=where, val_fraction=fraction)
                    counts = dataset.meta.train.documents, dataset.meta.val.documents
                    assert sorted(counts) == [1, documents - 1]
                    check_dataset(dataset)


def test_one_large_text_beside_empty_ones_is_a_single_text(tmp_path, small_units):
    whole = text(5, 900)
    for name, content in (("a.txt", b""), ("b.txt", whole.encode()), ("c.jsonl", b"\n")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "d.txt.gz").write_bytes(gzip.compress(whole.encode()))
    for where in ("b.txt", "*.txt", "[abc].*", "[acd].*", "d.txt.gz"):
        dataset = prepare(input=where)
        assert bytes(dataset.train.tolist()).decode() == whole[: int(len(whole) * 0.9)]
        assert bytes(dataset.val.tolist()).decode() == whole[int(len(whole) * 0.9) :]


# --- kills ---------------------------------------------------------------------------------------------------


def die_at(monkeypatch, event: int) -> None:
    """End this process, with no clean-up, when entry number `event` has been made in the journal."""
    left = iter(range(event))
    append = journal.Journal._append

    def counted(self, what, value, sync=False):
        append(self, what, value, sync)
        if next(left, None) is None:
            os._exit(9)

    monkeypatch.setattr(journal.Journal, "_append", counted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("tokenizer", ["byte", "char"])
def test_a_killed_preparation_goes_on_where_it_was(tmp_path, monkeypatch, small_units, capsys, tokenizer):
    write_mixture(tmp_path / "texts")
    how = {"input": "texts", "tokenizer": tokenizer, "shard_tokens": 3_000}
    expected = files_of(prepare("undisturbed", **how).path)
    entries = (tmp_path / "data" / "undisturbed" / "meta.json").read_text().count('"name"')
    assert entries > 5
    encoded = []
    real = encode.UnitEncoder.parts

    def counted(self, done=0, skip=0):
        for part in real(self, done, skip):
            encoded.append((part.unit, part.number))
            yield part

    for event in range(0, 120, 7):
        child = os.fork()
        if child == 0:
            die_at(monkeypatch, event)
            prepare(**how)
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        with pytest.raises(UserError, match="There is no data set") if killed else open_dataset_ok():
            open_dataset("mine")
        lines = (tmp_path / "data/mine/.unfinished/journal.jsonl").read_text().splitlines() if killed else []
        done = {(v["unit"], v["number"]) for line in lines for k, v in json.loads(line).items() if k == "part"}
        encoded.clear()
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(encode.UnitEncoder, "parts", counted)
            dataset = prepare(**how)
        if killed:
            assert not done & set(encoded), "encoded again"
            assert "going on with what is there" in capsys.readouterr().err
        assert files_of(dataset.path) == expected
        shutil.rmtree(dataset.path)
        if not killed:
            break
    assert not killed and event > 40


def open_dataset_ok():
    import contextlib

    return contextlib.nullcontext()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("change", ["touch", "text", "setting"])
def test_after_a_change_it_begins_anew_and_says_so(tmp_path, monkeypatch, small_units, capsys, change):
    write_mixture(tmp_path / "texts")
    child = os.fork()
    if child == 0:
        die_at(monkeypatch, 20)
        prepare(input="texts")
        os._exit(0)
    os.waitpid(child, 0)
    how = {"input": "texts"}
    if change == "touch":
        os.utime("texts/a.jsonl", (1, 1))
    elif change == "text":
        Path("texts/f.txt").write_bytes(b"other")
    else:
        how["val_fraction"] = 0.2
    capsys.readouterr()
    dataset = prepare(**how)
    assert "has changed since: it begins anew" in capsys.readouterr().err
    assert files_of(dataset.path) == files_of(prepare("other", **how).path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("damage", ["truncate", "flip", "delete", "torn journal", "garbage journal"])
def test_what_a_power_cut_may_leave_is_not_used(tmp_path, monkeypatch, small_units, damage):
    write_mixture(tmp_path / "texts")
    expected = files_of(prepare("undisturbed", input="texts").path)
    child = os.fork()
    if child == 0:
        die_at(monkeypatch, 30)
        prepare(input="texts")
        os._exit(0)
    os.waitpid(child, 0)
    folder = tmp_path / "data" / "mine" / ".unfinished"
    log = folder / "journal.jsonl"
    for part in sorted(folder.glob("*.part"))[::3]:
        content = part.read_bytes()
        if damage == "truncate":
            part.write_bytes(content[:-1])
        elif damage == "flip":
            part.write_bytes(content[:5] + b"\xff" + content[6:])
        elif damage == "delete":
            part.unlink()
    if damage == "torn journal":
        log.write_bytes(log.read_bytes()[:-25])
    elif damage == "garbage journal":
        log.write_bytes(log.read_bytes() + bytes(100))
    (folder / "000099-0000-half.part").write_bytes(b"half")
    assert files_of(prepare(input="texts").path) == expected


def test_ctrl_c_keeps_what_is_done_and_a_mistake_does_not(tmp_path, monkeypatch, small_units, capsys):
    write_mixture(tmp_path / "texts")
    for error, kept in ((KeyboardInterrupt(), True), (OSError(28, "No space left"), True), (UserError("x"), False)):

        def interrupted(*args, error=error, **kwargs):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(stage, "finish", interrupted)
            with pytest.raises((KeyboardInterrupt, UserError)) as raised:
                prepare(input="texts")
        said = capsys.readouterr().err + str(raised.value)
        assert ("the same command goes on from here" in said) == kept
        assert (tmp_path / "data" / "mine").exists() == kept
        with pytest.raises(UserError, match="no tokenizer typo"):  # a mistake beforehand costs nothing
            prepare(input="texts", tokenizer="typo")
        assert (tmp_path / "data" / "mine").exists() == kept
        assert not kept or not (tmp_path / "data" / "mine" / ".unfinished" / "lock").exists()
    check_dataset(prepare(input="texts"))


def test_two_at_once_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("text " * 50)
    (tmp_path / "data/mine/.unfinished").mkdir(parents=True)
    lock = tmp_path / "data/mine/.unfinished/lock"
    other = psutil.Process(os.getppid())
    lock.write_text(json.dumps([other.pid, other.create_time()]))
    with pytest.raises(UserError, match=f"Process {other.pid} is preparing"):
        prepare(input="a.txt")
    assert lock.exists()
    lock.write_text(json.dumps([other.pid, other.create_time() - 5]))  # a process that was, whose number another has
    prepare(input="a.txt")


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    real = preparing.encode

    def changed(*args):
        real(*args)
        os.utime("a.jsonl", (1, 1))

    monkeypatch.setattr(stage, "encode", changed)
    with pytest.raises(UserError, match="changed while it was read"):
        prepare(input="a.jsonl")
    assert not list((tmp_path / "data").rglob("*"))


# --- shards --------------------------------------------------------------------------------------------------


def test_shards_are_the_single_file_cut(tmp_path, small_units):
    write_mixture(tmp_path / "texts")
    whole = prepare("whole", input="texts")
    dataset = prepare("shards", input="texts", shard_tokens=1_000)
    shards = dataset.meta.train.shards
    assert {shard.tokens for shard in shards[:-1]} == {1_000} and len(shards) > 5
    files = [dataset.path / f"{shard.name}.bin" for shard in shards]
    assert files[1].name == "train-00001.bin" and not (dataset.path / "train.bin").exists()
    assert b"".join(file.read_bytes() for file in files) == (whole.path / "train.bin").read_bytes()
    starts = b"".join(file.with_suffix(".idx").read_bytes() for file in files)
    assert starts == (whole.path / "train.idx").read_bytes()
    assert len(dataset.train) == len(whole.train) and dataset.train.nbytes == whole.train.nbytes
    assert dataset.meta.train.tokens == whole.meta.train.tokens
    check_dataset(dataset)
    files[2].write_bytes(files[2].read_bytes()[:-2] + b"\xff\xff")
    with pytest.raises(UserError, match=r"train-00002\.bin has changed"):
        check_dataset(dataset)
    files[2].write_bytes(b"")
    with pytest.raises(UserError, match=r"train-00002\.bin has the wrong size"):
        open_dataset("shards")
    # Prepared again in one file, nothing of the shards is left.
    again = prepare("shards", input="texts")
    assert files_of(again.path) == files_of(whole.path)


def test_no_room_on_the_disk_is_said_first(tmp_path, monkeypatch):
    from inkling.data import estimate

    write_mixture(tmp_path / "texts")
    monkeypatch.setattr(stage, "LONG", 1_000)
    monkeypatch.setattr(estimate, "free_space", lambda folder: 10)
    with pytest.raises(UserError, match=r"needs about .* on the disk of .*; 10 bytes are free"):
        prepare(input="texts")
    assert not list((tmp_path / "data").rglob("*"))


def test_a_long_job_is_announced(tmp_path, monkeypatch, capsys):
    write_mixture(tmp_path / "texts")
    monkeypatch.setattr(stage, "LONG", 1_000)
    prepare(input="texts", workers=1)
    assert "M tokens" in (err := capsys.readouterr().err) and "are free" in err and "with 1 process" in err


# --- kill -9, with helpers ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_kill_minus_nine_at_full_speed(tmp_path):
    """200 MB by four processes, killed twice, is what one undisturbed process makes of it."""
    lines = [json.dumps({"text": text(i, 400)}) + "\n" for i in range(500)]
    with (tmp_path / "a.jsonl").open("w", encoding="utf-8") as file:
        size = number = 0
        while size < 200_000_000:
            number += 1
            size += file.write("".join(lines).replace("house", f"house{number}"))
    words = ["prepare", "mine", "--input=a.jsonl", "--workers=4", f"--tokenizer={bpe(tmp_path)}"]
    subprocess.run([*command(*words), "--data_dir=undisturbed"], check=True)
    for _ in range(2):
        process = subprocess.Popen(command(*words), start_new_session=True)
        log = tmp_path / "data/mine/.unfinished/journal.jsonl"
        before = len(log.read_bytes()) if log.exists() else 0
        while not log.exists() or len(log.read_bytes()) < before + 2_000:
            assert process.poll() is None
            time.sleep(0.05)
        helpers = psutil.Process(process.pid).children()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(helpers, timeout=30)
        assert helpers and not alive
    subprocess.run(command(*words), check=True)
    assert files_of(tmp_path / "data/mine") == files_of(tmp_path / "undisturbed/mine")
