"""From logits to the next token: greedy, or drawn from a distribution that may be sharpened and cut.

The order is fixed: repetition penalty, temperature, top-k, top-p, min-p, draw.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inkling.errors import UserError
from inkling.keyed import uniform


@dataclass(frozen=True)
class SamplingSettings:
    """sampling"""

    temperature: float = 0.8
    """below 1 sharpens the distribution, above 1 flattens it; 0 always takes the likeliest token"""
    top_k: int = 200
    """draw from the k likeliest tokens only; 0: off"""
    top_p: float = 1.0
    """draw from the likeliest tokens that together hold this probability; 1: off"""
    min_p: float = 0.0
    """drop tokens less likely than this share of the likeliest; 0: off"""
    repetition_penalty: float = 1.0
    """above 1 makes tokens that the context holds less likely; 1: off"""


@dataclass(frozen=True)
class Likelihood:
    """How likely a drawn token was, and the likeliest tokens at its place, likeliest first: natural logarithms."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


def check_sampling(settings: SamplingSettings) -> None:
    """Refuse what has no meaning. Raises UserError."""
    s, penalty = settings, settings.repetition_penalty
    wrong = [
        (not 0 <= s.temperature < math.inf, f"temperature={s.temperature}", "0 or more"),
        (s.top_k < 0, f"top_k={s.top_k}", "0 (off) or more"),
        (not 0 < s.top_p <= 1, f"top_p={s.top_p}", "above 0 and at most 1 (off)"),
        (not 0 <= s.min_p < 1, f"min_p={s.min_p}", "at least 0 (off) and below 1"),
        (not 0 < penalty < math.inf, f"repetition_penalty={penalty}", "above 0; 1 is off"),
    ]
    for is_wrong, what, allowed in wrong:
        if is_wrong:
            raise UserError(f"Cannot sample with {what}.", f"It must be {allowed}.", status=2)


def draw(
    logits: Tensor,
    settings: SamplingSettings,
    keys: Sequence[tuple[int, int]],
    contexts: Sequence[Sequence[int]] = (),
) -> list[int]:
    """One token for each row of logits (B, V).

    Row i is drawn with the random number of keys[i], its (request seed, position), and with no other, so
    that what a request says does not depend on which requests decode beside it. `contexts`, the ids that
    each row has seen, are wanted by the repetition penalty only.
    """
    logits = logits.float()
    if logits.device.type == "mps":  # Apple GPUs have no float64, which the sum below needs
        logits = logits.cpu()
    broken = logits.amax(dim=-1).isnan()  # a NaN anywhere is the largest
    if settings.repetition_penalty != 1:
        logits = penalize_repetition(logits, contexts, settings.repetition_penalty)
    if settings.temperature == 0:
        tokens = logits.argmax(dim=-1)
    else:
        numbers = [uniform("draw", *key) for key in keys]
        if settings.top_k:
            short, ids = shortlist(logits, settings.top_k)  # both (B, at least k)
            places = inverse_cdf(weights(short, settings), numbers).clamp(max=ids.size(1) - 1)  # NaN is at no place
            tokens = ids.gather(1, places.unsqueeze(1)).squeeze(1)
        else:
            tokens = inverse_cdf(weights(logits, settings), numbers)
    chosen: list[int] = tokens.masked_fill(broken, -1).tolist()
    if -1 in chosen:
        raise UserError(
            "The model's output is not a number (NaN): there is nothing to draw from.",
            "Its weights may have diverged in training; with --dtype=float16, try float32 or bfloat16.",
        )
    return chosen


def weights(logits: Tensor, settings: SamplingSettings) -> Tensor:
    """Logits (B, V) → what is drawn from, (B, V): 1 for the likeliest, 0 for what was cut.

    Softmax without its division: only ratios matter from here on, and no row's sum depends on what else was added.
    """
    # The largest becomes 0 first, so that a small temperature cannot make an infinity out of it; and float32
    # must not round that temperature to 0.
    temperature = max(settings.temperature, 1e-30)
    p = ((logits - logits.amax(dim=-1, keepdim=True)) / temperature).exp()
    if settings.top_k:
        p = keep_top_k(p, settings.top_k)
    if settings.top_p < 1:
        p = keep_top_p(p, settings.top_p)
    if settings.min_p:
        p = keep_min_p(p, settings.min_p)
    return p


