"""Optimizers against torch.optim and against the textbook; schedules against their definition."""

import numpy as np
import pytest
import torch

from inkling.data.batches import BatchPlan
from inkling.errors import UserError
from inkling.model.config import PRESETS, GPTConfig
from inkling.model.gpt import GPT
from inkling.runtime import Runtime
from inkling.train.loop import Learner, update
from inkling.train.optim import (
    QUINTIC,
    Muon,
    OptimizerSettings,
    build_optimizers,
    check_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    orthogonalize,
    orthogonalize_stack,
)
from inkling.train.polar import SPREAD, best_quintic, polar_coefficients
from inkling.train.schedule import ScheduleSettings, check_schedule, lr_factor, muon_momentum

TINY_NANOCHAT = PRESETS["nanochat"] | {"vocab_size": 32, "block_size": 8, "n_layer": 1, "n_head": 2, "n_embd": 16}
SHAPES = [(16, 16), (64, 16), (16, 64), (48, 16)]


def matrices(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def steps(parameters: list, optimizer: torch.optim.Optimizer, count: int = 5) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def test_muon_unstacked_is_torch_muon_bit_for_bit():
    ours, theirs = matrices(), matrices()
    steps(ours, Muon(ours, lr=0.02, momentum=0.95, weight_decay=0.1, stacked=False))
    steps(theirs, torch.optim.Muon(theirs, lr=0.02, momentum=0.95, weight_decay=0.1))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_muon_stacked_equals_textbook():
    ours, twin = [matrices() + matrices(7) for _ in range(2)]
    steps(ours, Muon(ours, lr=0.02, ns_dtype=torch.float64, stacked=True))
    steps(twin, Muon(twin, lr=0.02, ns_dtype=torch.float64, stacked=False))
    for a, b in zip(ours, twin, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(32, 128), (128, 32), (32, 64)])
@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize("coefficients", ["quintic", "polar"])
def test_wide_matrices_go_through_their_gram_matrix_with_the_same_result(shape, count, coefficients):
    """Singular values from 1 down to a millionth, so that the small ones have to come through."""
    generator = torch.Generator().manual_seed(3)
    left, _ = torch.linalg.qr(torch.randn(shape[0], min(shape), generator=generator))
    right, _ = torch.linalg.qr(torch.randn(shape[1], min(shape), generator=generator))
    matrix = left * torch.logspace(0, -6, min(shape)) @ right.T
    expected = orthogonalize(matrix, count, torch.float64, coefficients).float()
    found = orthogonalize_stack(matrix[None], count, torch.float32, coefficients)[0]
    assert (found - expected).norm() <= 1e-3 * expected.norm()


@pytest.mark.parametrize("low, high", [(0.01, 1.0), (0.3, 1.7), (0.9, 1.1)])
def test_the_best_quintic_has_four_equal_errors_and_no_other_is_better(low, high):
    (a, b, c), error = best_quintic(low, high)
    s = np.linspace(low, high, 100_001)
    wrong = 1 - (a * s + b * s**3 + c * s**5)
    assert np.abs(wrong).max() == pytest.approx(error, rel=1e-4)
    assert np.sum(np.diff(np.sign(wrong)) != 0) == 3  # so it reaches its size four times, with changing sign
    # What is best for the squared error on a grid, a good guess that is not Chebyshev's, has a larger largest error.
    guess = np.linalg.lstsq(np.stack([s, s**3, s**5], axis=1), np.ones_like(s), rcond=None)[0]
    assert np.abs(1 - np.stack([s, s**3, s**5], axis=1) @ guess).max() > error


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 20])
def test_polar_steps_end_within_the_spread_and_start_steeper_than_the_quintic(count):
    s = np.geomspace(1e-9, 1, 10_001)
    ends = s.copy()
    for a, b, c in polar_coefficients(count):
        ends = a * ends + b * ends**3 + c * ends**5
    reached = s[np.argmax(ends >= 1 - SPREAD - 1e-6)]
    assert np.all(ends[s > reached * 1.001] >= 1 - SPREAD - 1e-3)
    assert ends.max() <= 1 + SPREAD + 1e-3
    assert np.prod([a for a, _, _ in polar_coefficients(count)]) > 1.3 * QUINTIC[0] ** count


