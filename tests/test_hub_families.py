"""Each family against transformers: random small models, imported, exported and loaded there; with a cache too."""

import json
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from inkling import load
from inkling.errors import UserError
from inkling.hub.export import export_hf
from inkling.hub.load import find_weights
from inkling.infer.cache import KVCache
from inkling.stages import import_
from inkling.text.tokenizer_sources import byte_tokenizer

CONTEXT = 32


@st.composite
def shapes(draw, family):
    """A config of transformers for one family, every switch that its form has drawn."""
    heads, kv_heads = draw(st.sampled_from([(1, 1), (2, 1), (4, 2), (4, 4), (3, 3)]))
    size, layers, vocab = draw(st.sampled_from([4, 8])), draw(st.integers(1, 3)), draw(st.integers(256, 290))
    width, tied = heads * size, draw(st.booleans())
    if family == "gpt2":
        return transformers.GPT2Config(
            n_positions=CONTEXT,
            vocab_size=vocab,
            n_layer=layers,
            n_head=heads,
            n_embd=width,
            n_inner=draw(st.sampled_from([None, 24])),
            activation_function=draw(st.sampled_from(["gelu_new", "gelu", "relu2"])),
            layer_norm_epsilon=draw(st.sampled_from([1e-5, 1e-3])),
            tie_word_embeddings=tied,
            bos_token_id=None,
            eos_token_id=None,
        )
    rope = {"rope_type": "default", "rope_theta": draw(st.sampled_from([1e4, 5e5]))}
    if family == "llama" and draw(st.booleans()):
        rope |= {"rope_type": "llama3", "factor": draw(st.sampled_from([8.0, 32.0]))}
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    shape = {
        "vocab_size": vocab,
        "hidden_size": width,
        "intermediate_size": draw(st.sampled_from([16, 40])),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": draw(st.sampled_from([1e-6, 1e-3])),
        "rope_parameters": rope,
        "tie_word_embeddings": tied,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    if family == "llama":
        return transformers.LlamaConfig(**shape, head_dim=draw(st.sampled_from([size, 6])))
    if family == "qwen3":
        slides = draw(st.lists(st.booleans(), min_size=layers, max_size=layers))
        kinds = ["sliding_attention" if slide else "full_attention" for slide in slides]
        window = {"use_sliding_window": True, "sliding_window": 5, "layer_types": kinds} if any(slides) else {}
        return transformers.Qwen3Config(**shape, **window, head_dim=draw(st.sampled_from([size, 6])))
    return transformers.NanoChatConfig(**shape, final_logit_softcapping=draw(st.sampled_from([15.0, 3.0])))


def random_model(config, seed=1):
    """Random weights, biases and norms among them, which start as 0 and 1 and would hide an error."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def save(model, folder, **options):
    """A folder as transformers writes it, with the tokenizer of bytes."""
    model.save_pretrained(folder, **options)
    byte_tokenizer().save(Path(folder) / "tokenizer.json")


def their_logits(model, ids):
    with torch.no_grad():
        return model(ids, use_cache=False).logits[..., :256].float()


def cached(model, ids, cuts=(1, 2, 9)):
    """The logits of all positions, read through a cache in pieces that end at `cuts`."""
    cache = KVCache(model.config, len(ids), "cpu", model.compute_dtype)
    bounds = [0, *cuts, ids.size(1)]
    with torch.no_grad():
        return torch.cat([model.head(model.hidden(ids[:, a:b], cache)) for a, b in pairwise(bounds)], dim=1)


def assert_equal_everywhere(config):
    reference = random_model(config)
    ids = torch.randint(256, (2, 24), generator=torch.Generator().manual_seed(2))
    expected = their_logits(reference, ids)
    assert expected.std() > 0.01, "a model that says nothing would be equal to any other"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(reference, folder / "theirs")
        run = import_.main(str(folder / "theirs"), import_.ImportSettings(out_dir=str(folder / "run")))
        for where in (folder / "theirs", run):
            model, _ = load(where)
            with torch.no_grad():
                torch.testing.assert_close(model(ids), expected, atol=1e-4, rtol=0)
            torch.testing.assert_close(cached(model, ids), expected, atol=1e-4, rtol=0)
        assert export_hf(find_weights(run), folder / "back") in (config.model_type, "llama")
        again = transformers.AutoModelForCausalLM.from_pretrained(folder / "back")
        torch.testing.assert_close(their_logits(again, ids), expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(load(folder / "back")[0](ids).detach(), expected, atol=1e-4, rtol=0)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "back")
        assert tokenizer("Größe\n", add_special_tokens=False)["input_ids"] == list("Größe\n".encode())


FAMILIES = ["gpt2", "llama", "qwen3", "nanochat"]


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_transformers_after_import_and_after_export(family):
    @settings(max_examples=5, derandomize=True)
    @given(shapes(family))
    def check(config):
        assert_equal_everywhere(config)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_transformers_for_many_shapes(family):
    @settings(max_examples=60)
    @given(shapes(family))
    def check(config):
        assert_equal_everywhere(config)

    check()


def small(family, **more):
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    kind = {
        "llama": transformers.LlamaConfig,
        "qwen3": transformers.Qwen3Config,
        "nanochat": transformers.NanoChatConfig,
    }
    plain = {"num_key_value_heads": 2, "vocab_size": 300, "max_position_embeddings": CONTEXT}
    return kind[family](**shape | plain | {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None} | more)


def test_the_sources_dtype_and_its_padding_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reference = random_model(small("llama")).to(torch.bfloat16)
    save(reference, "theirs")
    run = import_.main("theirs", import_.ImportSettings())
    assert run == Path("runs/theirs")
    weights = find_weights(run)
    assert {tensor.dtype for _, tensor in weights.tensors()} == {torch.bfloat16}
    shapes_there = {name: tuple(tensor.shape) for name, tensor in weights.tensors()}
    assert shapes_there["transformer.wte.weight"] == (300, 16), "rows beyond the tokenizer are kept"
    assert weights.config.vocab_size == 256, "and no such id is ever drawn"
    ids = torch.randint(256, (1, 12))
    mine = load(run, dtype="bfloat16")[0](ids).detach().float()
    torch.testing.assert_close(mine, their_logits(reference, ids), atol=0.05, rtol=0)
    import_.main("theirs", import_.ImportSettings(out_dir="runs/wide", dtype="float32"))
    assert {tensor.dtype for _, tensor in find_weights("runs/wide").tensors()} == {torch.float32}


def test_weights_in_several_files_both_ways(tmp_path):
    reference = random_model(small("qwen3", head_dim=8))
    save(reference, tmp_path / "theirs", max_shard_size="10KB")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1
    ids = torch.randint(256, (1, 12))
    expected = their_logits(reference, ids)
    torch.testing.assert_close(load(tmp_path / "theirs")[0](ids).detach(), expected, atol=1e-4, rtol=0)
    export_hf(find_weights(tmp_path / "theirs"), tmp_path / "back", shard_bytes=9000)
    assert len(list((tmp_path / "back").glob("model-*-of-*.safetensors"))) > 2
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back")
    torch.testing.assert_close(their_logits(again, ids), expected, atol=1e-4, rtol=0)
    index = tmp_path / "back" / "model.safetensors.index.json"
    described = json.loads(index.read_text(encoding="utf-8"))
    described["weight_map"]["model.norm.weight"] = "../theirs/model.safetensors"
    index.write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(UserError, match="not a file beside it"):
        load(tmp_path / "back")


def change(folder, **values):
    file = folder / "config.json"
    described = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(described | values), encoding="utf-8")


@pytest.mark.parametrize(
    ("family", "values", "says"),
    [
        ("llama", {"model_type": "mamba"}, "mamba"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "rope_type=yarn"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
        ("llama", {"attention_bias": True}, "attention_bias=True"),
        ("llama", {"mlp_bias": True}, "mlp_bias=True"),
        ("qwen3", {"hidden_act": "gelu"}, "hidden_act=gelu"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantized"),
        ("nanochat", {"hidden_size": "wide"}, "wrong kind"),
        ("nanochat", {"num_hidden_layers": 3}, "missing"),
        ("nanochat", {"num_hidden_layers": 1}, "one too many"),
        ("llama", {"intermediate_size": 25}, "has shape"),
    ],
)
def test_what_cannot_be_imported_is_named(tmp_path, family, values, says):
    save(random_model(small(family)), tmp_path)
    change(tmp_path, **values)
    with pytest.raises(UserError, match=says):
        load(tmp_path)


def test_a_config_that_lacks_a_key_and_weights_that_are_no_numbers(tmp_path):
    save(random_model(small("llama")), tmp_path)
    described = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    del described["hidden_size"]
    (tmp_path / "config.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(UserError, match=r"lacks 'hidden_size'"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(UserError, match="not an object"):
        load(tmp_path)
