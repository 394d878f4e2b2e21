"""The one engine: requests in, tokens out. Dialogue, tools, evaluation and serving are built on it.

It knows token ids only. Many requests decode in one batch, each with its own prompt, settings, seed and
end, and none can tell who its neighbours are.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from inkling.errors import UserError
from inkling.infer.cache import KVCache
from inkling.infer.sampling import SamplingSettings, check_sampling, draw
from inkling.infer.textstream import TextStream
from inkling.keyed import seed_for
from inkling.model.gpt import GPT, fit_context
from inkling.text.tokenizer import Tokenizer

# After a token that the model drew: go on, end here, or continue with these ids instead of drawing.
Then = Literal["continue", "stop"] | list[int]
Hook = Callable[[Sequence[int]], Then]

# How prompts are read together. 256 prompts of 10 to 30 tokens, each continued by 5 to 40, 4 layers, 256 wide, one CPU
# core, against reading them one by one: 1.26 times as fast with 64 rows, 1.37 with 128, 1.44 with 256.
READ_TOGETHER = 2048  # tokens at once; more gain nothing, and take memory
FILLING = 1.34  # the longest of a group by the shortest: at most a quarter of what is read only fills it up


@dataclass(frozen=True)
class Request:
    """Continue `ids` by at most `max_new_tokens`.

    `hook` gets all new ids, forced ones included, after each token that the model drew; the token it stops
    on is part of the result. Ids that it forces count as new tokens, and the model reads them as if it had
    drawn them.
    """

    ids: Sequence[int]
    max_new_tokens: int
    sampling: SamplingSettings = SamplingSettings()
    seed: int = 1337
    hook: Hook | None = None


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
            self._check(request)
        return self._run(requests)

    def _run(self, requests: Sequence[Request]) -> Iterator[tuple[int, int]]:
        waiting = deque(_Row(i, request) for i, request in enumerate(requests) if request.max_new_tokens)
        rows: list[_Row] = []  # rows[i] is the request whose keys and values are in row i of the cache
        cache = self._make_cache(requests)
        while waiting or rows:
            while waiting and len(rows) < self.max_rows:
                cache.reset(len(rows))
                rows.append(waiting.popleft())
            for row, token in zip(rows, self._next_tokens(rows, cache), strict=True):
                for new in row.take(token):
                    yield row.index, new
            for i in reversed(range(len(rows))):
                if rows[i].is_done:  # the last row moves into the gap
                    last = rows.pop()
                    if i < len(rows):
                        rows[i] = last
                        cache.copy(len(rows), i)

    # --- one step ----------------------------------------------------------------------------------------

    def _next_tokens(self, rows: "list[_Row]", cache: KVCache) -> list[int]:
        """Read what each row has not read yet, and draw one token for each."""
        was_training = self.model.training
        if was_training:  # dropout is for training only
            self.model.eval()
        try:
            with torch.inference_mode():
                self._prefill(rows, cache)
                last = torch.tensor([[row.context[-1]] for row in rows], device=cache.k.device)  # (B, 1)
                x = self.model.hidden(last, cache.rows(0, len(rows)))  # (B, 1, C)
                return _draw_all(self.model.head(x[:, -1]), rows)
        finally:
            if was_training:
                self.model.train()

    def _prefill(self, rows: "list[_Row]", cache: KVCache) -> None:
        """Bring every row to where only its last token is unread; that one is read by all rows together.

        A row that is only decoding is there already. Prompts, and contexts that overflowed and start anew, are read
        many at once, and what several rows have in common is read once; ids that were forced, row by row.
        """
        fresh: dict[tuple[int, ...], list[int]] = {}  # what is read from its beginning → the rows that want it
        for i, row in enumerate(rows):
            fitted = fit_context(row.context, self.model.config.block_size)
            if len(fitted) < len(row.context):
                row.context = fitted
                cache.reset(i)
            unread = row.context[cache.lengths[i] : -1]
            if unread and cache.lengths[i]:
                self.model.hidden(torch.tensor([unread], device=cache.k.device), cache.rows(i, i + 1))
            elif unread:
                fresh.setdefault(tuple(unread), []).append(i)
        for texts in _alike(fresh):
            read = self._read(texts)
            for source, text in enumerate(texts):
                for i in fresh[text]:
                    cache.copy(source, i, read)

    def _read(self, texts: list[tuple[int, ...]]) -> KVCache:
        """A cache with one row for each text.

        Short texts are filled up on the right with a token that nothing sees: attention looks back only. What was
        stored for it lies behind the row's end, where the next tokens overwrite it.
        """
        weight, longest = self.model.lm_head.weight, max(map(len, texts))
        cache = KVCache(self.model.config, len(texts), weight.device, self.model.compute_dtype, longest)
        filled = [[*text, *[0] * (longest - len(text))] for text in texts]
        self.model.hidden(torch.tensor(filled, device=weight.device), cache)  # (texts, longest, C)
        cache.lengths[:] = [len(text) for text in texts]
        return cache

    def _make_cache(self, requests: Sequence[Request]) -> KVCache:
        longest = max((len(request.ids) + request.max_new_tokens for request in requests), default=1)
        weight = self.model.lm_head.weight
        rows = min(len(requests), self.max_rows)
        size = min(longest, self.model.config.block_size)
        return KVCache(self.model.config, rows, weight.device, self.model.compute_dtype, size)

    def _check(self, request: Request) -> None:
        vocab_size = self.model.config.vocab_size
        if not len(request.ids):
            raise UserError("The prompt is empty: there is nothing to continue.", "Give at least one token.")
        outside = [token for token in request.ids if not 0 <= token < vocab_size]
        if outside:
            raise UserError(
                f"Token {outside[0]} is not in the model's vocabulary of {vocab_size}.",
                "Use the tokenizer that the model was trained with.",
            )
        if request.max_new_tokens < 0:
            raise UserError(f"max_new_tokens={request.max_new_tokens} is negative.", status=2)
        check_sampling(request.sampling)


class _Row:
    """A request while it decodes."""

    def __init__(self, index: int, request: Request) -> None:
        self.index = index
        self.request = request
        self.context = list(request.ids)  # what the model sees, the newest token included
        self.new: list[int] = []
        self.is_done = False

    @property
    def key(self) -> tuple[int, int]:
        """What decides the next draw. The position counts from the prompt's first token, so a text that is
        taken up again with the same seed goes on as it would have."""
        return self.request.seed, len(self.request.ids) + len(self.new)

    def take(self, token: int) -> Iterator[int]:
        """Add a drawn token and whatever the hook then forces; yield each of them."""
        self._add(token)
        yield token
        then = self.request.hook(self.new) if self.request.hook else "continue"
        if then == "stop":
            self.is_done = True
        elif then != "continue":
            for forced in then:
                if not self.is_done:
                    self._add(forced)
                    yield forced

    def _add(self, token: int) -> None:
        self.context.append(token)
        self.new.append(token)
        self.is_done = len(self.new) >= self.request.max_new_tokens


def _alike(texts: Iterable[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """Groups of similar length, to be read together."""
    group: list[tuple[int, ...]] = []
    for text in sorted(texts, key=len):
        if group and (len(text) > FILLING * len(group[0]) or len(text) * (len(group) + 1) > READ_TOGETHER):
            yield group
            group = []
        group.append(text)
    if group:
        yield group


def _draw_all(logits: Tensor, rows: list[_Row]) -> list[int]:
    """Draw for all rows (B, V); rows with equal settings are drawn together."""
    groups: dict[SamplingSettings, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.request.sampling, []).append(i)
    tokens = [0] * len(rows)
    for settings, members in groups.items():
        part = logits if len(members) == len(rows) else logits[members]
        keys = [rows[i].key for i in members]
        drawn = draw(part, settings, keys, [rows[i].context for i in members])
        for i, token in zip(members, drawn, strict=True):
            tokens[i] = token
    return tokens


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
        tokenizer.encode(prompt),
        max_new_tokens,
        sampling,
        sample_seed(seed, 0),
        hook=text.hook,
    )
    pieces = [text.push(token) for _, token in Engine(model).stream([request])]
    return "".join(pieces) + text.finish()