def test_muon_splits_fused_matrices():
    fused = [torch.nn.Parameter(torch.randn(24, 16, generator=torch.Generator().manual_seed(0)))]
    apart = [torch.nn.Parameter(part.detach().clone()) for part in fused[0].split((16, 4, 4))]
    gradient = torch.randn(24, 16, generator=torch.Generator().manual_seed(1))
    fused[0].grad = gradient
    for parameter, part in zip(apart, gradient.split((16, 4, 4)), strict=True):
        parameter.grad = part
    Muon(fused, split={fused[0]: (16, 4, 4)}, ns_dtype=torch.float32).step()
    Muon(apart, ns_dtype=torch.float32).step()
    torch.testing.assert_close(fused[0].detach(), torch.cat([p.detach() for p in apart]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonalize_brings_singular_values_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    values = torch.linalg.svdvals(orthogonalize(matrix, 10, torch.float32))
    assert values.min() > 0.5 and values.max() < 1.3
    stacked = orthogonalize_stack(torch.stack([matrix, 2 * matrix]), 10, torch.float32)
    torch.testing.assert_close(stacked[0], stacked[1], atol=1e-5, rtol=0)
    assert not orthogonalize(torch.zeros(shape), 5, torch.float32).isnan().any()


def test_adamw_groups_follow_the_textbook():
    """Three steps of AdamW worked out here: decay on matrices and tables only, bias-corrected moments."""
    config = GPTConfig(block_size=8, vocab_size=11, n_layer=1, n_head=2, n_embd=8)
    model = GPT(config, seed=1)
    settings = OptimizerSettings(learning_rate=1e-2, weight_decay=0.1, beta1=0.9, beta2=0.95)
    optimizers = build_optimizers(model, settings, torch.float32, "cpu")
    expected = {name: p.detach().double().clone() for name, p in model.named_parameters()}
    m = {name: torch.zeros_like(p) for name, p in expected.items()}
    v = {name: torch.zeros_like(p) for name, p in expected.items()}
    for t in range(1, 4):
        for index, (name, parameter) in enumerate(model.named_parameters()):
            generator = torch.Generator().manual_seed(100 * t + index)
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            g = parameter.grad.double()
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.95 * v[name] + 0.05 * g * g
            if parameter.ndim >= 2:
                expected[name] = expected[name] * (1 - 1e-2 * 0.1)
            step = (m[name] / (1 - 0.9**t)) / ((v[name] / (1 - 0.95**t)).sqrt() + 1e-8)
            expected[name] = expected[name] - 1e-2 * step
        optimizers[0].step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach().double(), expected[name], atol=1e-6, rtol=1e-6)


def test_muon_takes_the_block_matrices_and_adamw_the_rest():
    config = GPTConfig(**PRESETS["nanochat"], block_size=8, vocab_size=11, n_layer=2, n_head=2, n_embd=8)
    model = GPT(config, seed=1)
    settings = OptimizerSettings(optimizer="muon", embedding_lr=0.3, head_lr=0.004)
    adamw, muon = build_optimizers(model, settings, torch.float32, "cpu")
    names = {parameter: name for name, parameter in model.named_parameters()}
    muon_names = {names[p] for group in muon.param_groups for p in group["params"]}
    assert muon_names == {
        n for n in names.values() if ".h." in n and n.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
    }
    rates = {names[p]: group["peak_lr"] for group in adamw.param_groups for p in group["params"]}
    assert rates == {"transformer.wte.weight": 0.3, "lm_head.weight": 0.004}


def test_a_gradient_that_overflows_in_float16_changes_no_weight():
    """Muon and AdamW skip the step together: clipping spreads an infinite norm over all gradients."""
    model = GPT(GPTConfig(**TINY_NANOCHAT), seed=0)
    optimizers = build_optimizers(model, OptimizerSettings(optimizer="muon"), torch.float32, "cpu")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120, enabled=True)
    learner = Learner(model, model, optimizers, scaler)
    # The head's gradient, and so AdamW's, is infinite; those of the matrices are not.
    model.lm_head.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    ids = torch.arange(16).reshape(2, 8)
    plan = BatchPlan(batch_size=2, micro_steps=1, rank=0, world_size=1, block_size=8)
    runtime = Runtime("cpu", "float16", compile=False, threads=1)
    for clip in (1.0, 0.0):
        update(learner, [(ids, ids)], 16.0, clip, plan, runtime, seed=0)
        assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert scaler.get_scale() == 2.0**118


