"""What a model costs: the estimates against what PyTorch keeps, allocates and counts; the verb `size`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from inkling.model.config import PRESETS, GPTConfig
from inkling.model.cost import (
    GPT2_SIZES,
    activation_bytes,
    activation_peak,
    block_matrices,
    flops_by_part,
    flops_per_token,
    kv_cache_bytes,
    parameters_by_part,
    training_bytes,
)
from inkling.model.gpt import GPT
from inkling.model.scaling import (
    CHINCHILLA,
    CHINCHILLA_UNROUNDED,
    REPLICATION,
    optimum_by_rule,
    training_flops,
)
from inkling.train.optim import OptimizerSettings, build_optimizers, optimizer_tensors

SMALL = GPTConfig(block_size=64, vocab_size=101, n_layer=3, n_head=4, n_embd=64)
ROWS = 2
RELEASED = dict(zip(GPT2_SIZES, (124439808, 354823168, 774030080, 1557611200), strict=True))


def of_preset(name: str, **choices) -> GPTConfig:
    return replace(SMALL, **{"preset": name, **PRESETS[name], **choices})


def training_model(config: GPTConfig, dtype: torch.dtype, device: str = "cpu") -> tuple[GPT, torch.Tensor]:
    """A model in training, and a micro-batch of ids."""
    model = GPT(config, seed=1).to(device)
    model.compute_dtype = dtype
    ids = torch.randint(config.vocab_size, (ROWS, config.block_size), device=device)
    return model.train(), ids


# --- activations -------------------------------------------------------------------------------------------


def kept_bytes(config: GPTConfig, dtype: torch.dtype, recompute: bool = False, device: str = "cpu") -> int:
    """Bytes of all different storages that the forward pass saves for the backward pass, parameters apart."""
    model, ids = training_model(config, dtype, device)
    model.recompute = recompute
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    saved = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that its address is not used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(ids, ids.roll(-1, dims=1))
    return sum(size for size, _ in saved.values())


KINDS = {
    "plain": {},
    "dropout": {"dropout": 0.1},
    "GQA": {"n_kv_head": 2},
    "wide heads, padded": {"head_size": 32, "pad_vocab_to": 64},
    "by hand": {"attention": "by_hand"},
    "by hand, GQA, dropout": {"attention": "by_hand", "dropout": 0.1, "n_kv_head": 2},
    "window": {"window": 8},
    "nanochat's extras": {"value_embeddings": True, "residual_scalars": True},
    "the shipped recipes": {
        "norm": "layernorm",
        "qk_norm": "after",
        "n_kv_head": 1,
        "embed_norm": True,
        "softcap": 15.0,
    },
    "norm before": {"qk_norm": "before", "value_embeddings": True, "dropout": 0.1},
}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", KINDS)
def test_activations_are_what_autograd_keeps(preset, kind):
    config = of_preset(preset, **KINDS[kind])
    for dtype in (torch.float32, torch.bfloat16):
        expected = kept_bytes(config, dtype)
        assert sum(activation_bytes(config, ROWS, dtype.itemsize).values()) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("preset", PRESETS)
def test_recomputation_keeps_the_inputs_of_the_blocks(preset):
    config = of_preset(preset, n_layer=6)
    for dtype in (torch.float32, torch.bfloat16):
        parts = activation_bytes(config, ROWS, dtype.itemsize, recompute=True)
        again = parts.pop("one block again")
        # Autograd's hooks see everything but the rotary tables, which only the blocks use.
        assert sum(parts.values()) == pytest.approx(kept_bytes(config, dtype, recompute=True), rel=0.02)
        whole = activation_bytes(config, ROWS, dtype.itemsize)
        assert again == pytest.approx((whole["attention"] + whole["mlp"] + whole["norms"] * 6 / 7) / 6, rel=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_activations_on_a_gpu(preset, dropout):
    config = of_preset(preset, dropout=dropout, block_size=128, n_embd=256)
    for dtype in (torch.float32, torch.bfloat16):
        expected = kept_bytes(config, dtype, device="cuda")
        parts = activation_bytes(config, ROWS, dtype.itemsize, device_type="cuda")
        assert sum(parts.values()) == pytest.approx(expected, rel=0.1)


def peak_bytes(config: GPTConfig, dtype: torch.dtype, recompute: bool, tmp_path: Path) -> int:
    """The most that one forward and backward pass allocates beyond weights and gradients, by PyTorch's own trace."""
    model, ids = training_model(config, dtype)
    model.recompute = recompute
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        model(ids, ids)[0].backward()
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