def penalize_repetition(logits: Tensor, contexts: Sequence[Sequence[int]], penalty: float) -> Tensor:
    """Divide positive logits of tokens already seen by `penalty` and multiply negative ones: both fall.

    Keskar et al. 2019, "CTRL", which divides only.
    """
    seen = torch.zeros_like(logits, dtype=torch.bool)  # (B, V)
    for row, ids in enumerate(contexts):
        seen[row, torch.tensor(list(set(ids)), dtype=torch.int64, device=logits.device)] = True
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def shortlist(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Of logits (B, V) the k largest of each row, those equal to the last of them, and perhaps others, in the order of
    their ids; and the ids. To weigh and add up 200 numbers instead of 50,257 makes a draw three times as fast."""
    k = min(k, logits.size(-1))
    largest, ids = logits.topk(min(k + 1, logits.size(-1)), dim=-1)  # two (B, k + 1)
    least = largest[:, k - 1 : k]  # (B, 1)
    if (largest[:, -1:] == least).any():
        ids = logits.topk(int((logits >= least).sum(dim=-1).max()), dim=-1).indices
    ids = ids.sort(dim=-1).values
    return logits.gather(1, ids), ids


def keep_top_k(p: Tensor, k: int) -> Tensor:
    """The k likeliest tokens, and those exactly as likely as the last of them. Fan et al. 2018,
    "Hierarchical Neural Story Generation"."""
    least = p.topk(min(k, p.size(-1)), dim=-1).values[:, -1:]  # (B, 1)
    return p.masked_fill(p < least, 0.0)


def keep_top_p(p: Tensor, share: float) -> Tensor:
    """The nucleus: the fewest tokens that together hold `share` of the probability. Holtzman et al. 2020,
    "The Curious Case of Neural Text Degeneration"."""
    ordered, index = p.sort(dim=-1, descending=True, stable=True)  # (B, V)
    line = ordered.cumsum(dim=-1)
    likelier = line - ordered  # the probability of all that stand before
    # The end of the line, and not p.sum(): that adds up in another order when other rows are there.
    is_outside = likelier >= share * line[:, -1:]
    is_outside[:, 0] = False
    return torch.zeros_like(p).scatter(-1, index, ordered.masked_fill(is_outside, 0.0))


def keep_min_p(p: Tensor, share: float) -> Tensor:
    """Tokens at least `share` times as likely as the likeliest: the cut is deep where the model is sure and
    shallow where it is not. Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling"."""
    return p.masked_fill(p < share * p.amax(dim=-1, keepdim=True), 0.0)


def inverse_cdf(p: Tensor, numbers: Sequence[float]) -> Tensor:
    """Weights (B, V) and a number in [0, 1) for each row → (B,) tokens.

    Lay the weights end to end; the number says how far along the line to look, and the token is the one
    found there. Unlike `torch.multinomial`, one known number decides.
    """
    line = p.double().cumsum(dim=-1)  # (B, V); in float32 a vocabulary of 50,000 would round away its tail
    total = line[:, -1:]
    spot = torch.tensor(numbers, dtype=torch.float64, device=p.device).unsqueeze(1) * total  # (B, 1)
    spot = spot.minimum(torch.nextafter(total, torch.zeros_like(total)))  # rounding must not reach the end
    return torch.searchsorted(line, spot, right=True).squeeze(1)


def likelihoods(logits: Tensor, token: int, alternatives: int) -> Likelihood:
    """What the model itself said of `token` at logits (V,): before temperature, penalties and cuts."""
    logprobs = logits.float().log_softmax(dim=-1)
    values, ids = logprobs.topk(min(alternatives, len(logprobs)))
    return Likelihood(token, float(logprobs[token]), tuple(zip(ids.tolist(), values.tolist(), strict=True)))
