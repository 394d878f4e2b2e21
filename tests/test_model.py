"""The model against the reference implementations, against its own readable twins, and against its cost."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from inkling.errors import UserError
from inkling.ids import IGNORE
from inkling.infer.cache import KVCache
from inkling.model.config import PRESETS, GPTConfig
from inkling.model.cost import flops_per_token, model_flops_utilization, parameters_by_part, training_bytes
from inkling.model.gpt import GPT, fit_context
from inkling.model.layers import attend_by_hand, attend_sdpa, visible

TINY = GPTConfig(block_size=32, vocab_size=61, n_layer=3, n_head=4, n_embd=32)


def tiny(**choices):
    return replace(TINY, **choices)


def of_preset(name, **choices):
    return replace(TINY, **{"preset": name, **PRESETS[name], **choices})


def random_ids(config, rows, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (rows, length), generator=generator)


def cached_logits(model, ids, cuts):
    """The logits of all positions, read through a cache in pieces that end at `cuts`."""
    cache = KVCache(model.config, len(ids), "cpu", model.compute_dtype)
    bounds = [0, *cuts, ids.size(1)]
    pieces = [ids[:, a:b] for a, b in pairwise(bounds)]
    return torch.cat([model.head(model.hidden(piece, cache)) for piece in pieces], dim=1)


# --- against transformers --------------------------------------------------------------------------------


def perturb(reference):
    """Move biases and norms away from 0 and 1, where an error in them would not show."""
    generator = torch.Generator().manual_seed(1)
    for parameter in reference.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return reference.eval()


def load_from(model, tensors):
    """Copy `tensors` into our parameters; both sides must have the same names."""
    ours = dict(model.named_parameters())
    assert ours.keys() == tensors.keys()
    for name, parameter in ours.items():
        assert parameter.shape == tensors[name].shape, name
        parameter.data.copy_(tensors[name])
    return model.eval()


def from_gpt2(reference):
    """transformers' GPT-2 keeps the weights of its linear maps transposed."""
    transposed = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    return {
        name: parameter.T if name.endswith(transposed) else parameter
        for name, parameter in reference.named_parameters()
    }


def from_llama_family(reference):
    """Llama, Qwen3 and nanochat: queries, keys and values are three matrices, and other names are used."""
    theirs = dict(reference.named_parameters())
    names = {
        "model.embed_tokens.weight": "transformer.wte.weight",
        "model.norm.weight": "transformer.ln_f.weight",
        "lm_head.weight": "lm_head.weight",
    }
    ours = {names[name]: theirs.pop(name) for name in names if name in theirs}
    parts = {
        "input_layernorm": "ln_1",
        "post_attention_layernorm": "ln_2",
        "self_attn.q_norm": "attn.q_norm",
        "self_attn.k_norm": "attn.k_norm",
        "self_attn.o_proj": "attn.c_proj",
        "mlp.gate_proj": "mlp.c_gate",
        "mlp.up_proj": "mlp.c_fc",
        "mlp.down_proj": "mlp.c_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    for layer in range(reference.config.num_hidden_layers):
        here, there = f"model.layers.{layer}", f"transformer.h.{layer}"
        qkv = [theirs.pop(f"{here}.self_attn.{x}_proj.weight") for x in "qkv"]
        ours[f"{there}.attn.c_attn.weight"] = torch.cat(qkv)
        for part, name in parts.items():
            if f"{here}.{part}.weight" in theirs:
                ours[f"{there}.{name}.weight"] = theirs.pop(f"{here}.{part}.weight")
    assert not theirs
    return ours


def assert_same_as_reference(model, reference, ids, cuts=(1, 2, 9)):
    with torch.no_grad():
        expected = reference(ids, labels=ids, use_cache=False)
        torch.testing.assert_close(model(ids), expected.logits, atol=1e-4, rtol=0)
        nats, count = model(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
        assert abs(nats / count - expected.loss) < 1e-4
        torch.testing.assert_close(cached_logits(model, ids, cuts), expected.logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", ["tiny", pytest.param("124M", marks=pytest.mark.slow)])
def test_equals_gpt2_of_transformers(size):
    shape = {"block_size": 1024, "vocab_size": 50257, "n_layer": 12, "n_head": 12, "n_embd": 768}
    config = of_preset("gpt2", **(shape if size == "124M" else {}))
    reference = perturb(
        transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=config.vocab_size,
                n_positions=config.block_size,
                n_embd=config.n_embd,
                n_layer=config.n_layer,
                n_head=config.n_head,
            )
        )
    )
    model = load_from(GPT(config), from_gpt2(reference))
    assert_same_as_reference(model, reference, random_ids(config, 2, 24))


LLAMA_SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "attn_implementation": "sdpa",
}


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("preset", ["llama", "qwen3", "nanochat"])
def test_equals_the_llama_family_of_transformers(preset, kv_heads):
    config = of_preset(preset, mlp_hidden=48, n_kv_head=kv_heads, head_size=16 if preset == "qwen3" else None)
    shape = LLAMA_SHAPE | {
        "num_key_value_heads": kv_heads,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tie_weights,
    }
    if preset == "llama":
        reference = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape))
    elif preset == "qwen3":
        reference = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**shape, head_dim=16))
    else:
        reference = transformers.NanoChatForCausalLM(transformers.NanoChatConfig(**shape))
    model = load_from(GPT(config), from_llama_family(perturb(reference)))
    assert_same_as_reference(model, reference, random_ids(config, 2, 24))


