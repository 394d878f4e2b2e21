"""`inkling bench`: how fast a model trains and writes here, and what share that is of what the machine can do."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from inkling.data.batches import BatchPlan, get_batch, plan_batches
from inkling.errors import UserError
from inkling.hub.load import find_run, place_model
from inkling.infer.engine import Engine, Request
from inkling.keyed import words
from inkling.model.config import GPTConfig
from inkling.model.cost import flops_per_token, model_flops_utilization
from inkling.model.gpt import GPT, fit_context
from inkling.peak import measure_peak, published_peak, synchronize
from inkling.recipes import recipe_names
from inkling.runtime import Runtime, decide, describe_machine, peak_memory_bytes, running
from inkling.settings import Layer, build
from inkling.stages.learner import new_learner, new_model
from inkling.stages.train_settings import TrainSettings, compose, rough_cpu_seconds
from inkling.stages.vocabulary import vocabulary_for
from inkling.train.loop import update
from inkling.train.runfolder import read_resolved


@dataclass(frozen=True)
class BenchOptions:
    """bench"""

    what: Literal["both", "train", "decode"] = "both"
    """measure the training step, decoding, or both"""
    steps: int = 10
    """training steps to time, after three that only warm up"""
    context: int = 512
    """tokens in the prompt from which decoding starts, if the model's context holds them and the new ones"""
    new_tokens: int = 48
    """tokens to decode and time"""
    rows: int = 1
    """texts decoded together"""
    twin_tokens: int = 0
    """also time this many tokens of the uncached twin at the same context; 0: leave it out"""
    profile: str = ""
    """folder for traces of one training step and a few tokens, for chrome://tracing or ui.perfetto.dev"""


@dataclass(frozen=True)
class BenchSettings:
    """What `inkling bench` can be told: its own keys, and all of `inkling train`."""

    bench: BenchOptions = BenchOptions()
    train: TrainSettings = TrainSettings()


SETTINGS = BenchSettings
DESCRIPTION = """How fast a model trains and writes on this machine: inkling bench RECIPE|RUN [--key=value ...]

  inkling bench                                          GPT-2's 124M shape
  inkling bench shakespeare_char_cpu --what=train
  inkling bench gpt2_124m --batch_size=1 --block_size=1024 --context=512 --twin_tokens=3
  inkling bench runs/mine --dtype=float32 --profile=traces

A step is one micro-batch of random tokens unless --gradient_accumulation_steps says more. The share of the peak
is measured against the best square product of this machine, in the same minute. The last line is JSON."""


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if len(positional) > 1:
        raise UserError("bench takes one RECIPE or RUN.", "For example: inkling bench shakespeare_char_cpu", status=2)
    own = {field.name for field in fields(BenchOptions)}
    options, _ = build(BenchOptions, [Layer("flag", {name: flags[name] for name in flags if name in own})])
    name = positional[0] if positional else "gpt2_124m"
    main(name, options, shape_settings(name, {key: flags[key] for key in flags if key not in own}))


def shape_settings(name: str, flags: dict[str, str]) -> TrainSettings:
    """The settings of a recipe or of a run, with the flags on top. A step is one micro-batch unless they say more."""
    if name in recipe_names() or not _is_run(name):
        settings, _, _ = compose([name], flags)
    else:
        run = find_run(name)
        stored, _ = read_resolved(run)
        settings, _ = build(TrainSettings, [Layer(f"{run}/resolved.toml", stored), Layer("flag", flags)])
    if "gradient_accumulation_steps" not in flags and "tokens_per_step" not in flags:
        data = replace(settings.data, gradient_accumulation_steps=None, tokens_per_step=None)
        settings = replace(settings, data=data)
    return settings


def main(name: str, options: BenchOptions, settings: TrainSettings) -> dict[str, Any]:
    """Measure, print, and return what was printed as JSON."""
    _check(options)
    vocab_size, why = vocabulary_for(settings.data.dataset, settings.model.vocab_size)
    config = replace(settings.model, vocab_size=vocab_size).filled()
    runtime = decide(settings.runtime, rough_cpu_seconds(config, settings), config.n_embd)
    if runtime.world_size > 1:
        raise UserError("bench measures one process.", "Run it without torchrun.", status=2)
    with running(runtime):
        return measure(name, options, replace(settings, model=config), runtime, why)


