"""Cached decoding of GPT-2's 124M shape at context 512: inkling beside transformers and beside its own uncached twin.

    python benchmarks/decoding.py --rounds 3

Random weights, one text, float32 unless --dtype says otherwise; the two take turns, so that a machine whose speed
drifts slows both. Prints a Markdown table: the median of all tokens after the first.
"""

import argparse
import itertools
import statistics
import time

import torch
import transformers

from inkling.hub.load import place_model
from inkling.infer.engine import Engine, Request
from inkling.infer.sampling import SamplingSettings
from inkling.model.config import PRESETS, GPTConfig
from inkling.model.gpt import GPT
from inkling.runtime import RuntimeSettings, decide, start


def inkling_tokens(model: GPT, prompt: list[int], count: int) -> list[float]:
    """Seconds of each token after the first, sampled with top-k 200."""
    times = [time.perf_counter()]
    for _ in Engine(model).stream([Request(prompt, count + 1, SamplingSettings(0.8, 200))]):
        times.append(time.perf_counter())
    return [b - a for a, b in itertools.pairwise(times[1:])]


def transformers_tokens(model: transformers.GPT2LMHeadModel, prompt: list[int], count: int) -> list[float]:
    """The same by its own `generate`."""
    times: list[float] = []

    class Clock(transformers.StoppingCriteria):
        def __call__(self, ids, scores, **_):
            times.append(time.perf_counter())
            return torch.zeros(len(ids), dtype=torch.bool)

    with torch.inference_mode():
        model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            max_new_tokens=count + 1,
            min_new_tokens=count + 1,
            do_sample=True,
            temperature=0.8,
            top_k=200,
            pad_token_id=50256,
            stopping_criteria=[Clock()],
        )
    return [b - a for a, b in itertools.pairwise(times)]


def twin_tokens(model: GPT, prompt: list[int], count: int) -> list[float]:
    """The same by the uncached GPT.generate."""
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        model.generate(prompt, 1, 0.8, 200)
        seconds.append(time.perf_counter() - began)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--dtype", default="auto")
    arguments = parser.parse_args()
    runtime = decide(RuntimeSettings(device="cpu", dtype=arguments.dtype))
    start(runtime)
    dtype = runtime.torch_dtype
    ours = place_model(GPT(GPTConfig(**PRESETS["gpt2"], vocab_size=50257), seed=1), "cpu", dtype).to(dtype).eval()
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config()).to(dtype).eval()
    prompt = [i * 97 % 50257 for i in range(512)]
    found: dict[str, list[float]] = {"inkling": [], "transformers": [], "inkling, uncached": []}
    inkling_tokens(ours, prompt[:9], 4)
    transformers_tokens(theirs, prompt[:9], 4)
    for _ in range(arguments.rounds):
        found["inkling"] += inkling_tokens(ours, prompt, arguments.tokens)
        found["transformers"] += transformers_tokens(theirs, prompt, arguments.tokens)
        found["inkling, uncached"] += twin_tokens(ours, prompt, 3)
    print(f"dtype {runtime.dtype}, {runtime.threads} threads, transformers {transformers.__version__}\n")
    print("| who | ms a token, median | middle half | tokens/s |")
    print("| --- | --- | --- | --- |")
    for who, seconds in found.items():
        low, median, high = (1000 * q for q in statistics.quantiles(seconds, n=4))
        print(f"| {who} | {median:.1f} | {low:.1f} to {high:.1f} | {1000 / median:.1f} |")


if __name__ == "__main__":
    main()