# --- the readable attention ------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    heads=st.sampled_from([(4, 4), (4, 2), (4, 1), (6, 3)]),
    length=st.integers(1, 12),
    behind=st.integers(0, 9),
    window=st.integers(0, 6),
    seed=st.integers(0, 9),
)
def test_attention_by_hand_equals_sdpa(heads, length, behind, window, seed):
    torch.manual_seed(seed)
    q = torch.randn(2, heads[0], length, 8)
    k, v = torch.randn(2, 2, heads[1], length + behind, 8)
    position = torch.arange(length + behind)
    mask = visible(position[behind:], position, window)
    expected = attend_by_hand(q, k, v, mask, 0.0)
    torch.testing.assert_close(attend_sdpa(q, k, v, mask, 0.0), expected, atol=1e-5, rtol=1e-5)
    if not window:
        torch.testing.assert_close(attend_by_hand(q, k, v, None, 0.0), expected)
    if not window and (length == 1 or not behind):  # where a cache gives no mask
        torch.testing.assert_close(attend_sdpa(q, k, v, None, 0.0), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [0, 5])
def test_model_by_hand_equals_model_on_sdpa(window):
    choices = {"n_kv_head": 2, "window": window, "window_pattern": "SL"}
    fast, slow = (GPT(of_preset("qwen3", attention=a, **choices), seed=1) for a in ("sdpa", "by_hand"))
    ids = random_ids(TINY, 2, 20)
    torch.testing.assert_close(fast(ids), slow(ids), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cached_logits(slow, ids, [3, 4, 5, 11]), fast(ids), atol=1e-5, rtol=1e-5)


def test_a_window_sees_exactly_its_tokens():
    seen = visible(torch.arange(5), torch.arange(5), 2)
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1],
    ]
    config = tiny(n_layer=6, window=8, window_pattern="SL")
    assert [config.layer_window(i) for i in range(6)] == [8, 0, 8, 0, 8, 0]
    assert replace(config, window_pattern="S").layer_window(5) == 0, "the last layer sees everything"


# --- every switch ----------------------------------------------------------------------------------------

SWITCHES = [
    {},
    {"pad_vocab_to": 64},
    {"n_kv_head": 2},
    {"n_kv_head": 1},
    {"head_size": 24},
    {"mlp_hidden": 40},
    {"norm": "rmsnorm"},
    {"norm": "rmsnorm_weightless"},
    {"position": "rotary"},
    {"position": "rotary", "rope_direction": -1, "rope_theta": 500.0},
    {"mlp": "gelu_tanh"},
    {"mlp": "relu2"},
    {"mlp": "swiglu"},
    {"position": "rotary", "qk_norm": "before"},
    {"position": "rotary", "qk_norm": "after", "norm": "rmsnorm"},
    {"qk_norm": "before"},
    {"window": 4, "window_pattern": "SSL"},
    {"bias": False},
    {"tie_weights": False},
    {"embed_norm": True},
    {"softcap": 15.0},
    {"value_embeddings": True},
    {"value_embeddings": True, "n_kv_head": 2, "n_layer": 4},
    {"residual_scalars": True},
    {"init": "nanochat"},
    {"init": "nanochat", "tie_weights": False},
    {"dropout": 0.2},
    {"attention": "by_hand", "dropout": 0.2},
    *({"preset": name, **choices} for name, choices in PRESETS.items()),
]


@pytest.mark.parametrize("choices", SWITCHES, ids=str)
def test_every_switch_builds_learns_and_is_counted(choices):
    model = GPT(tiny(**choices), seed=1)
    assert sum(parameters_by_part(model.config).values()) == sum(p.numel() for p in model.parameters())
    for name, parameter in model.named_parameters():
        assert parameter.isfinite().all(), f"{name} was not filled"
        parameter.data += 0.01  # where a projection starts at zero, what lies before it has no gradient yet
    ids = random_ids(TINY, 2, 17)
    nats, count = model(ids[:, :-1], ids[:, 1:])
    assert count == 32
    assert 0.5 * torch.log(torch.tensor(61.0)) < nats / count < 3 * torch.log(torch.tensor(61.0))
    (nats / count).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} is not used"
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), f"{name} has no influence"


