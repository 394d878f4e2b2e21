"""`inkling import`: the run that it makes, names on the hub, nanoGPT's checkpoints, and files that are traps."""

import json
import pickle
import shutil
import types
from pathlib import Path

import pytest
import torch

from conftest import flags
from inkling import load
from inkling.errors import UserError
from inkling.hub import fetch
from inkling.hub.load import find_weights
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT
from inkling.stages import import_

IDS = torch.tensor([[5, 1, 240, 7, 7, 98, 31, 2]])
SHAPE = {"block_size": 24, "vocab_size": 256, "n_layer": 2, "n_head": 2, "n_embd": 32}


@pytest.fixture
def published(tiny):
    """A tiny GPT-2 with random weights and the byte vocabulary, as transformers writes it."""
    import transformers

    torch.manual_seed(1)
    config = transformers.GPT2Config(n_positions=24, vocab_size=256, n_layer=2, n_head=2, n_embd=32)
    model = transformers.GPT2LMHeadModel(config).eval()
    model.save_pretrained("small-gpt2")
    shutil.copy("data/tiny/tokenizer.json", "small-gpt2/tokenizer.json")
    return model


def test_import_makes_a_run_at_step_0(published, inkling):
    status, out, err = inkling("import", "small-gpt2", "--out_dir=runs/mine")
    assert status == 0, err
    assert "float32" in out and "next: inkling sample runs/mine" in out
    run = Path("runs/mine")
    for name in ("config.toml", "resolved.toml", "environment.json", "parent", "tokenizer.json"):
        assert (run / name).is_file(), name
    assert json.loads((run / "parent").read_text(encoding="utf-8"))["run"] == "small-gpt2"
    assert not (run / "checkpoints/step-000000/optimizer.safetensors").exists()
    with torch.no_grad():
        torch.testing.assert_close(load("mine")[0](IDS), published(IDS).logits, atol=1e-4, rtol=0)
    refused = inkling("import", "small-gpt2", "--out_dir=runs/mine")
    assert refused[0] == 1 and "exists already" in refused[2]


def test_every_verb_takes_an_import_and_finetuning_begins_from_it(published, inkling):
    import_.main("small-gpt2", import_.ImportSettings(out_dir="runs/mine"))
    words = ("--start=The", "--num_samples=1", "--max_new_tokens=8", "--temperature=0")
    assert inkling("sample", "mine", *words)[1] == inkling("sample", "small-gpt2", *words)[1]
    extra = flags({"init_from": "mine", "out_dir": "runs/tuned", "learning_rate": 1e-3, "warmup_iters": 0})
    status, _, err = inkling("train", "tiny.toml", *extra)
    assert status == 0, err
    status, _, err = inkling("train", "--out_dir=runs/mine", "--resume")
    assert status == 1 and "--init_from=runs/mine" in err


def test_what_import_refuses(tiny, inkling):
    assert "one SOURCE" in inkling("import")[2]
    status, _, err = inkling("import", "nowhere")
    assert status == 1 and "no run 'nowhere'" in err
    assert not Path("runs").exists()


# --- the hub ---------------------------------------------------------------------------------------------


def test_names_on_the_hub(published, inkling, monkeypatch):
    asked = []

    def snapshot_download(repo, **options):
        asked.append((repo, options["allow_patterns"]))
        return "small-gpt2"

    monkeypatch.setattr(fetch, "import_extra", lambda name: types.SimpleNamespace(snapshot_download=snapshot_download))
    with torch.no_grad():
        torch.testing.assert_close(load("gpt2")[0](IDS), published(IDS).logits, atol=1e-4, rtol=0)
    assert load("somebody/a-model.v2")[0].config.n_layer == 2
    assert [repo for repo, _ in asked] == ["openai-community/gpt2", "somebody/a-model.v2"]
    assert not any(pattern.endswith((".bin", ".pt", ".py", "*")) for _, patterns in asked for pattern in patterns)
    assert inkling("import", "somebody/a-model.v2")[0] == 0 and Path("runs/a-model.v2/resolved.toml").is_file()
    asked.clear()
    for here in ("small-gpt2", "runs/nothing", "data/nothing", "small-gpt2/nothing", "a/b/c", "nothing"):
        assert not fetch.is_hub_name(here)
    assert not asked


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("GatedRepoError", "hf auth login"),
        ("RepositoryNotFoundError", "no public model"),
        ("LocalEntryNotFoundError", "hf download somebody/model --local-dir"),
        ("ConnectError", "Without one"),
    ],
)
def test_the_hub_out_of_reach(tiny, inkling, monkeypatch, kind, says):
    def snapshot_download(repo, **options):
        raise type(kind, (Exception,), {})("no")

    monkeypatch.setattr(fetch, "import_extra", lambda name: types.SimpleNamespace(snapshot_download=snapshot_download))
    status, _, err = inkling("import", "somebody/model")
    assert status == 1 and says in err


