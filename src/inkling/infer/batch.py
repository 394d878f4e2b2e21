"""Continuous batching: requests join and leave a running batch at any step.

Each step reads some of what rows have not read yet, and draws one token for every row that has nothing left to read.
The batch's own numbers decide nothing: a request's draws depend on its seed and its positions alone.
"""

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from inkling.infer.cache import KVCache
from inkling.infer.prefixes import Prefixes
from inkling.infer.reading import read
from inkling.infer.request import Request
from inkling.infer.row import Row
from inkling.infer.sampling import Likelihood, SamplingSettings, draw, likelihoods
from inkling.model.gpt import GPT


class Batch:
    """Rows that decode together, and those that wait for a place. For one thread at a time."""

    def __init__(
        self, model: GPT, max_rows: int = 64, chunk: int | None = None, reads: int | None = None, remember: int = 0
    ) -> None:
        """`chunk` cuts long prompts into pieces of so many tokens, of which each step reads about `reads` tokens, so
        that rows that decode never wait for a whole prompt; None reads all at once. `remember` tokens of prompts are
        kept, chunk by chunk, for requests to come that begin alike; the model's weights must not change then."""
        self.model, self.max_rows, self.chunk, self.reads = model, max_rows, chunk, reads
        self.prefixes = Prefixes(chunk, remember) if chunk and remember else None
        self.waiting: deque[Row] = deque()
        self.rows: list[Row] = []  # rows[i] is the request whose keys and values are in row i of the cache
        # Room is made when requests join: a server that is asked little takes little memory.
        weight = model.lm_head.weight
        self.cache = KVCache(model.config, 0, weight.device, model.compute_dtype, size=1)

    @property
    def is_busy(self) -> bool:
        """Whether there is anything left to do."""
        return bool(self.waiting or self.rows)

    def add(self, request: Request) -> Row:
        """Let `request`, which has been checked, join as soon as there is a free row."""
        row = Row(request)
        if request.max_new_tokens:
            self.waiting.append(row)
        return row

    def cancel(self, row: Row) -> None:
        """End `row`, wherever it is. Its place is free at the next step."""
        row.is_done = True
        if row in self.waiting:
            self.waiting.remove(row)

    def step(self) -> Iterator[tuple[Row, int]]:
        """(row, token) for every token that this step brings.

        A token is handed out before its hook is asked, so what the caller does with it can decide the hook's answer.
        Take all of them: rows whose token was left lying would wait for ever.
        """
        self._leave()
        self._join()
        ready, tokens, likely = self._compute()
        for i, token, likelihood in zip(ready, tokens, likely, strict=True):
            if not self.rows[i].is_done:  # the caller may have cancelled it meanwhile
                for new in self.rows[i].take(token, likelihood):
                    yield self.rows[i], new
        self._leave()

    # --- who takes part ----------------------------------------------------------------------------------

    def _join(self) -> None:
        while self.waiting and len(self.rows) < self.max_rows:
            row = self.waiting.popleft()
            if not row.is_done:
                self.rows.append(row)
        if self.rows:
            longest = max(len(row.request.ids) + row.request.max_new_tokens for row in self.rows)
            self.cache.grow(fixed_size(len(self.rows)), min(longest, self.model.config.block_size))

    def _leave(self) -> None:
        """Rows that are done make room; the last row moves into the gap."""
        for i in reversed(range(len(self.rows))):
            if self.rows[i].is_done:
                last = self.rows.pop()
                if i < len(self.rows):
                    self.rows[i] = last
                    self.cache.copy(len(self.rows), i)
                self.cache.reset(len(self.rows))

    # --- one step ----------------------------------------------------------------------------------------

    def _compute(self) -> tuple[list[int], list[int], list[Likelihood | None]]:
        """Which rows drew a token, the tokens, and how likely they were, where that is asked for."""
        was_training = self.model.training
        if was_training:  # dropout is for training only
            self.model.eval()
        try:
            with torch.inference_mode():
                ready = read(self.model, self.rows, self.cache, self.chunk, self.reads, self.prefixes)
                if not ready:
                    return [], [], []
                logits = self._logits(ready)  # (ready, V)
                rows = [self.rows[i] for i in ready]
                tokens = _draw_all(logits, rows)
                return ready, tokens, _note(logits, rows, tokens)
        finally:
            if was_training:
                self.model.train()

    def _logits(self, ready: list[int]) -> Tensor:
        """Read the last token of all rows → (ready, V), what comes next in those that have read all before it.

        The batch is filled up to a fixed size. Rows nobody has, and rows that still read, are computed along: what is
        stored for them lies behind their end, where their next tokens overwrite it.
        """
        size = fixed_size(len(self.rows))
        last = [row.context[-1] for row in self.rows] + [0] * (size - len(self.rows))
        part = self.cache.rows(0, size)
        x = self.model.hidden(torch.tensor(last, device=part.k.device).unsqueeze(1), part)  # (B, 1, C)
        part.lengths[sorted(set(range(size)).difference(ready))] -= 1
        logits = self.model.head(x[:, -1])  # (B, V)
        return logits if len(ready) == size else logits[ready]


def fixed_size(rows: int) -> int:
    """How many rows a batch for `rows` requests has: 1, 2, 3, 4, 6, 8, 12, 16, 24, … At most a third are idle.

    Few shapes, because kernels may sum in another order at another shape: at equal shapes a request's numbers are
    equal to the last bit, whoever its neighbours are.
    """
    power = 1 << (rows - 1).bit_length()
    return power * 3 // 4 if power >= 4 and rows <= power * 3 // 4 else power


def _draw_all(logits: Tensor, rows: list[Row]) -> list[int]:
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


def _note(logits: Tensor, rows: list[Row], tokens: list[int]) -> list[Likelihood | None]:
    """How likely the drawn tokens were, for the rows that want to know."""
    noted: list[Likelihood | None] = [None] * len(rows)
    for i, row in enumerate(rows):
        if row.request.alternatives is not None:
            noted[i] = likelihoods(logits[i], tokens[i], row.request.alternatives)
    return noted
