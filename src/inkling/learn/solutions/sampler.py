"""Exercise 7: the sampler. From logits to the next token, and from tokens to a text that ends.

Shapes: V vocabulary. A model here is anything with model(ids) → logits, (1, T) → (1, T, V).
"""

from collections.abc import Callable

import torch
from torch import Tensor


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """(V,) → (V,): −∞ for every token that is less likely than the k-th likeliest. k = 0 keeps all."""
    if not 0 < k < len(logits):
        return logits
    return logits.masked_fill(logits < logits.topk(k).values[-1], float("-inf"))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """(V,) → (V,): −∞ outside the nucleus, the fewest likeliest tokens whose probabilities add up to p or more.

    A token belongs to it when those likelier than it hold less than p together; so the likeliest always stays.
    """
    ordered, ids = logits.sort(descending=True)
    share = ordered.softmax(dim=-1)
    likelier = share.cumsum(dim=-1) - share  # what stands before each
    outside = likelier >= p
    return logits.index_fill(0, ids[outside], float("-inf"))


def draw(logits: Tensor, temperature: float, top_k: int, top_p: float, generator: torch.Generator) -> int:
    """The next token, from logits (V,): temperature, then top-k, then top-p, then a draw with `generator`.

    Temperature divides the logits; 0 means the likeliest token, always.
    """
    if temperature == 0:
        return int(logits.argmax())
    logits = keep_top_p(keep_top_k(logits / temperature, top_k), top_p)
    return int(torch.multinomial(logits.softmax(dim=-1), 1, generator=generator))


@torch.no_grad()
def generate(
    model: Callable[[Tensor], Tensor],
    ids: list[int],
    max_new_tokens: int,
    block_size: int,
    stop: int | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 1337,
) -> list[int]:
    """The tokens that the model adds to `ids`: at most `max_new_tokens`, and none from `stop` on.

    The model sees the last `block_size` tokens. The logits at the last position are about the next token. One
    generator with `seed` serves the whole text. `ids` itself stays as it was.
    """
    generator = torch.Generator().manual_seed(seed)
    new: list[int] = []
    while len(new) < max_new_tokens:
        window = [*ids, *new][-block_size:]
        logits = model(torch.tensor([window]))[0, -1]  # (V,)
        token = draw(logits, temperature, top_k, top_p, generator)
        if token == stop:
            break
        new.append(token)
    return new