@pytest.mark.parametrize("choices", SWITCHES, ids=str)
def test_every_switch_is_causal_and_the_same_with_a_cache(choices):
    model = GPT(tiny(**choices), seed=1).eval()
    for parameter in model.parameters():
        parameter.data += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    ids = random_ids(TINY, 2, 20)
    with torch.no_grad():
        logits = model(ids)
        changed = ids.clone()
        changed[:, 12:] = (changed[:, 12:] + 1) % 61
        torch.testing.assert_close(model(changed)[:, :12], logits[:, :12], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(model(changed)[:, 12:], logits[:, 12:])
        torch.testing.assert_close(cached_logits(model, ids, [5, 6, 13]), logits, atol=1e-4, rtol=0)


def test_what_cannot_be_built_is_refused():
    wrong = [
        {"vocab_size": 0},
        {"n_embd": 33},
        {"n_kv_head": 3},
        {"n_kv_head": 0},
        {"n_layer": 0},
        {"dropout": 1.0},
        {"softcap": -1.0},
        {"window_pattern": "SX"},
        {"position": "rotary", "head_size": 7},
    ]
    for choices in wrong:
        with pytest.raises(UserError):
            GPT(tiny(**choices))
    with pytest.raises(UserError, match="context of 32"):
        GPT(TINY, seed=1)(torch.zeros(1, 33, dtype=torch.int64))


# --- loss ------------------------------------------------------------------------------------------------


def test_loss_is_the_sum_over_the_targets_that_count():
    model = GPT(TINY, seed=1)
    ids, targets = random_ids(TINY, 2, 16), random_ids(TINY, 2, 16, seed=1)
    targets[0, :10] = IGNORE
    nats, count = model(ids, targets)
    assert count == 22
    chosen = model(ids).log_softmax(-1).gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(nats, -chosen[targets != IGNORE].sum())


def test_a_batch_without_targets_gives_zero_and_no_nan():
    model = GPT(TINY, seed=1)
    nats, count = model(random_ids(TINY, 2, 16), torch.full((2, 16), IGNORE))
    assert (nats, count) == (0, 0)
    nats.backward()
    assert all(not parameter.grad.any() for parameter in model.parameters())


def test_padded_ids_are_neither_in_the_loss_nor_sampled():
    config = tiny(pad_vocab_to=64, tie_weights=False)
    model = GPT(config, seed=1).eval()
    assert model.lm_head.weight.shape == (64, 32)
    ids, targets = random_ids(config, 2, 16), random_ids(config, 2, 16, seed=1)
    before = model(ids, targets)[0]
    model.lm_head.weight.data[61:] = 100.0  # would win every draw
    model.transformer["wte"].weight.data[61:] = float("nan")  # is never looked up
    assert model(ids).shape == (2, 16, 61)
    assert model(ids, targets)[0] == before
    assert max(model.generate([1, 2], 50, temperature=2.0)) < 61


# --- weights ---------------------------------------------------------------------------------------------


def test_tied_weights_stay_tied():
    model = GPT(tiny(tie_weights=True), seed=1)
    assert model.lm_head.weight is model.transformer["wte"].weight
    again = GPT(tiny(tie_weights=True))
    again.load_state_dict(model.state_dict())
    again = again.to(torch.float64).to(torch.float32)
    assert again.lm_head.weight is again.transformer["wte"].weight
    assert sum(1 for name, _ in again.named_parameters() if "lm_head" in name) == 0
    untied = GPT(tiny(tie_weights=False), seed=1)
    assert untied.lm_head.weight is not untied.transformer["wte"].weight


def test_initial_weights_depend_on_seed_and_name_only():
    shallow, deep, other = GPT(TINY, seed=1), GPT(tiny(n_layer=6), seed=1), GPT(TINY, seed=2)
    first = "transformer.h.0.attn.c_attn.weight"
    assert torch.equal(shallow.get_parameter(first), deep.get_parameter(first))
    assert not torch.equal(shallow.get_parameter(first), other.get_parameter(first))
    # The same draws, scaled by 1/√(2L).
    last = "transformer.h.0.mlp.c_proj.weight"
    torch.testing.assert_close(shallow.get_parameter(last), deep.get_parameter(last) * 2**0.5)
    torch.manual_seed(123)
    assert torch.equal(GPT(TINY, seed=1).get_parameter(first), shallow.get_parameter(first))


def test_initial_weights_have_the_published_spread():
    model = GPT(tiny(n_embd=128, n_layer=8), seed=1)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.ndim == 1:
            assert (parameter == 1).all(), name
        else:
            expected = 0.02 / 4 if name.endswith("c_proj.weight") else 0.02
            assert abs(parameter.std() / expected - 1) < 0.05, name
    nanochat = GPT(of_preset("nanochat", n_embd=128, vocab_size=512), seed=1)
    assert not nanochat.transformer["h"][1].mlp.c_proj.weight.any()
    assert abs(nanochat.transformer["wte"].weight.std() - 1) < 0.05
    assert abs(nanochat.transformer["h"][0].attn.c_attn.weight.std() * 128**0.5 - 1) < 0.05


def test_crop_block_size():
    model = GPT(TINY, seed=1).eval()
    ids = random_ids(TINY, 1, 8)
    before = model(ids)
    model.crop_block_size(8)
    assert model.transformer["wpe"].weight.shape == (8, 32)
    torch.testing.assert_close(model(ids), before)
    assert sum(parameters_by_part(model.config).values()) == sum(p.numel() for p in model.parameters())
    with pytest.raises(UserError):
        model(random_ids(TINY, 1, 9))
    with pytest.raises(UserError, match="cropped"):
        model.crop_block_size(9)


def test_float64_and_bfloat16_forward():
    model = GPT(of_preset("qwen3"), seed=1).eval()
    ids = random_ids(TINY, 2, 16)
    with torch.no_grad():
        expected = model(ids)
        model.compute_dtype = torch.bfloat16
        assert model(ids).dtype == torch.bfloat16
        torch.testing.assert_close(model(ids).float(), expected, atol=0.1, rtol=0.1)
        nats, _ = model(ids, ids)
        assert nats.dtype == torch.float32
        model = model.double()
        model.compute_dtype = torch.float64
        torch.testing.assert_close(model(ids).float(), expected, atol=1e-5, rtol=1e-5)
        assert model(ids, ids)[0].dtype == torch.float64


# --- cost ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_layer", "n_head", "n_embd", "expected"),
    [
        (12, 12, 768, 124_439_808),
        (24, 16, 1024, 354_823_168),
        (36, 20, 1280, 774_030_080),
        (48, 25, 1600, 1_557_611_200),
    ],
)
def test_gpt2_has_its_published_sizes(n_layer, n_head, n_embd, expected):
    config = GPTConfig(vocab_size=50257, n_layer=n_layer, n_head=n_head, n_embd=n_embd)
    parts = parameters_by_part(config)
    assert sum(parts.values()) == expected
    assert parts["position embedding"] == 1024 * n_embd
    assert training_bytes(config)["weights"] == 4 * expected


