"""`inkling export`: the folder loads in transformers for every preset, with its chat template, card and dtypes."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import transformers

from inkling import load
from inkling.errors import UserError
from inkling.hub.families import family_for
from inkling.hub.load import find_weights
from inkling.model.config import PRESETS, GPTConfig
from inkling.model.gpt import GPT
from inkling.stages import export
from inkling.text.conversation import CHAT_TEMPLATE, prompt
from inkling.text.tokenizer_sources import byte_tokenizer, char_tokenizer, trained_tokenizer
from inkling.train.checkpoint import save_checkpoint

SHAPE = {"block_size": 24, "n_layer": 2, "n_head": 2, "n_embd": 32}
MESSAGES = [{"role": "user", "content": "Is <|bos|> a mark?"}]


def make_run(name, tokenizer, preset="gpt2", **choices):
    """A run with weights that are nowhere 0 or 1, as a stage saves it; its model."""
    config = GPTConfig(**PRESETS[preset] | SHAPE | {"preset": preset, "vocab_size": tokenizer.vocab_size} | choices)
    model = GPT(config, seed=1).eval()
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    run = Path("runs") / name
    run.mkdir(parents=True)
    tokenizer.save(run / "tokenizer.json")
    state = {"step": 7, "tokens": 448, "seconds": 1.0, "model": asdict(model.config), "val_loss": 2.5}
    save_checkpoint(run, state | {"tokenizer_sha256": "", "scaler": {}}, dict(model.named_parameters()), None, 1)
    return model


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_same(model, folder, tolerance=1e-4):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.randint(model.config.vocab_size, (2, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = theirs(ids).logits
        assert found.shape[-1] == model.config.vocab_size, "rows of padding are left out"
        torch.testing.assert_close(found.float(), model(ids), atol=tolerance, rtol=0)
    return theirs


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_loads_in_transformers(here, inkling, preset):
    tokenizer = trained_tokenizer([], "gpt2")
    model = make_run("mine", tokenizer, preset, pad_vocab_to=64)
    status, out, err = inkling("export", "mine", "--to=hf", "--out=out/model")
    assert status == 0, err
    assert f"as {preset}" in out
    theirs = assert_same(model, "out/model")
    assert type(theirs).__name__.lower().startswith(preset[:4])
    assert theirs.dtype == torch.float32
    again = transformers.AutoTokenizer.from_pretrained("out/model")
    assert again("Größe <|x", add_special_tokens=False)["input_ids"] == tokenizer.encode("Größe <|x")
    assert again.chat_template == CHAT_TEMPLATE
    ids = again.apply_chat_template(MESSAGES, add_generation_prompt=True, return_dict=False)
    assert [i for i in ids if i >= 256] == [i for i in prompt(MESSAGES, tokenizer) if i >= 256]
    ends = theirs.generation_config.eos_token_id
    assert (
        tokenizer.special_tokens["<|assistant_end|>"] in ends and theirs.generation_config.bos_token_id == tokenizer.bos
    )
    back, _ = load("out/model")
    assert back.config.vocab_size == tokenizer.vocab_size
    torch.testing.assert_close(back(torch.tensor([[1, 2, 3]])), model(torch.tensor([[1, 2, 3]])), atol=1e-5, rtol=0)


@pytest.mark.parametrize("choices", [{"bias": False}, {"mlp": "gelu", "tie_weights": False}, {"mlp": "relu2"}])
def test_gpt2_with_nanogpts_choices(here, choices):
    model = make_run("mine", char_tokenizer("abcdefgh \n"), **choices)
    export.main("mine", export.ExportSettings(out="out"))
    assert_same(model, "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained("out")
    assert tokenizer("bad cab\n", add_special_tokens=False)["input_ids"] == [3, 2, 5, 1, 4, 2, 3, 0]


def test_bfloat16_and_the_card(here):
    model = make_run("mine", byte_tokenizer(), "llama")
    (Path("runs/mine") / "evaluations").mkdir()
    report = {"task": "almanac", "mean": 0.5, "kinds": {"capital": {"right": 3, "asked": 4, "share": 0.75}}}
    Path("runs/mine/evaluations/almanac.json").write_text(json.dumps(report), encoding="utf-8")
    export.main("mine", export.ExportSettings(out="out", dtype="bfloat16"))
    assert assert_same(model, "out", tolerance=0.2).dtype == torch.bfloat16
    card = Path("out/README.md").read_text(encoding="utf-8")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    for words in (
        f"{parameters:,}",
        "llama",
        "bfloat16",
        "2.5000 nats",
        "almanac | capital | 75.0% | 4",
        "inkling sample",
    ):
        assert words in card, words


@pytest.mark.parametrize(
    ("preset", "choices", "says"),
    [
        ("nanochat", {"value_embeddings": True}, "value_embeddings=True"),
        ("nanochat", {"residual_scalars": True}, "residual_scalars=True"),
        ("nanochat", {"window": 8}, "window=8"),
        ("llama", {"softcap": 15.0}, "softcap=15.0"),
        ("gpt2", {"n_kv_head": 1}, "n_kv_head=1"),
        ("gpt2", {"position": "rotary", "norm": "rmsnorm"}, "position=rotary"),
    ],
)
def test_switches_without_a_counterpart_are_named(here, inkling, preset, choices, says):
    make_run("mine", byte_tokenizer(), preset, **choices)
    status, _, err = inkling("export", "mine", "--out=out")
    assert status == 1 and says in err and preset in err
    assert not Path("out").exists()


def test_the_family_is_found_by_its_parts():
    config = GPTConfig(**PRESETS["llama"] | SHAPE | {"vocab_size": 64}).filled()
    assert family_for(config) == "llama", "though the preset's name says gpt2"
    assert family_for(replace(config, qk_norm="before")) == "qwen3"
    assert family_for(replace(config, qk_norm="before", window=4)) == "qwen3"


def test_what_export_refuses(here, inkling):
    make_run("mine", byte_tokenizer())
    assert "--out=DIR" in inkling("export", "mine")[2]
    assert "not supported" in inkling("export", "mine", "--to=gguf", "--out=out")[2]
    assert "does not take 'onnx'" in inkling("export", "mine", "--to=onnx", "--out=out")[2]
    Path("out").mkdir()
    Path("out/mine.txt").write_text("x", encoding="utf-8")
    assert "there already" in inkling("export", "mine", "--out=out")[2]
    with pytest.raises(UserError, match="no run 'none'"):
        export.main("none", export.ExportSettings(out="new"))
    assert not Path("new").exists()
    assert find_weights("mine").step == 7
