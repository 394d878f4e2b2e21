"""The one engine: requests in, tokens out. Dialogue, tools, evaluation and serving are built on it.

It knows token ids only. Many requests decode in one batch (see batch.py), each with its own prompt, settings, seed
and end, and none can tell who its neighbours are.
"""

from collections.abc import Iterator, Sequence

from inkling.infer.batch import Batch
from inkling.infer.request import Hook, Request, Then, check_request
from inkling.infer.sampling import SamplingSettings
from inkling.infer.textstream import TextStream
from inkling.keyed import seed_for
from inkling.model.gpt import GPT
from inkling.text.tokenizer import Tokenizer

__all__ = ["Engine", "Hook", "Request", "Then", "generate", "sample_seed"]


class Engine:
    """Decodes with a model that stays the caller's: weights are read and never kept in another form."""

    def __init__(self, model: GPT, max_rows: int = 64) -> None:
        """`max_rows` bounds the batch, and with it the cache; further requests wait for a free row."""
        self.model = model
        self.max_rows = max_rows

    def generate(self, requests: Sequence[Request]) -> list[list[int]]:
        """The new ids of each request, prompts not included."""
        new: list[list[int]] = [[] for _ in requests]
        for index, token in self.stream(requests):
            new[index].append(token)
        return new

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[int, int]]:
        """(index of the request, token) as soon as the token is known.

        A token is handed out before its hook is asked, so what the caller does with it can decide the
        hook's answer. Raises UserError for a request that cannot be served, before any token.
        """
        for request in requests:
            check_request(request, self.model.config.vocab_size)
        return self._run(requests)

    def _run(self, requests: Sequence[Request]) -> Iterator[tuple[int, int]]:
        batch = Batch(self.model, self.max_rows)
        index = {batch.add(request): i for i, request in enumerate(requests)}
        while batch.is_busy:
            for row, token in batch.step():
                yield index[row], token


def sample_seed(seed: int, sample: int) -> int:
    """The request seed of sample number `sample`: samples of one prompt differ from the first token on."""
    return seed_for("sample", seed, sample)


def generate(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    max_new_tokens: int = 200,
    temperature: float = 0.8,
    top_k: int = 200,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    stop: str = "",
    seed: int = 1337,
) -> str:
    """The text that continues `prompt`, without it. This is `inkling.generate`.

    Equal to the first sample of the command `sample` with the same settings. Raises UserError for an empty
    prompt, or one that the tokenizer cannot encode.
    """
    sampling = SamplingSettings(temperature, top_k, top_p, min_p, repetition_penalty)
    text = TextStream(tokenizer, [stop])
    request = Request(
        [*tokenizer.prefix, *tokenizer.encode(prompt)],
        max_new_tokens,
        sampling,
        sample_seed(seed, 0),
        hook=text.hook,
    )
    pieces = [text.push(token) for _, token in Engine(model).stream([request])]
    return "".join(pieces) + text.finish()
