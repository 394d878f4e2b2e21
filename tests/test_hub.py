"""GPT-2's published form: the same logits as transformers, finetuning, sampling, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from conftest import flags
from inkling import load
from inkling.errors import UserError
from inkling.hub.weights import same_ids
from inkling.stages import prepare
from inkling.text.tokenizer import BPETokenizer
from inkling.text.tokenizer_sources import tokenizer_from_name
from inkling.train.checkpoint import read_index

IDS = [[5, 1, 240, 7, 7, 98, 31, 2]]


@pytest.fixture
def published(tiny):
    """A folder as transformers writes it, of a tiny GPT-2 with random weights and the byte vocabulary; its model."""
    import transformers

    config = transformers.GPT2Config(n_positions=24, vocab_size=256, n_layer=3, n_head=2, n_embd=32)
    torch.manual_seed(1)
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too, which start as 0 and 1
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained("small-gpt2")
    shutil.copy("data/tiny/tokenizer.json", "small-gpt2/tokenizer.json")
    return model


def logits_of(model, ids=IDS):
    with torch.no_grad():
        found = model(torch.tensor(ids))
    return getattr(found, "logits", found)


def test_logits_equal_transformers(published):
    model, _ = load("small-gpt2")
    torch.testing.assert_close(logits_of(model), logits_of(published), atol=1e-4, rtol=0)


def test_weights_in_several_files(published):
    published.save_pretrained("sharded", max_shard_size="40KB")
    assert len(list(Path("sharded").glob("*.safetensors"))) > 1
    shutil.copy("data/tiny/tokenizer.json", "sharded")
    torch.testing.assert_close(logits_of(load("sharded")[0]), logits_of(published), atol=1e-4, rtol=0)


def test_finetuning_sampling_and_evaluating_a_folder(published, inkling):
    extra = flags({"init_from": "small-gpt2", "dropout": 0.0, "learning_rate": 1e-9, "warmup_iters": 0})
    status, out, err = inkling("train", "tiny.toml", "--out_dir=runs/tuned", *extra)
    assert status == 0, err
    tuned, _ = load("runs/tuned")
    assert tuned.config.n_layer == 3 and tuned.config.block_size == 16, "their shape, our shorter context"
    torch.testing.assert_close(logits_of(tuned), logits_of(published), atol=1e-4, rtol=0)
    parent = json.loads(Path("runs/tuned/parent").read_text(encoding="utf-8"))
    assert parent["run"] == "small-gpt2" and len(parent["sha256"]) == 64
    assert read_index(Path("runs/tuned"))["last"] == 12

    status, out, _ = inkling("sample", "small-gpt2", "--start=The", "--num_samples=1", "--max_new_tokens=8")
    assert status == 0 and out.startswith("The")
    assert inkling("sample", "--init_from=small-gpt2", "--start=The", "--num_samples=1", "--max_new_tokens=8")[1] == out
    status, out, _ = inkling("train", "tiny.toml", "--init_from=small-gpt2", "--eval_only", "--out_dir=runs/none")
    assert status == 0 and "val loss" in out and not Path("runs/none").exists()


def test_a_context_longer_than_theirs_is_refused(published, inkling):
    status, _, err = inkling("train", "tiny.toml", "--init_from=small-gpt2", "--block_size=64")
    assert status == 1 and "context of 24" in err


def test_another_vocabulary_is_refused(published, inkling):
    prepare.main("other_char", prepare.PrepareSettings(input="text.txt", tokenizer="char"))
    status, _, err = inkling("train", "tiny.toml", "--init_from=small-gpt2", "--dataset=other_char")
    assert status == 1 and "different tokenizers" in err and "--tokenizer=small-gpt2" in err


def test_a_tokenizer_laid_out_otherwise_is_the_same(tmp_path):
    ours = tokenizer_from_name("byte")
    described = json.loads(ours.to_json())
    described["model"]["vocab"] = dict(reversed(described["model"]["vocab"].items()))
    described["pre_tokenizer"]["trim_offsets"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    assert same_ids(ours, BPETokenizer((tmp_path / "tokenizer.json").read_text(encoding="utf-8")))
    assert not same_ids(ours, tokenizer_from_name("char", "abc"))


def change(key: str, value) -> None:
    file = Path("small-gpt2/config.json")
    described = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(described | {key: value}), encoding="utf-8")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("model_type", "mamba", "mamba"),
        ("activation_function", "relu", "activation_function=relu"),
        ("scale_attn_by_inverse_layer_idx", True, "scale_attn_by_inverse_layer_idx"),
        ("tie_word_embeddings", False, "lm_head.weight is missing"),
    ],
)
def test_switches_that_inkling_lacks_are_named(published, key, value, says):
    change(key, value)
    with pytest.raises(UserError, match=says):
        load("small-gpt2")


def test_folders_that_are_not_whole(published, inkling):
    file = Path("small-gpt2/model.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    status, _, err = inkling("sample", "small-gpt2")
    assert status == 1 and "Cannot read the weights" in err
    change("n_layer", 4)
    file.write_bytes(whole)
    status, _, err = inkling("sample", "small-gpt2")
    assert status == 1 and "does not hold this model's parameters" in err
    file.unlink()
    Path("small-gpt2/pytorch_model.bin").write_bytes(b"")
    status, _, err = inkling("sample", "small-gpt2")
    assert status == 1 and "no model.safetensors" in err
    Path("small-gpt2/config.json").write_text("{", encoding="utf-8")
    status, _, err = inkling("sample", "small-gpt2")
    assert status == 1 and "config.json" in err
