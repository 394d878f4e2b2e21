"""The recipes that begin from GPT-2, end to end on a folder of its shape: evaluation, finetuning, LoRA."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import flags

CPU = {"init_from": "small-gpt2", "dataset": "tiny", "block_size": 16, "device": "cpu", "dtype": "float32"}
CPU |= {"compile": False, "threads": 1, "eval_iters": 2, "eval_tokens": 200, "batch_size": 2}


@pytest.fixture
def published(tiny):
    """A folder as GPT-2 is published, small and with random weights; the model by transformers."""
    import transformers

    torch.manual_seed(1)
    config = transformers.GPT2Config(n_positions=24, vocab_size=256, n_layer=2, n_head=2, n_embd=32)
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained("small-gpt2")
    shutil.copy("data/tiny/tokenizer.json", "small-gpt2/tokenizer.json")
    return model


def loss_by_transformers(model, context, tokens):
    """Nats per token over windows that do not overlap, the last one short."""
    text = torch.from_numpy(np.fromfile("data/tiny/val.bin", dtype="<u2")[:tokens].astype(np.int64))
    nats = 0.0
    for start in range(0, len(text) - 1, context):
        piece = text[start : start + context + 1]
        with torch.no_grad():
            logits = model(piece[None, :-1]).logits[0]
        nats += torch.nn.functional.cross_entropy(logits, piece[1:], reduction="sum").item()
    return nats / (len(text) - 1)


@pytest.mark.parametrize("recipe", ["eval_gpt2", "eval_gpt2_xl"])
def test_eval_gpt2_measures_what_transformers_does(published, inkling, recipe):
    status, out, err = inkling("train", recipe, *flags(CPU))
    assert status == 0, err
    found = re.search(r"val loss (\d+\.\d+)", out)
    assert found and math.isclose(float(found[1]), loss_by_transformers(published, 16, 200), abs_tol=2e-4)
    assert not Path("runs").exists(), "nothing is trained and nothing is written"


@pytest.mark.parametrize("recipe", ["finetune_shakespeare", "finetune_shakespeare_lora"])
def test_finetuning_recipes_lower_the_loss(published, inkling, recipe):
    more = {"learning_rate": 5e-3, "gradient_accumulation_steps": 2, "max_iters": 20, "out_dir": "runs/tuned"}
    status, out, err = inkling("train", recipe, *flags(CPU | more))
    assert status == 0, err
    assert ("corrections learn" in out) == recipe.endswith("lora")
    rows = [json.loads(line) for line in Path("runs/tuned/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[-1]["val_loss"] < loss_by_transformers(published, 16, 200) - 0.1
    status, out, _ = inkling("sample", "tuned", "--start=The", "--num_samples=1", "--max_new_tokens=4")
    assert status == 0 and out.startswith("The")