def measure(
    name: str, options: BenchOptions, settings: TrainSettings, runtime: Runtime, why_vocabulary: str
) -> dict[str, Any]:
    """The peak, then training, then decoding."""
    config = settings.model
    shape = f"{config.n_layer} layers of {config.n_embd}, vocabulary {config.vocab_size} ({why_vocabulary})"
    print(f"model    {name}: {shape}")
    for reason in runtime.reasons:
        print(f"machine  {reason}")
    peak = measure_peak(runtime.device, runtime.dtype)
    published = published_peak(torch.cuda.get_device_name(), runtime.dtype) if runtime.device_type == "cuda" else None
    shown = f"{published / 1e12:,.0f} TFLOP/s published" if published else "published: n/a"
    print(f"peak     {peak / 1e9:,.0f} GFLOP/s in {runtime.dtype}, the best of square products 1024 to 4096; {shown}")
    found: dict[str, Any] = {
        "name": name,
        "model": asdict(config),
        "device": runtime.device,
        "dtype": runtime.dtype,
        "compile": runtime.compile,
        "threads": runtime.threads,
        "peak_flops": peak,
        "published_peak_flops": published,
        "machine": describe_machine(),
    }
    if options.what != "decode":
        found["train"] = bench_training(options, settings, runtime, peak, published)
    if options.what != "train":
        found["decode"] = bench_decoding(options, config, runtime, settings.runtime.seed)
    print(json.dumps(found))
    return found


# --- training ------------------------------------------------------------------------------------------------


def bench_training(
    options: BenchOptions, settings: TrainSettings, runtime: Runtime, peak: float, published: float | None
) -> dict[str, Any]:
    """Time whole steps: batch, forward, backward, clipping, update."""
    plan = plan_batches(settings.data, settings.model.block_size)
    learner = new_learner(new_model(settings.model, settings, runtime, parent=None), settings, runtime)
    learner.module.train()
    seed = settings.runtime.seed
    tokens = random_tokens(settings.model, seed, 64 * settings.model.block_size)

    def step() -> None:
        rows = [plan.first_row(learner.step, m) for m in range(plan.micro_steps)]
        batches = [get_batch(tokens, plan.block_size, seed, row, plan.batch_size) for row in rows]
        update(learner, batches, plan.tokens_per_step, settings.optimizer.grad_clip, plan, runtime, seed)
        learner.step += 1
        synchronize(runtime.device)

    if runtime.compile:
        print("train    compiling ...", flush=True)
    for _ in range(3):
        step()
    seconds = timed(step, options.steps)
    with tracing(options.profile, "train", runtime):
        step()
    return report_training(settings.model, plan, seconds, peak, published, peak_memory_bytes(runtime))


def report_training(
    config: GPTConfig, plan: BatchPlan, seconds: list[float], peak: float, published: float | None, memory: int
) -> dict[str, Any]:
    """Print and return the training step's figures."""
    median = statistics.median(seconds)
    flops = flops_per_token(config) * plan.tokens_per_step / median
    share, of_published = model_flops_utilization(flops, peak), model_flops_utilization(flops, published)
    print(
        f"train    {plan.tokens_per_step:,} tokens a step: {spread(seconds)}, {plan.tokens_per_step / median:,.0f} "
        f"tokens/s, {flops / 1e9:,.1f} GFLOP/s, {_percent(share)} of the measured peak, {_percent(of_published)} of "
        f"the published, {memory / 2**30:.2f} GiB"
    )
    return {
        "tokens_per_step": plan.tokens_per_step,
        "batch_size": plan.batch_size,
        "block_size": plan.block_size,
        **_summary(seconds),
        "tokens_per_second": plan.tokens_per_step / median,
        "flops_per_second": flops,
        "share_of_peak": share,
        "share_of_published_peak": of_published,
        "memory_bytes": memory,
    }


# --- decoding ------------------------------------------------------------------------------------------------


