"""Memory and what watches it: recomputation, the message when there is too little, and network health."""

from pathlib import Path

import pytest
import torch

from conftest import flags
from inkling import cli
from inkling.data.batches import BatchPlan
from inkling.errors import is_out_of_memory
from inkling.model.config import PRESETS, GPTConfig
from inkling.model.cost import parameters_by_part
from inkling.model.gpt import GPT
from inkling.stages.describe import out_of_memory
from inkling.stages.train_settings import TrainSettings
from inkling.train.health import norms, part_of
from inkling.train.progress import read_metrics
from test_train import curve, final_hashes

SMALL = {"block_size": 32, "vocab_size": 61, "n_layer": 4, "n_head": 2, "n_embd": 32}


def kept_bytes(model: GPT, ids: torch.Tensor) -> tuple[int, list[torch.Tensor]]:
    """(bytes that the backward pass keeps, weights aside; the gradients)."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(5)  # the dropout
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        nats, _ = model(ids, ids)
    nats.backward()
    return sum(seen.values()), [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_recomputation_gives_the_same_gradients_with_less_memory(preset, dropout):
    config = GPTConfig(**{**PRESETS[preset], **SMALL, "dropout": dropout})
    ids = torch.randint(61, (8, 32), generator=torch.Generator().manual_seed(3))
    results = []
    for recompute in (False, True):
        model = GPT(config, seed=1)
        model.recompute = recompute
        model.train()
        results.append(kept_bytes(model, ids))
    (plain, expected), (less, found) = results
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert less < plain / 2


def test_recomputation_trains_to_the_same_bits(tiny, inkling):
    for name, extra in (("plain", []), ("again", ["--recompute"])):
        assert inkling("train", "tiny.toml", f"--out_dir=runs/{name}", *extra)[0] == 0
    assert final_hashes("runs/plain") == final_hashes("runs/again")


# --- too little memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error, is_it):
    assert is_out_of_memory(error) is is_it


def test_a_model_that_cannot_be_held_is_a_message(tiny, inkling):
    status, _, err = inkling("train", "tiny.toml", "--n_embd=8000000")
    assert status == 1
    assert "not enough memory" in err and "Traceback" not in err
    assert "n_embd=8000000" in err


def test_the_advice_keeps_the_step_and_names_the_settings(tiny, inkling, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("inkling.train.loop.update", full)
    status, _, err = inkling("train", "tiny.toml", "--out_dir=runs/full")
    assert status == 1
    assert "--batch_size=2 --gradient_accumulation_steps=2" in err
    assert "--recompute" in err and "--block_size=8" in err
    plan = BatchPlan(batch_size=1, micro_steps=1, rank=0, world_size=1, block_size=16)
    assert "batch_size=0" not in str(out_of_memory(TrainSettings(), plan))


def test_other_verbs_say_it_too(monkeypatch, capsys):
    def full(_):
        raise MemoryError

    monkeypatch.setattr(cli, "dispatch", full)
    with pytest.raises(SystemExit) as end:
        cli.run(["sample", "demo"])
    assert end.value.code == 1
    assert "not enough memory" in capsys.readouterr().err


# --- network health ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_parameter_has_a_part_that_cost_knows(preset):
    switches = {"value_embeddings": True, "residual_scalars": True}
    config = GPTConfig(**{**PRESETS[preset], **SMALL, **switches})
    found: dict[str, int] = {}
    for name, parameter in GPT(config, seed=1).named_parameters():
        found[part_of(name)] = found.get(part_of(name), 0) + parameter.numel()
    expected = {part: n for part, n in parameters_by_part(config).items() if n}
    assert found.keys() == expected.keys()
    # cost.py counts the weights of QK-norm, which stand inside the attention, to the attention.
    assert found == expected


def test_norms_by_hand():
    parts = norms(
        {"transformer.h.0.mlp.c_fc.weight": torch.tensor([3.0]), "transformer.h.1.mlp.x": torch.tensor([4.0])}
    )
    assert parts["mlp"].item() == 5.0


def test_health_is_measured_and_changes_nothing(tiny, inkling):
    assert inkling("train", "tiny.toml", "--out_dir=runs/watched", "--health_interval=5")[0] == 0
    assert inkling("train", "tiny.toml", "--out_dir=runs/alone", "--health_interval=0")[0] == 0
    assert final_hashes("runs/watched") == final_hashes("runs/alone")
    assert curve("runs/watched") == curve("runs/alone")
    rows = read_metrics(Path("runs/watched/metrics.jsonl"))
    assert [row["step"] for row in rows if "grad_norm/mlp" in row] == [1, 5, 10]
    first = rows[0]
    gradients = [value for key, value in first.items() if key.startswith("grad_norm/")]
    assert sum(g * g for g in gradients) ** 0.5 == pytest.approx(first["grad_norm"], rel=1e-4)
    assert all(first[f"update_norm/{part}"] > 0 for part in ("attention", "mlp", "norms", "token embedding"))
    assert not any("/" in key for row in read_metrics(Path("runs/alone/metrics.jsonl")) for key in row)


def test_senseless_interval_is_refused(tiny, inkling):
    assert inkling("train", "tiny.toml", *flags({"health_interval": -1}))[0] == 2
