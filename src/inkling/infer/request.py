"""What the engine is asked: continue these ids, by these rules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from inkling.errors import UserError
from inkling.infer.sampling import SamplingSettings, check_sampling

# After a token that the model drew: go on, end here, or continue with these ids instead of drawing.
Then = Literal["continue", "stop"] | list[int]
Hook = Callable[[Sequence[int]], Then]


@dataclass(frozen=True)
class Request:
    """Continue `ids` by at most `max_new_tokens`.

    `hook` gets all new ids, forced ones included, after each token that the model drew; the token it stops
    on is part of the result. Ids that it forces count as new tokens, and the model reads them as if it had
    drawn them. `alternatives`: how many of the likeliest tokens to note beside each drawn one; None notes nothing.
    """

    ids: Sequence[int]
    max_new_tokens: int
    sampling: SamplingSettings = SamplingSettings()
    seed: int = 1337
    hook: Hook | None = None
    alternatives: int | None = None


def check_request(request: Request, vocab_size: int) -> None:
    """Refuse what cannot be served. Raises UserError."""
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
