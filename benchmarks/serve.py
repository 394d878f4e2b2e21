"""The server under load, and the engine's batches, on this machine.

    python benchmarks/serve.py load --clients 32 --seconds 60     clients that stream at once and leave at random
    python benchmarks/serve.py throughput --rounds 3              16 streams against 1, beside transformers' generate

GPT-2's 124M shape with random weights, unless --small. Each part prints a Markdown table.
"""

import argparse
import gc
import itertools
import random
import socket
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import openai
import psutil
import torch

from inkling.hub.load import place_model
from inkling.infer.engine import Engine, Request
from inkling.infer.packed import can_pack, pack
from inkling.infer.sampling import SamplingSettings
from inkling.model.config import PRESETS, GPTConfig
from inkling.model.cost import kv_cache_bytes
from inkling.model.gpt import GPT
from inkling.runtime import Runtime, RuntimeSettings, decide, start
from inkling.serve.app import make_app
from inkling.serve.limits import LimitSettings
from inkling.serve.listening import make_server
from inkling.serve.served import Served
from inkling.text.tokenizer_sources import gpt2_tokenizer

PROMPT, NEW = 32, 128
SAMPLING = SamplingSettings(0.8, 200)


def make_model(is_small: bool, dtype: torch.dtype) -> GPT:
    """Random weights."""
    sizes: dict[str, Any] = {"n_layer": 2, "n_head": 4, "n_embd": 128} if is_small else {}
    config = GPTConfig(**PRESETS["gpt2"] | {"vocab_size": 50257} | sizes)
    model = place_model(GPT(config, seed=1), "cpu", dtype).to(dtype).eval()
    if can_pack(model):  # as the server does
        pack(model)
    return model


def prompt(number: int, length: int = PROMPT) -> list[int]:
    """Ids, another text for each number."""
    return [(number * 7919 + i * 97) % 50257 for i in range(length)]


# --- streams ---------------------------------------------------------------------------------------------


def stream(model: GPT, rows: int) -> tuple[float, list[float]]:
    """(seconds until all first tokens are known, seconds of each step after them)."""
    requests = [Request(prompt(i), NEW, SAMPLING, seed=i) for i in range(rows)]
    times, began = [], time.perf_counter()
    for index, _ in Engine(model, max_rows=rows).stream(requests):
        if index == rows - 1:
            times.append(time.perf_counter() - began)
    return times[0], [b - a for a, b in itertools.pairwise(times)]


def theirs(rows: int, dtype: torch.dtype, is_small: bool) -> float:
    """Seconds of a step of transformers' generate for so many rows, its prefill included in none."""
    import transformers

    sizes = {"n_layer": 2, "n_head": 4, "n_embd": 128} if is_small else {}
    torch.manual_seed(1)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).to(dtype).eval()
    times: list[float] = []

    class Clock(transformers.StoppingCriteria):
        def __call__(self, ids, scores, **_):
            times.append(time.perf_counter())
            return torch.zeros(len(ids), dtype=torch.bool)

    ids = torch.tensor([prompt(i) for i in range(rows)])
    with torch.inference_mode():
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW,
            min_new_tokens=NEW,
            do_sample=True,
            temperature=0.8,
            top_k=200,
            pad_token_id=50256,
            stopping_criteria=[Clock()],
        )
    return statistics.median(b - a for a, b in itertools.pairwise(times))


def bandwidth() -> float:
    """Bytes a second that the cores read together: the sum of a gigabyte, the best of five."""
    numbers = torch.ones(2**28)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        numbers.sum()
        seconds.append(time.perf_counter() - began)
    return numbers.numel() * 4 / min(seconds)