# --- nanoGPT ---------------------------------------------------------------------------------------------


def write_nanogpt(file, model, prefix="_orig_mod.", **more):
    """A ckpt.pt as nanoGPT's train.py writes it, compiled or not."""
    config = model.config
    keys = ("n_layer", "n_head", "n_embd", "block_size", "bias", "vocab_size", "dropout")
    state = {prefix + name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    state[prefix + "lm_head.weight"] = state[prefix + "transformer.wte.weight"]
    state[prefix + "transformer.h.0.attn.bias"] = torch.ones(1, 1, 24, 24).tril()
    checkpoint = {
        "model": state,
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
        "model_args": {key: getattr(config, key) for key in keys},
        "iter_num": 500,
        "best_val_loss": torch.tensor(1.47),
        "config": {"dataset": "shakespeare_char", "learning_rate": 1e-3},
    }
    Path(file).parent.mkdir(exist_ok=True)
    torch.save(checkpoint | more, file)


@pytest.mark.parametrize(("prefix", "bias"), [("_orig_mod.", False), ("", True)])
def test_a_checkpoint_of_nanogpt_gives_its_logits(tiny, inkling, prefix, bias):
    model = GPT(GPTConfig(**SHAPE, bias=bias, dropout=0.2), seed=3).eval()
    write_nanogpt("out/ckpt.pt", model, prefix)
    with pytest.raises(UserError, match="Which tokenizer") as error:
        find_weights("out").tokenizer()
    assert "tokenizer.json" in error.value.remedy
    status, _, err = inkling("import", "out/ckpt.pt", "--tokenizer=byte", "--out_dir=runs/old")
    assert status == 0, err
    shutil.copy("data/tiny/tokenizer.json", "out")
    for where in ("out", "out/ckpt.pt", "old"):
        torch.testing.assert_close(load(where)[0](IDS), model(IDS), atol=1e-6, rtol=0)
    assert inkling("import", "out")[0] == 0 and Path("runs/out").is_dir()


def test_nanogpts_rounded_vocabulary_is_gpt2s(tmp_path):
    model = GPT(GPTConfig(**SHAPE | {"vocab_size": 50304, "n_embd": 4}), seed=3)
    write_nanogpt(tmp_path / "ckpt.pt", model)
    config = find_weights(tmp_path).config
    assert (config.vocab_size, config.padded_vocab_size) == (50257, 50304)


class Trap:
    """An object whose unpickling touches a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (Path(self.file),)


def test_a_malicious_checkpoint_is_refused_and_does_not_run(tmp_path):
    model = GPT(GPTConfig(**SHAPE), seed=3)
    write_nanogpt(tmp_path / "ckpt.pt", model, config=Trap(tmp_path / "touched"))
    with pytest.raises(UserError, match="it asks for getattr") as error:
        load(tmp_path)
    assert "can run a program" in error.value.remedy
    (tmp_path / "ckpt.pt").write_bytes(pickle.dumps(Trap(tmp_path / "touched")))
    with pytest.raises(UserError, match="was not read"):
        load(tmp_path)
    assert not (tmp_path / "touched").exists()
    (tmp_path / "ckpt.pt").write_bytes(b"")
    with pytest.raises(UserError, match="was not read"):
        load(tmp_path)
    torch.save({"weights": torch.zeros(2)}, tmp_path / "ckpt.pt")
    with pytest.raises(UserError, match="not a checkpoint of nanoGPT"):
        load(tmp_path)