def test_optimizer_state_travels_by_name():
    config = GPTConfig(**PRESETS["nanochat"], block_size=8, vocab_size=11, n_layer=2, n_head=2, n_embd=8)
    models = [GPT(config, seed=1), GPT(config, seed=1)]
    ids = torch.randint(11, (2, 8), generator=torch.Generator().manual_seed(0))
    settings = OptimizerSettings(optimizer="muon")
    both = [build_optimizers(model, settings, torch.float32, "cpu") for model in models]

    def step(model, optimizers):
        model(ids, ids)[0].backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    step(models[0], both[0])
    models[1].load_state_dict(models[0].state_dict())
    load_optimizer_tensors(models[1], both[1], {k: v.clone() for k, v in optimizer_tensors(models[0], both[0]).items()})
    for model, optimizers in zip(models, both, strict=True):
        step(model, optimizers)
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("wrong", [{"learning_rate": -1.0}, {"beta1": 1.0}, {"grad_clip": -1.0}, {"momentum": 2.0}])
def test_impossible_optimizer_settings_are_refused(wrong):
    with pytest.raises(UserError):
        check_optimizer(OptimizerSettings(**wrong))


def test_cosine_schedule_is_nanogpts():
    import math

    settings = ScheduleSettings(warmup_iters=100, lr_decay_iters=5000)
    for step in (0, 1, 50, 99, 100, 1000, 4999, 5000, 6000):
        if step < 100:
            expected = 1e-3 * (step + 1) / 101
        elif step > 5000:
            expected = 1e-4
        else:
            expected = 1e-4 + 0.5 * (1 + math.cos(math.pi * (step - 100) / 4900)) * 9e-4
        assert 1e-3 * lr_factor(settings, step, 5000, 0.1) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["cosine", "linear", "wsd"])
@pytest.mark.parametrize("warmup", [0, 1, 10, 200])
def test_schedules_start_above_zero_and_end_at_the_floor(kind, warmup):
    settings = ScheduleSettings(schedule=kind, warmup_iters=warmup)
    factors = [lr_factor(settings, step, 100, 0.05) for step in range(101)]
    assert factors[0] > 0 and max(factors) <= 1 and min(factors) > 0
    if warmup < 100:
        assert factors[-1] == pytest.approx(0.05) and factors[min(warmup, 99)] == pytest.approx(1.0)
    if kind == "wsd" and warmup <= 10:
        assert factors[60] == 1.0 and factors[80] == pytest.approx(0.525)


def test_constant_rate_and_momentum():
    assert lr_factor(ScheduleSettings(decay_lr=False), 99, 100, 0.1) == 1.0
    settings = ScheduleSettings(momentum_warmup_iters=10)
    assert muon_momentum(settings, 0, 0.95) == 0.85 and muon_momentum(settings, 50, 0.95) == 0.95
    assert muon_momentum(ScheduleSettings(momentum_warmup_iters=0), 0, 0.95) == 0.95
    for wrong in (
        ScheduleSettings(warmup_iters=-1),
        ScheduleSettings(decay_fraction=0.0),
        ScheduleSettings(lr_decay_iters=0),
    ):
        with pytest.raises(UserError):
            check_schedule(wrong)