@pytest.mark.parametrize(("preset", "recompute"), [("gpt2", False), ("gpt2", True), ("nanochat", False)])
def test_the_peak_is_what_pytorch_allocates(preset, recompute, tmp_path):
    config = of_preset(preset, block_size=128, vocab_size=2000, n_embd=128)
    for dtype in (torch.float32, torch.bfloat16):
        expected = peak_bytes(config, dtype, recompute, tmp_path)
        assert activation_peak(config, ROWS, dtype.itemsize, recompute) == pytest.approx(expected, rel=0.05)


# --- what does not depend on the batch ---------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("preset", PRESETS)
def test_optimizer_bytes_are_what_the_optimizer_holds(preset, optimizer):
    config = of_preset(preset, value_embeddings=True)
    model = GPT(config, seed=1)
    optimizers = build_optimizers(model, OptimizerSettings(optimizer=optimizer), torch.float32, "cpu")
    ids = torch.randint(101, (1, 64))
    model(ids, ids)[0].backward()
    for one in optimizers:
        one.step()
    held = sum(tensor.nbytes for tensor in optimizer_tensors(model, optimizers).values() if tensor.ndim)
    expected = training_bytes(config, optimizer)
    assert expected["optimizer"] == held
    assert expected["weights"] == expected["gradients"] == sum(p.nbytes for p in model.parameters())


def test_kv_cache_bytes_are_those_of_the_cache():
    from inkling.infer.cache import KVCache

    config = of_preset("qwen3", n_kv_head=2)
    cache = KVCache(config, 3, "cpu", torch.bfloat16, size=40)
    assert kv_cache_bytes(config, rows=3, tokens=40) == cache.k.nbytes + cache.v.nbytes
    assert kv_cache_bytes(config, bytes_per_number=4) == 2 * 3 * 2 * 64 * 16 * 4


def test_flops_by_part_are_what_pytorch_counts():
    config = of_preset("nanochat", attention="by_hand", value_embeddings=True, n_kv_head=2)
    model, ids = training_model(config, torch.float32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids)
    assert counter.get_total_flops() == ids.numel() * flops_per_token(config, training=False)
    model.recompute = False
    with FlopCounterMode(display=False) as counter:
        model(ids, ids)[0].backward()
    assert counter.get_total_flops() == ids.numel() * flops_per_token(config)
    model.recompute = True
    with FlopCounterMode(display=False) as counter:
        model(ids, ids)[0].backward()
    # Recomputation stops where nothing more is needed, before the last product of a block.
    last = 2 * config.n_layer * config.n_embd * config.filled().mlp_hidden * ids.numel()
    most = ids.numel() * flops_per_token(config, recompute=True)
    assert most - last <= counter.get_total_flops() <= most


def test_flops_are_the_sum_of_their_parts():
    config = of_preset("llama", window=8)
    forward, training, again = (
        flops_by_part(config, training=False),
        flops_by_part(config),
        flops_by_part(config, recompute=True),
    )
    for part, flops in forward.items():
        assert training[part] == 3 * flops
        assert again[part] == (3 if part == "head" else 4) * flops
    assert flops_per_token(config) == sum(training.values())
    assert sum(block_matrices(config).values()) * 3 == sum(
        p.numel() for name, p in GPT(config).named_parameters() if ".h." in name and p.ndim == 2
    )


# --- scaling laws ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", [CHINCHILLA, CHINCHILLA_UNROUNDED, REPLICATION])
def test_the_optimum_is_the_lowest_point(fit):
    for budget in (1e18, 5.76e23):
        N, D = fit.optimum(budget)
        assert training_flops(N, D) == pytest.approx(budget)
        assert fit.optimal_flops(N) == pytest.approx(budget)
        for factor in (0.9, 1.1):
            assert fit.loss(factor * N, D / factor) > fit.loss(N, D)