def throughput(arguments: argparse.Namespace, runtime: Runtime) -> None:
    """Tokens a second of 1 and of many streams; and of what a stream could be, were reading weights all it did."""
    model = make_model(arguments.small, runtime.torch_dtype)
    size = runtime.torch_dtype.itemsize
    # Learned positions are looked up; all other weights are read for each token, and half the context on average.
    read = model.num_params() * size + kv_cache_bytes(model.config, tokens=PROMPT + NEW // 2, bytes_per_number=size)
    steps: dict[int, list[float]] = {1: [], arguments.streams: []}
    firsts: dict[int, list[float]] = {1: [], arguments.streams: []}
    reference: dict[int, list[float]] = {1: [], arguments.streams: []}
    speeds = []
    stream(model, 1)
    for _ in range(arguments.rounds):
        speeds.append(bandwidth())
        for rows in steps:
            first, seconds = stream(model, rows)
            firsts[rows].append(first)
            steps[rows].append(statistics.median(seconds))
            if not arguments.alone:
                reference[rows].append(theirs(rows, runtime.torch_dtype, arguments.small))
    speed = statistics.median(speeds)
    print(f"dtype {runtime.dtype}, {runtime.threads} threads, memory read at {speed / 1e9:.1f} GB/s\n")
    print("| streams | inkling, ms a step | tokens/s | first token, ms | transformers, ms a step | tokens/s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for rows in steps:
        own, first = statistics.median(steps[rows]), statistics.median(firsts[rows])
        spread = f"{1000 * min(steps[rows]):.1f} to {1000 * max(steps[rows]):.1f}"
        other = statistics.median(reference[rows]) if reference[rows] else float("nan")
        print(
            f"| {rows} | {1000 * own:.1f} ({spread}) | {rows / own:.1f} | {1000 * first:.0f} "
            f"| {1000 * other:.1f} | {rows / other:.1f} |"
        )
    one, many = (statistics.median(seconds) for seconds in steps.values())
    print(f"\n{arguments.streams} streams: {arguments.streams * one / many:.1f} times the tokens/s of one.")
    print(f"One stream: {read / speed / one:.0%} of what reading {read / 1e6:.0f} MB a token allows.")


# --- clients ---------------------------------------------------------------------------------------------


class Load:
    """Clients that ask, read some of the answer, and often leave before its end."""

    def __init__(self, address: str, seconds: float) -> None:
        self.address, self.end = address, time.monotonic() + seconds
        self.first_tokens: list[float] = []
        self.counts = {"whole": 0, "left": 0, "429": 0, "tokens": 0}
        self.errors: list[str] = []

    def run(self, clients: int) -> None:
        """All of them, until the time is up."""
        threads = [threading.Thread(target=self._client, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, number: int) -> None:
        dice = random.Random(number)
        client = openai.OpenAI(base_url=f"{self.address}/v1", api_key="none", max_retries=0, timeout=120)
        while time.monotonic() < self.end:
            try:
                self._ask(client, dice)
            except openai.RateLimitError as error:
                self.counts["429"] += 1
                time.sleep(min(float(error.response.headers["retry-after"]), 2.0))
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}")

    def _ask(self, client: openai.OpenAI, dice: random.Random) -> None:
        leaves_after = dice.choice([None, dice.randrange(0, 60)])
        began = time.monotonic()
        answer = client.completions.create(
            model="benchmark",
            prompt=prompt(dice.randrange(1000), dice.randrange(1, 200)),
            max_tokens=dice.randrange(8, NEW),
            seed=dice.randrange(1000),
            stream=True,
        )
        with answer:
            for count, _ in enumerate(answer):
                if count == 0:
                    self.first_tokens.append(time.monotonic() - began)
                self.counts["tokens"] += 1
                if count == leaves_after:
                    self.counts["left"] += 1
                    return
        self.counts["whole"] += 1


def load(arguments: argparse.Namespace, runtime: Runtime) -> None:
    """32 clients at once: errors, places that are not given back, memory."""
    model = make_model(arguments.small, runtime.torch_dtype)
    app = make_app(Served("benchmark", model, gpt2_tokenizer(arguments.vocabulary), None, False), LimitSettings())
    server = make_server(app, "127.0.0.1", 0, 512, 5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        memory = []
        for share in (0.2, 0.4, 0.4):  # the first fills caches and pools
            part = Load(address, arguments.seconds * share)
            part.run(arguments.clients)
            gc.collect()
            memory.append(psutil.Process().memory_info().rss)
            _show(part, arguments.seconds * share, memory[-1])
        end = time.monotonic() + 10
        while app.state.scheduler.unfinished and time.monotonic() < end:
            time.sleep(0.01)
        print(f"\nplaces not given back: {app.state.scheduler.unfinished}; ", end="")
        print(f"memory from the second part to the third: {(memory[2] - memory[1]) / 2**20:+.0f} MiB")
        server.should_exit = True
        thread.join()


def _show(part: Load, seconds: float, memory: int) -> None:
    waits = sorted(part.first_tokens)
    middle, late = (1000 * waits[int(share * (len(waits) - 1))] for share in (0.5, 0.95))
    print(
        f"{seconds:.0f} s: {part.counts['whole']} whole answers, {part.counts['left']} left early, "
        f"{part.counts['429']} refused with 429, {len(part.errors)} errors {part.errors[:2] or ''}; "
        f"{part.counts['tokens'] / seconds:.0f} pieces/s; first token {middle:.0f} ms median, {late:.0f} ms at 95 %; "
        f"memory {memory / 2**20:.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["load", "throughput"])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--small", action="store_true", help="2 layers of 128, to try it out")
    parser.add_argument("--alone", action="store_true", help="without transformers")
    parser.add_argument("--vocabulary", type=Path, default=None, help="a folder with vocab.bpe and encoder.json")
    arguments = parser.parse_args()
    runtime = decide(RuntimeSettings(device="cpu", dtype=arguments.dtype, compile=False))
    start(runtime)
    {"load": load, "throughput": throughput}[arguments.part](arguments, runtime)


if __name__ == "__main__":
    main()
