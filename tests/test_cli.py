"""Bad input at the command line: a message that names fault and remedy, a status, never a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import clean_environment, command, flags


def refused(result: tuple[int, str, str], *says: str) -> None:
    """The command failed, said all of this, and showed no traceback."""
    status, _, err = result
    assert status != 0
    assert "Traceback" not in err
    for text in says:
        assert text in err, f"{text!r} is not in: {err}"


def test_overview_names_every_verb_and_an_example(inkling):
    for words in ([], ["--help"], ["help"]):
        status, out, _ = inkling(*words)
        assert status == 0
        for verb in ("prepare", "train", "sample"):
            assert verb in out
        assert "inkling prepare bundled" in out


@pytest.mark.parametrize("verb", ["prepare", "train", "sample"])
def test_help_of_every_verb(inkling, verb):
    status, out, _ = inkling(verb, "--help")
    assert status == 0 and f"inkling {verb}" in out and "(default:" in out


def test_unknown_verb(inkling):
    refused(inkling("trian"), "no verb 'trian'", "train")


def test_unknown_key(inkling):
    refused(inkling("train", "shakespeare_char", "--n_layers=3"), "--n_layers", "Did you mean --n_layer?")
    refused(inkling("sample", "x", "--temprature=3"), "Did you mean --temperature?")
    refused(inkling("prepare", "x", "--tokeniser=char"), "Did you mean --tokenizer?")


def test_wrong_type(inkling):
    refused(inkling("train", "shakespeare_char", "--n_layer=four"), "--n_layer", "'four'", "a whole number")


def test_unknown_recipe(inkling):
    refused(inkling("train", "shakespear"), "no recipe 'shakespear'", "shakespeare_char")
    refused(inkling("train", "none.toml"), "no recipe file none.toml")
    refused(inkling("train"), "Which recipe?")
    refused(inkling("train", "demo", "demo"), "one recipe")


def test_missing_data_set(inkling, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(inkling("train", "shakespeare_char"), "no data set shakespeare_char", "inkling prepare shakespeare_char")


def test_data_shorter_than_one_window(tiny, inkling):
    refused(inkling("train", "tiny.toml", "--block_size=20000"), "16509 tokens", "--block_size=16508 or less")


def test_truncated_bin(tiny, inkling):
    file = Path("data/tiny/train.bin")
    file.write_bytes(file.read_bytes()[:-100])
    refused(inkling("train", "tiny.toml"), "train.bin", "inkling prepare tiny")


def test_models_that_cannot_be_built(tiny, inkling):
    refused(inkling("train", "tiny.toml", "--n_embd=33"), "n_embd=33 is not a multiple of n_head=2")
    refused(inkling("train", "tiny.toml", "--n_layer=0"), "n_layer=0")
    refused(inkling("train", "tiny.toml", "--dropout=1.5"), "dropout=1.5")
    refused(inkling("train", "tiny.toml", "--n_head=2", "--n_kv_head=3"), "n_kv_head=3")
    refused(inkling("train", "tiny.toml", "--vocab_size=100"), "vocabulary of 256", "--pad_vocab_to")


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("--max_iters=0", "max_iters=0"),
        ("--eval_interval=0", "eval_interval=0"),
        ("--eval_iters=0", "eval_iters=0"),
        ("--eval_tokens=1", "eval_tokens=1"),
        ("--keep_last=0", "keep_last=0"),
        ("--log_interval=0", "log_interval=0"),
        ("--max_seconds=-1", "max_seconds=-1"),
        ("--snapshots=-1", "snapshots=-1"),
        ("--warmup_iters=-1", "warmup_iters"),
        ("--batch_size=0", "batch_size"),
        ("--learning_rate=-1", "learning_rate=-1"),
        ("--threads=-1", "threads=-1"),
    ],
)
def test_numbers_that_make_no_sense(tiny, inkling, word, says):
    refused(inkling("train", "tiny.toml", word), says)
    assert not Path("runs").exists(), "nothing is left behind by a refused command"


def test_a_disk_that_refuses_is_a_message(tiny, inkling, monkeypatch):
    from inkling.train import progress

    def full(*_, **__):
        raise OSError(28, "No space left on device", "metrics.jsonl")

    monkeypatch.setattr(progress.json, "dumps", full)
    refused(inkling("train", "tiny.toml"), "No space left on device")


def test_devices_and_dtypes_that_are_not_there(tiny, inkling):
    refused(inkling("train", "tiny.toml", "--device=tpu"), "--device=tpu")
    refused(inkling("train", "tiny.toml", "--dtype=int8"), "--dtype", "float32")
    import torch

    if not torch.cuda.is_available():
        refused(inkling("train", "tiny.toml", "--device=cuda"), "no CUDA GPU", "--device=cpu")


def test_a_run_that_exists(tiny, inkling):
    assert inkling("train", "tiny.toml")[0] == 0
    before = Path("runs/tiny/metrics.jsonl").read_text(encoding="utf-8")
    refused(inkling("train", "tiny.toml"), "exists already", "--resume", "--out_dir")
    assert Path("runs/tiny/metrics.jsonl").read_text(encoding="utf-8") == before


def test_a_run_that_somebody_else_trains(tiny, inkling):
    from inkling.train.runfolder import held

    assert inkling("train", "tiny.toml", "--max_iters=6")[0] == 0
    before = Path("runs/tiny/metrics.jsonl").read_text(encoding="utf-8")
    with held(Path("runs/tiny")):
        refused(inkling("train", "tiny.toml", "--resume"), "Another process is training in runs/tiny", "--out_dir")
        assert Path("runs/tiny/metrics.jsonl").read_text(encoding="utf-8") == before
    assert inkling("train", "tiny.toml", "--resume")[0] == 0, "the lock is free as soon as its holder ends"


def test_resume_of_nothing_and_of_something_else(tiny, inkling):
    refused(inkling("train", "tiny.toml", "--resume"), "no run at runs/tiny")
    refused(inkling("train", "--resume"), "Which run")
    assert inkling("train", "tiny.toml")[0] == 0
    refused(inkling("train", "tiny.toml", "--resume", "--n_layer=3", "--max_iters=20"), "--n_layer cannot change")
    status, out, _ = inkling("train", "tiny.toml", "--resume")
    assert status == 0 and "already done its 12 steps" in out


def test_init_from_nothing(tiny, inkling, no_hub):
    refused(inkling("train", "tiny.toml", "--init_from=nothing"), "no run 'nothing'")
    refused(inkling("train", "tiny.toml", "--init_from=gpt2-xl"), "hf download")
    assert not Path("runs").exists()


def test_vocabulary_mismatch_between_data_and_checkpoint(tiny, inkling):
    assert inkling("train", "tiny.toml")[0] == 0
    assert inkling("prepare", "tiny_char", "--input=text.txt")[0] == 0
    words = ["train", "tiny.toml", "--dataset=tiny_char", "--init_from=tiny", "--out_dir=runs/other"]
    refused(inkling(*words), "different tokenizers", "inkling prepare NAME --input=TEXT --tokenizer=")
    assert inkling("prepare", "tiny", "--input=text.txt", "--tokenizer=char")[0] == 0
    refused(inkling("train", "--out_dir=runs/tiny", "--resume", "--max_iters=20"), "vocab_size=256", "vocabulary of")


def test_damaged_checkpoints(tiny, inkling):
    assert inkling("train", "tiny.toml", "--keep_last=9")[0] == 0
    folder = Path("runs/tiny/checkpoints")
    victim = folder / "step-000012" / "model.safetensors"
    victim.write_bytes(victim.read_bytes()[:-1000])
    status, out, _ = inkling("train", "tiny.toml", "--resume", "--max_iters=13")
    assert status == 0 and "step-000012 is damaged" in out and "resuming runs/tiny at step 10" in out
    for file in folder.glob("step-*/model.safetensors"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    refused(inkling("train", "tiny.toml", "--resume", "--max_iters=14"), "Every checkpoint")
    refused(inkling("sample", "tiny"), "model.safetensors has changed")


def test_sampling_mistakes(tiny, inkling, no_hub):
    assert inkling("prepare", "tiny_char", "--input=text.txt")[0] == 0
    assert inkling("train", "tiny.toml", "--dataset=tiny_char")[0] == 0
    refused(inkling("sample", "nothing"), "no run 'nothing'", "Runs here: tiny.")
    refused(inkling("sample"), "Which model")
    refused(inkling("sample", "tiny", "--start=Ж"), "Ж", "U+0416")
    refused(inkling("sample", "tiny", "--top_k=-1"), "top_k", "0")
    refused(inkling("sample", "tiny", "--temperature=-0.5"), "temperature")
    refused(inkling("sample", "tiny", "--top_p=1.5"), "top_p")
    refused(inkling("sample", "tiny", "--start=FILE:missing.txt"), "missing.txt")
    refused(inkling("sample", "tiny", "--start="), "empty")
    refused(inkling("sample", "tiny", "--num_samples=0"), "num_samples")
    refused(inkling("sample", "tiny", "--max_new_tokens=-1"), "max_new_tokens=-1")
    refused(inkling("sample", "--init_from=gpt2-xl"), "hf download")


def test_sampling_writes(tiny, inkling):
    assert inkling("train", "tiny.toml")[0] == 0
    words = flags({"num_samples": 2, "max_new_tokens": 40, "start": "The ", "top_k": 0})
    status, out, _ = inkling("sample", "tiny", *words)
    assert status == 0 and out.count("The ") >= 2 and out.count("---------------") >= 1
    again = inkling("sample", "runs/tiny", *words)[1]
    assert again == out, "the same seed writes the same"
    assert inkling("sample", "tiny", *words, "--seed=2")[1] != out
    assert inkling("sample", "--out_dir=runs/tiny", *words)[1] == out
    assert inkling("sample", "--init_from=resume", "--out_dir=runs/tiny", *words)[1] == out
    assert inkling("sample", "--init_from=tiny", *words)[1] == out
    snapshot = "runs/tiny/checkpoints/weights-000001"
    assert inkling("sample", snapshot, *words)[0] == 0


def test_paths_with_unicode_and_spaces(tmp_path, monkeypatch, inkling):
    folder = tmp_path / "Übung 日本"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("текст.txt").write_text("Съешь же ещё этих мягких французских булок. " * 200, encoding="utf-8")
    assert inkling("prepare", "mine_char", "--input=текст.txt")[0] == 0
    words = flags({"dataset": "mine_char", "out_dir": "runs/прогон", "n_layer": 1, "n_head": 2, "n_embd": 16})
    words += flags({"block_size": 8, "batch_size": 2, "max_iters": 3, "eval_iters": 1, "device": "cpu", "threads": 1})
    status, _, err = inkling("train", "demo", *words)
    assert status == 0, err
    status, out, err = inkling("sample", "runs/прогон", "--start=Съешь", "--max_new_tokens=20", "--num_samples=1")
    assert status == 0, err
    assert out.startswith("Съешь")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows says in another way that nobody reads")
def test_an_interrupted_reader_is_no_error(tiny, inkling):
    assert inkling("train", "tiny.toml", "--max_iters=1")[0] == 0
    sampling = command("sample", "tiny", "--num_samples=1", "--max_new_tokens=5", "--threads=1")
    process = subprocess.Popen(sampling, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment())
    process.stdout.close()  # as `head` does when it has seen enough
    err = process.stderr.read()
    assert process.wait() == 141
    assert b"Traceback" not in err and b"BrokenPipe" not in err


def test_resolved_settings_know_their_origin(tiny, inkling):
    import tomllib

    assert inkling("train", "tiny.toml", "--learning_rate=0.002")[0] == 0
    values = tomllib.loads(Path("runs/tiny/resolved.toml").read_text(encoding="utf-8"))
    origin = values.pop("origin")
    assert values["learning_rate"] == 0.002 and origin["learning_rate"] == "flag"
    assert origin["n_layer"] == "recipe tiny.toml" and origin["mlp"] == "preset gpt2" and origin["beta1"] == "default"
    assert values["dtype"] == "float32" and values["compile"] is False and values["threads"] == 1
    state = json.loads(next(Path("runs/tiny/checkpoints").glob("step-*/state.json")).read_text(encoding="utf-8"))
    assert state["model"]["n_layer"] == 2