def test_scaling_laws_against_the_papers():
    assert CHINCHILLA.loss(70e9, 1.4e12) == pytest.approx(1.937, abs=5e-4)
    assert CHINCHILLA_UNROUNDED.optimum(5.76e23)[0] == pytest.approx(40e9, rel=0.02), "figure 4"
    N, D = REPLICATION.optimum(5.76e23)
    assert 15 < D / N < 25
    N, D = optimum_by_rule(5.76e23)
    assert pytest.approx(69.3e9, rel=0.001) == N and pytest.approx(20) == D / N


# --- the verb ----------------------------------------------------------------------------------------------


def sized(inkling, *words: str) -> tuple[str, dict]:
    """What `inkling size` prints, and its JSON."""
    status, out, err = inkling("size", *words, "--json")
    assert status == 0, err
    *_, last = out.splitlines()
    return out, json.loads(last)


def test_size_of_a_recipe(inkling, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, found = sized(inkling, "shakespeare_char", "--dtype=float32", "--device=cpu")
    assert found["model"]["vocab_size"] == 65 and "shakespeare_char is not prepared here" in out
    config = GPTConfig(**found["model"])
    assert found["parameters"] == parameters_by_part(config)
    assert found["parameters_total"] - found["parameters_without_positions"] == 256 * 384
    assert found["tokens_per_step"] == 64 * 256 and found["run"]["tokens"] == 5000 * 64 * 256
    assert found["memory"]["activations"]["kept"] == activation_bytes(config, 64, 4)
    fixed = sum(training_bytes(config).values())
    assert found["memory"]["peak"]["recomputed"] == fixed + activation_peak(config, 64, 4, recompute=True)
    assert found["run"]["flops"] == flops_per_token(config) * found["run"]["tokens"]
    assert found["run"]["chinchilla_tokens"] == 20 * found["parameters_total"]
    assert "total without positions" in out and f"{found['parameters_total']:,}" in out and "KV cache" in out
    assert not any(ord(character) in range(0x2500, 0x2580) for character in out), "plain text where no terminal is"


@pytest.mark.parametrize(("name", "total"), RELEASED.items())
def test_size_of_the_published_sizes(inkling, name, total):
    out, found = sized(inkling, name, "--device=cuda")
    assert found["parameters_total"] == total and f"{total:,}" in out
    assert found["dtype"] == "bfloat16" and found["run"] is None


def test_size_takes_what_train_takes(inkling, tiny):
    out, found = sized(inkling, "tiny.toml", "--n_layer=4", "--optimizer=muon", "--gradient_accumulation_steps=3")
    assert found["model"]["n_layer"] == 4 and found["tokens_per_step"] == 3 * 4 * 16
    assert found["model"]["vocab_size"] == 256 and "of the data set data/tiny" in out
    matrices = 4 * sum(block_matrices(GPTConfig(**found["model"])).values())
    assert found["memory"]["fixed"]["optimizer"] == 4 * (2 * found["parameters_total"] - matrices)
    _, found = sized(inkling, "tiny.toml", "--dataset=elsewhere", "--vocab_size=1000", "--dtype=bfloat16")
    assert found["model"]["vocab_size"] == 1000 and found["vocabulary_from"] == "as asked for"
    _, found = sized(inkling, "tiny.toml", "--dataset=elsewhere")
    assert found["model"]["vocab_size"] == 50257 and "elsewhere is not prepared" in found["vocabulary_from"]
    _, found = sized(inkling, "finetune_shakespeare")
    assert found["parameters_total"] == 1557611200, "finetuning has its parent's size"
    _, found = sized(inkling, "gpt2", "--max_iters=100")
    assert found["run"]["steps"] == 100


def test_size_refuses_what_train_refuses(inkling):
    for words, says in {
        (): "one RECIPE",
        ("gpt3",): "no recipe 'gpt3'",
        ("gpt2", "--n_head=7"): "n_embd=768 is not a multiple of n_head=7",
        ("gpt2", "--n_layres=3"): "Did you mean --n_layer?",
        ("gpt2", "--batch_size=0"): "batch_size",
    }.items():
        status, _, err = inkling("size", *words)
        assert status == 2 and says in err and "Traceback" not in err


def test_tables_on_a_terminal(monkeypatch, capsys):
    from inkling.stages.tables import show_table

    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show_table("a title", [("one [part]", "1"), ("total", "1")], ("", "number"), strong=["total"])
    out = capsys.readouterr().out
    assert "a title" in out and "one [part]" in out and "─" in out
