"""LoRA: what learns and what stays, the loss falls, and merging changes no logit."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from conftest import flags
from inkling import load
from inkling.errors import UserError
from inkling.hub.export import export_hf
from inkling.hub.load import find_checkpoint, find_weights
from inkling.model.config import PRESETS, GPTConfig
from inkling.model.gpt import GPT
from inkling.model.lora import LoRASettings, add_lora, check_lora, describe_lora, lora_scale, merge, narrow_frozen
from inkling.train.checkpoint import load_latest

IDS = torch.randint(64, (2, 12), generator=torch.Generator().manual_seed(1))
SHAPE = {"block_size": 16, "vocab_size": 64, "n_layer": 2, "n_head": 2, "n_embd": 32}


def corrected(preset="gpt2", **settings):
    """A small model with corrections."""
    model = GPT(GPTConfig(**PRESETS[preset] | SHAPE), seed=1)
    add_lora(model, LoRASettings(**{"lora_rank": 4} | settings), seed=5)
    return model


@pytest.mark.parametrize("preset", ["gpt2", "llama"])
def test_training_begins_with_the_model_itself_and_changes_only_the_corrections(preset):
    plain, model = GPT(GPTConfig(**PRESETS[preset] | SHAPE), seed=1), corrected(preset)
    torch.testing.assert_close(model(IDS), plain(IDS), atol=0, rtol=0)
    nats, count = model(IDS[:, :-1].contiguous(), IDS[:, 1:].contiguous())
    (nats / count).backward()
    learning = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learning and all(".lora_" in name for name in learning)
    per_block = 4 if preset == "gpt2" else 5
    assert len(learning) == 2 * per_block * 2
    assert f"in {2 * per_block} corrections" in describe_lora(model)
    assert len({name for name, _ in corrected(preset, lora_targets="attention").named_parameters()}) < len(
        dict(model.named_parameters())
    )


def test_merged_and_unmerged_logits_agree():
    model = corrected("llama", lora_alpha=3.0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_b" in name:
                parameter.normal_(0, 0.3)
    plain = GPT(model.config)
    tensors = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            base = name.removesuffix(".weight")
            pair = (tensors.get(base + ".lora_a"), tensors.get(base + ".lora_b"))
            weight = tensors[name]
            parameter.copy_(weight if pair[0] is None else merge(weight, *pair, lora_scale(model)))
    assert (plain(IDS) - GPT(model.config, seed=1)(IDS)).abs().max() > 0.01, "the corrections say something"
    torch.testing.assert_close(plain(IDS), model(IDS), atol=1e-5, rtol=0)


def test_what_is_frozen_takes_the_forward_pass_dtype():
    model = corrected()
    model.compute_dtype = torch.bfloat16
    before = model(IDS)
    narrow_frozen(model, torch.bfloat16)
    torch.testing.assert_close(model(IDS), before, atol=0, rtol=0)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.float32 if ".lora_" in name else torch.bfloat16)


def last_loss(run):
    """The validation loss at a run's end."""
    return json.loads(Path(f"runs/{run}/metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])["val_loss"]


def test_finetuning_lowers_the_loss_and_the_run_is_an_ordinary_one(tiny, inkling):
    # A base that knows the letters' frequencies, brought here as anybody's model is.
    base = {"dropout": 0.0, "learning_rate": 0.01, "max_iters": 60, "warmup_iters": 0, "eval_interval": 60}
    assert inkling("train", "tiny.toml", "--out_dir=runs/first", *flags(base))[0] == 0
    export_hf(find_weights("first"), Path("theirs"))
    assert inkling("import", "theirs", "--out_dir=runs/base")[0] == 0
    lora = base | {"init_from": "base", "out_dir": "runs/low", "lora_rank": 8, "learning_rate": 0.01, "max_iters": 150}
    status, out, err = inkling("train", "tiny.toml", *flags(lora | {"eval_interval": 150}))
    assert status == 0, err
    assert "corrections learn" in out
    assert last_loss("low") < last_loss("first") - 0.1

    stored = find_checkpoint("low").model_tensors()
    plain, _ = load("low")
    assert any(".lora_a" in name for name in stored)
    assert not any(".lora_" in name for name, _ in plain.named_parameters())
    ids = torch.randint(256, (1, 12))
    live = GPT(plain.config)
    add_lora(live, LoRASettings(lora_rank=8), seed=0)
    for name, parameter in live.named_parameters():
        parameter.data = stored[name]
    torch.testing.assert_close(plain(ids), live.eval()(ids), atol=1e-5, rtol=0)
    assert inkling("sample", "low", "--num_samples=1", "--max_new_tokens=4", "--start=The")[0] == 0
    assert export_hf(find_weights("low"), Path("published")) == "gpt2"
    torch.testing.assert_close(load("published")[0](ids), plain(ids), atol=1e-5, rtol=0)


def test_resuming_a_lora_run_is_exact(tiny, inkling):
    assert inkling("train", "tiny.toml")[0] == 0
    lora = {"init_from": "runs/tiny", "lora_rank": 2, "learning_rate": 0.01, "max_iters": 10, "eval_interval": 5}
    assert inkling("train", "tiny.toml", *flags(lora | {"out_dir": "runs/whole"}))[0] == 0
    cut = lora | {"out_dir": "runs/cut", "lr_decay_iters": 10}
    assert inkling("train", "tiny.toml", *flags(cut | {"max_iters": 5}))[0] == 0
    assert inkling("train", "--out_dir=runs/cut", "--resume", "--max_iters=10")[0] == 0
    one, two = (load_latest(Path("runs") / name).model_tensors() for name in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    status, _, err = inkling("train", "--out_dir=runs/cut", "--resume", "--lora_rank=3")
    assert status == 2 and "lora_rank cannot change" in err


def test_what_lora_refuses(tiny, inkling):
    status, _, err = inkling("train", "tiny.toml", "--lora_rank=4")
    assert status == 2 and "--init_from" in err and not Path("runs").exists()
    for wrong in (LoRASettings(lora_rank=-1), LoRASettings(lora_rank=2, lora_alpha=0.0)):
        with pytest.raises(UserError):
            check_lora(wrong, "runs/tiny")


def test_a_correction_by_hand():
    model = corrected(lora_alpha=8.0)
    part = model.blocks[0].mlp.c_fc
    with torch.no_grad():
        part.lora_b.normal_()
    x = torch.randn(3, 32)
    expected = F.linear(x, part.weight, part.bias) + 2.0 * (x @ part.lora_a.T) @ part.lora_b.T
    torch.testing.assert_close(part(x), expected)