def test_parameters_with_and_without_positions():
    model = GPT(TINY, seed=1)
    assert model.num_params(non_embedding=False) - model.num_params() == 32 * 32


def test_flops_count_every_matrix_product():
    """Against PyTorch's own counter, which sees what is really computed."""
    from torch.utils.flop_counter import FlopCounterMode

    for choices in [{}, {"n_kv_head": 2, "mlp": "swiglu", "attention": "by_hand"}, {"head_size": 16}]:
        config = tiny(attention="by_hand", **{k: v for k, v in choices.items() if k != "attention"})
        model = GPT(config, seed=1).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(random_ids(config, 2, config.block_size))
        assert counter.get_total_flops() == 2 * config.block_size * flops_per_token(config, training=False)
        assert flops_per_token(config) == 3 * flops_per_token(config, training=False)
    slides = flops_per_token(tiny(window=4))
    assert flops_per_token(TINY) - slides == 3 * 2 * 4 * (32 - 4) * 32, "two of three layers see 4 tokens"
    assert model_flops_utilization(50.0, 100.0) == 0.5
    assert model_flops_utilization(50.0, None) is None


# --- the uncached twin -----------------------------------------------------------------------------------


def test_fit_context_keeps_the_first_token_and_the_last_half():
    assert fit_context([1, 2, 3], 4) == [1, 2, 3]
    assert fit_context([1, 2, 3, 4], 4) == [1, 2, 3, 4]
    assert fit_context([1, 2, 3, 4, 5], 4) == [1, 4, 5]
    assert fit_context(list(range(9)), 5) == [0, 7, 8]
    assert fit_context([1, 2], 1) == [2]
    for block_size in range(1, 9):
        assert len(fit_context(list(range(20)), block_size)) <= block_size


def test_generate_on_the_model():
    model = GPT(tiny(dropout=0.5), seed=1)
    assert model.generate([5], 40, seed=1) == model.generate([5], 40, seed=1)
    assert model.training
    model.eval()
    assert model.generate([5], 40, seed=1) != model.generate([5], 40, seed=2)
    assert model.generate([5], 40, temperature=0) == model.generate([5], 40, top_k=1)
    ids = [5]
    for token in model.generate([5], 20, temperature=0):
        assert token == int(F.softmax(model(torch.tensor([ids]))[0, -1], -1).argmax())
        ids.append(token)
