"""One request on its way: what the model sees of it, and what has come."""

from collections.abc import Iterator

from inkling.infer.request import Request
from inkling.infer.sampling import Likelihood
from inkling.model.gpt import fit_context


class Row:
    """A request while it waits or decodes."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.context = list(request.ids)  # what the model sees, the newest token included
        self.given = len(self.context)  # how many of them stood there before the first was drawn
        self.new: list[int] = []
        self.likelihood: Likelihood | None = None
        """of the newest token, where the request wants it and the model drew it"""
        self.reused = 0
        """tokens of the prompt that had been read for another request"""
        self.is_done = False

    @property
    def key(self) -> tuple[int, int]:
        """What decides the next draw. The position counts from the prompt's first token, so a text that is
        taken up again with the same seed goes on as it would have."""
        return self.request.seed, len(self.request.ids) + len(self.new)

    def fit(self, block_size: int) -> bool:
        """Drop what does not fit the context; returns whether anything was dropped."""
        if len(self.context) <= block_size:
            return False
        self.context = fit_context(self.context, block_size)
        self.given = len(self.context)
        return True

    def take(self, token: int, likelihood: Likelihood | None) -> Iterator[int]:
        """Add a drawn token and whatever the hook then forces; yield each of them."""
        self._add(token, likelihood)
        yield token
        then = self.request.hook(self.new) if self.request.hook else "continue"
        if then == "stop":
            self.is_done = True
        elif then != "continue":
            for forced in then:
                if not self.is_done:
                    self._add(forced, None)
                    yield forced

    def _add(self, token: int, likelihood: Likelihood | None) -> None:
        self.context.append(token)
        self.new.append(token)
        self.likelihood = likelihood
        self.is_done = self.is_done or len(self.new) >= self.request.max_new_tokens
