"""Precision and device: what `auto` decides, and that the decision is what really runs."""

import os
import subprocess

import pytest
import torch

from conftest import clean_environment, command, flags
from inkling import runtime
from inkling.errors import UserError
from inkling.runtime import RuntimeSettings, decide
from inkling.train.progress import read_metrics

FAST_BF16 = runtime._has_amx() or runtime._has_avx512_bf16()


@pytest.mark.parametrize(
    ("amx", "avx", "expected"), [(True, True, "bfloat16"), (False, True, "bfloat16"), (False, False, "float32")]
)
def test_cpu_dtype_follows_the_hardware_and_says_why(monkeypatch, amx, avx, expected):
    monkeypatch.setattr(runtime, "_has_amx", lambda: amx)
    monkeypatch.setattr(runtime, "_has_avx512_bf16", lambda: avx)
    decision = decide(RuntimeSettings(device="cpu"))
    assert decision.dtype == expected
    assert any("AMX" in reason or "AVX512" in reason for reason in decision.reasons)


def test_compile_auto_weighs_the_length_of_the_work(monkeypatch):
    monkeypatch.setenv("CXX", "c++")
    assert not decide(RuntimeSettings(device="cpu"), cpu_seconds=60).compile
    assert decide(RuntimeSettings(device="cpu"), cpu_seconds=6000).compile


def test_compile_auto_leaves_wide_models_alone_in_float32(monkeypatch):
    monkeypatch.setenv("CXX", "c++")
    in_float32, in_bfloat16 = (RuntimeSettings(device="cpu", dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert decide(in_float32, cpu_seconds=6000, width=256).compile
    assert not decide(in_float32, cpu_seconds=6000, width=384).compile
    assert decide(in_bfloat16, cpu_seconds=6000, width=384).compile


def test_without_a_compiler_auto_is_eager_and_true_is_refused(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(runtime.shutil, "which", lambda _: None)
    assert not decide(RuntimeSettings(device="cpu"), cpu_seconds=6000).compile
    with pytest.raises(UserError, match="needs a C\\+\\+ compiler"):
        decide(RuntimeSettings(device="cpu", compile=True))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_trains_like_float32(tiny, inkling, dtype):
    same = flags({"dropout": 0.0, "max_iters": 30, "eval_interval": 10, "optimizer": "muon", "preset": "nanochat"})
    assert inkling("train", "tiny.toml", "--out_dir=runs/full", *same)[0] == 0
    status, _, err = inkling("train", "tiny.toml", "--out_dir=runs/low", f"--dtype={dtype}", *same)
    assert status == 0, err
    full, low = [read_metrics(tiny / "runs" / name / "metrics.jsonl")[-1]["val_loss"] for name in ("full", "low")]
    assert abs(full - low) < 0.05 and full != low
    # The dtype is part of the run: resuming does not decide it again.
    status, out, _ = inkling("train", "--out_dir=runs/low", "--resume", "--max_iters=31")
    assert status == 0 and f"dtype {dtype}: asked for" in out


@pytest.mark.skipif(not FAST_BF16, reason="this CPU has neither AMX nor AVX512-BF16")
def test_bfloat16_really_runs_on_the_fast_kernels(tiny):
    """oneDNN's own log names the kernel of every matrix product."""
    words = flags({"dtype": "auto", "max_iters": 2, "eval_interval": 10, "n_embd": 128, "batch_size": 16})
    environment = clean_environment(ONEDNN_VERBOSE="1")
    done = subprocess.run(command("train", "tiny.toml", *words), capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and "dtype bfloat16" in done.stdout
    products = [line for line in done.stdout.splitlines() if ",exec,cpu,matmul," in line or ",inner_product," in line]
    fast = [line for line in products if "bf16" in line and ("amx" in line or "avx512_core_bf16" in line)]
    assert len(fast) > 20


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_trains_compiled_in_bfloat16_and_resumes(tiny, inkling):
    words = flags({"device": "cuda", "dtype": "auto", "compile": True, "threads": 0, "n_embd": 64})
    status, out, err = inkling("train", "tiny.toml", *words)
    assert status == 0, err
    assert "device cuda" in out
    assert inkling("train", "tiny.toml", "--resume", "--max_iters=15")[0] == 0
    assert inkling("sample", "tiny", "--device=cuda", "--num_samples=1")[0] == 0


def test_threads_are_shared_between_the_ranks_of_a_machine(monkeypatch):
    cores = runtime.psutil.cpu_count(logical=False) or os.cpu_count()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(cores))
    assert decide(RuntimeSettings(device="cpu")).threads == 1
    assert decide(RuntimeSettings(device="cpu", threads=3)).threads == 3