def bench_decoding(options: BenchOptions, config: GPTConfig, runtime: Runtime, seed: int) -> dict[str, Any]:
    """Time the engine, token by token, and if wanted its uncached twin."""
    new = max(2, min(options.new_tokens, config.block_size // 2))
    context = max(1, min(options.context, config.block_size - new))
    model = place_model(GPT(config, seed=seed), runtime.device, runtime.torch_dtype)
    model = model.to(dtype=runtime.torch_dtype).eval()  # as inkling.load does: cast once, not at every token
    prompts = [random_tokens(config, seed + row, context).tolist() for row in range(options.rows)]
    requests = [Request(prompt, new, seed=row) for row, prompt in enumerate(prompts)]
    decode_steps(model, [replace(request, max_new_tokens=2) for request in requests], runtime)  # sets up
    prefill, seconds = decode_steps(model, requests, runtime)
    twin = twin_steps(model, prompts[0], options.twin_tokens, runtime)
    with tracing(options.profile, "decode", runtime):
        decode_steps(model, [replace(request, max_new_tokens=6) for request in requests], runtime)
    return report_decoding(context, prefill, seconds, twin, options.rows, peak_memory_bytes(runtime))


def decode_steps(model: GPT, requests: list[Request], runtime: Runtime) -> tuple[float, list[float]]:
    """(seconds until the first token of each is known, seconds of each step after it)."""
    times, began = [], time.perf_counter()
    for index, _ in Engine(model, max_rows=len(requests)).stream(requests):
        if index == len(requests) - 1:
            synchronize(runtime.device)
            times.append(time.perf_counter() - began)
    return times[0], np.diff(times).tolist()


def twin_steps(model: GPT, prompt: list[int], count: int, runtime: Runtime) -> list[float]:
    """Seconds of each token when the whole context is computed for it, as GPT.generate does."""
    ids = fit_context(prompt, model.config.block_size)
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        ids = fit_context([*ids, *model.generate(ids, 1, temperature=0.8, top_k=200)], model.config.block_size)
        synchronize(runtime.device)
        seconds.append(time.perf_counter() - began)
    return seconds


def report_decoding(
    context: int, prefill: float, seconds: list[float], twin: list[float], rows: int, memory: int
) -> dict[str, Any]:
    """Print and return decoding's figures."""
    speed = rows / statistics.median(seconds)
    print(
        f"decode   {rows} × {context} tokens read in {1000 * prefill:,.0f} ms; then {spread(seconds)} a token, "
        f"{speed:,.1f} tokens/s, {memory / 2**30:.2f} GiB"
    )
    found: dict[str, Any] = {
        "context": context,
        "rows": rows,
        "prefill_seconds": prefill,
        **_summary(seconds),
        "tokens_per_second": speed,
        "memory_bytes": memory,
    }
    if twin:
        ratio = speed * statistics.median(twin)
        print(f"twin     without a cache: {spread(twin)} a token, {ratio:,.1f} times slower")
        found["twin"] = _summary(twin) | {"times_slower": ratio}
    return found


# --- small tools ---------------------------------------------------------------------------------------------


def random_tokens(config: GPTConfig, seed: int, count: int) -> np.ndarray:
    """`count` ids, each as likely as the other: (count,) uint32."""
    drawn = words(count, "bench", seed) % np.uint64(config.vocab_size)
    return drawn.astype(np.uint32)


def timed(step: Callable[[], None], count: int) -> list[float]:
    """Seconds of each of `count` calls."""
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return seconds


@contextmanager
def tracing(folder: str, what: str, runtime: Runtime) -> Iterator[None]:
    """Write a trace of the block to FOLDER/WHAT.json; without a folder, do nothing else than run it."""
    if not folder:
        return (yield)
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (runtime.device_type == "cuda")
    with profile(activities=activities, record_shapes=True) as profiler:
        yield
    Path(folder).mkdir(parents=True, exist_ok=True)
    file = Path(folder) / f"{what}.json"
    profiler.export_chrome_trace(str(file))
    print(f"trace    {file} (open it in chrome://tracing or ui.perfetto.dev)")


def spread(seconds: list[float]) -> str:
    """The median, and between what the middle half lies, in milliseconds."""
    low, high = np.quantile(seconds, (0.25, 0.75)) * 1000
    return f"{1000 * statistics.median(seconds):,.1f} ms ({low:,.1f} to {high:,.1f})"


def _summary(seconds: list[float]) -> dict[str, Any]:
    return {"median_seconds": statistics.median(seconds), "best_seconds": min(seconds), "count": len(seconds)}


def _percent(share: float | None) -> str:
    return "n/a" if share is None else f"{100 * share:.0f} %"


def _is_run(name: str) -> bool:
    try:
        find_run(name)
    except UserError:
        return False
    return True


def _check(options: BenchOptions) -> None:
    least = {"steps": 1, "context": 1, "new_tokens": 2, "rows": 1, "twin_tokens": 0}
    for name, minimum in least.items():
        if getattr(options, name) < minimum:
            raise UserError(f"{name}={getattr(options, name)} must be at least {minimum}.", status=2)
