"""How likely a model finds what continues a text: what several texts begin with is read once, the rest in batches.

Choices of one question share all but their last words, and few-shot examples are nearly all of a question. The twin,
`score_alone`, reads each text whole and by itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inkling.infer.cache import KVCache
from inkling.model.gpt import GPT
from inkling.text.tokenizer import Tokenizer

# Places whose logits are computed at once: of GPT-2's vocabulary, 200 MB in float32.
HEAD_AT_ONCE = 1024


@dataclass(frozen=True)
class Span:
    """A text, `ids`, whose tokens from `start` on are scored. `start` is 1 at least: the first token has no
    prediction."""

    ids: Sequence[int]
    start: int


@dataclass(frozen=True)
class Scored:
    """What the model thinks of a span."""

    nats: float
    """-Σ ln p(token | all tokens before it), over the scored tokens"""
    tokens: int
    """how many were scored"""
    is_greedy: bool
    """whether each of them is the likeliest in its place"""


def beginning(tokenizer: Tokenizer) -> list[int]:
    """What stands before a text, so that its first token has a prediction: the beginning-of-sequence mark, or the
    end-of-text mark that ended the text before. Character and byte vocabularies have neither."""
    if tokenizer.prefix:
        return tokenizer.prefix
    mark = tokenizer.eot if tokenizer.bos is None else tokenizer.bos
    return [] if mark is None else [mark]


def cropped(span: Span, most: int) -> Span:
    """The last `most` ids of a span. Scored tokens that fall off, or lose all that they follow, are not scored."""
    cut = max(0, len(span.ids) - most)
    return Span(span.ids[cut:], max(1, span.start - cut))


@torch.inference_mode()
def score_alone(model: GPT, span: Span) -> Scored:
    """One span by itself, read whole: what `score_groups` must equal."""
    ids = torch.tensor([span.ids], device=model.lm_head.weight.device)  # (1, T + 1)
    logits = model(ids[:, :-1])[0, span.start - 1 :]  # (scored, V)
    nats, is_likeliest = _judge(logits, ids[0, span.start :])
    return Scored(nats.double().sum().item(), len(nats), bool(is_likeliest.all()))


@torch.inference_mode()
def score_groups(model: GPT, groups: Sequence[Sequence[Span]], batch_size: int) -> list[list[Scored]]:
    """Each span of each group. What all spans of a group begin with is computed once, and at most `batch_size` texts at
    a time.

    A span must fit the context: block_size + 1 ids, the last of which is not read. Does not depend on `batch_size` but
    for rounding (1e-4 in float32).
    """
    found: list[list[Scored]] = [[] for _ in groups]
    shared = [shared_length(group) for group in groups]
    order = sorted(range(len(groups)), key=lambda g: (shared[g], max(len(span.ids) for span in groups[g])))
    for first in range(0, len(order), batch_size):
        part = order[first : first + batch_size]
        prefixes = _read(model, [groups[g][0].ids[: shared[g]] for g in part])
        rows = [_Row(place, shared[g], span) for place, g in enumerate(part) for span in groups[g]]
        scored = [score for some in _pieces(rows, batch_size, model) for score in _score_rows(model, some, prefixes)]
        for row, score in zip(rows, scored, strict=True):
            found[part[row.prefix]].append(score)
    return found


def shared_length(spans: Sequence[Span]) -> int:
    """How many tokens all spans begin with; the token before the first scored one is left to be read by each."""
    if len(spans) == 1:  # nobody to share with: read in one go
        return 0
    most = min(span.start for span in spans) - 1
    first = spans[0].ids
    return next((i for i in range(most) if any(span.ids[i] != first[i] for span in spans[1:])), most)


@dataclass(frozen=True)
class _Row:
    """A span to be read from token `shared` on, behind what row `prefix` of the cache of prefixes has read."""

    prefix: int
    shared: int
    span: Span

    @property
    def rest(self) -> Sequence[int]:
        return self.span.ids[self.shared : -1]


def _pieces(rows: Sequence[_Row], batch_size: int, model: GPT) -> Iterator[list[_Row]]:
    """Rows that are read together, in their order. Short rows are filled up, which must not pass the context's end."""
    piece: list[_Row] = []
    for row in rows:
        longer = [*piece, row]
        reach = max(each.shared for each in longer) + max(len(each.rest) for each in longer)
        if piece and (len(piece) == batch_size or reach > model.config.block_size):
            yield piece
            longer = [row]
        piece = longer
    yield piece


def _read(model: GPT, texts: Sequence[Sequence[int]]) -> KVCache | None:
    """A cache in which row i has read texts[i]; None where there is nothing to read."""
    longest = max(map(len, texts))
    if not longest:
        return None
    weight = model.lm_head.weight
    cache = KVCache(model.config, len(texts), weight.device, model.compute_dtype, longest)
    model.hidden(_filled(texts, weight.device), cache)
    cache.lengths[:] = [len(text) for text in texts]  # what fills up lies behind, and is never looked at
    return cache


def _score_rows(model: GPT, rows: Sequence[_Row], prefixes: KVCache | None) -> list[Scored]:
    weight = model.lm_head.weight
    cache = None
    if prefixes is not None:
        size = max(row.shared for row in rows) + max(len(row.rest) for row in rows)
        cache = KVCache(model.config, len(rows), weight.device, model.compute_dtype, size)
        for i, row in enumerate(rows):
            cache.copy(row.prefix, i, prefixes)
    x = model.hidden(_filled([row.rest for row in rows], weight.device), cache)  # (B, T, C)
    row_of: list[int] = []
    place_of: list[int] = []
    targets: list[int] = []
    for i, row in enumerate(rows):
        scored = row.span.ids[row.span.start :]
        row_of += [i] * len(scored)
        place_of += range(row.span.start - 1 - row.shared, len(row.rest))
        targets += scored
    chosen = x[row_of, place_of]  # (scored, C)
    judged = [
        _judge(model.head(part), ids)
        for part, ids in zip(
            chosen.split(HEAD_AT_ONCE), torch.tensor(targets, device=x.device).split(HEAD_AT_ONCE), strict=True
        )
    ]
    counts = [len(row.span.ids) - row.span.start for row in rows]
    nats = torch.cat([some for some, _ in judged]).cpu().double().split(counts)
    is_likeliest = torch.cat([some for _, some in judged]).cpu().split(counts)
    return [
        Scored(some.sum().item(), len(some), bool(marks.all())) for some, marks in zip(nats, is_likeliest, strict=True)
    ]


def _filled(texts: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """(texts, longest): short texts are filled up on the right with a token that nothing sees."""
    longest = max(map(len, texts))
    return torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts], device=device)


def _judge(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """logits (N, V), targets (N,) → nats of each target, and whether it is the likeliest; both (N,)."""
    if logits.dtype != torch.float64:
        logits = logits.float()
    nats = -logits.log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return nats, logits.argmax(-1) == targets
