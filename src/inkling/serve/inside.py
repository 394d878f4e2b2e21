"""What the page asks beyond OpenAI's API: a look inside the model, and a look back at its training."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from inkling.errors import UserError
from inkling.serve.errors import ApiError
from inkling.serve.history import History, Question
from inkling.serve.looking import Choice, likeliest, logit_lens, look, piece, surprises
from inkling.serve.served import Served

# As much as fits on a page; attention grows with the square of it.
MAX_TOKENS, MAX_CHARACTERS = 128, 8_000
MAX_SAMPLE_TOKENS, MAX_PROMPT = 256, 2_000
# Likeliest tokens at each position: of the model itself, and of each layer before its end.
TOP, TOP_OF_LAYER = 10, 3
# Who looks, waits in one of the server's threads for the model. Of these there are forty.
MAX_WAITING = 8


TokenId = Annotated[int, Field(ge=0, lt=2**63)]


class InsideRequest(BaseModel):
    """A text, or the ids of one, and the layer whose attention to show (from 0; the last where it is left out)."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: str = Field(default="", max_length=MAX_CHARACTERS)
    ids: list[TokenId] | None = Field(default=None, max_length=MAX_TOKENS)
    layer: int | None = Field(default=None, ge=0)


class SampleRequest(BaseModel):
    """What a snapshot is asked, and which. `chat`: as a question, of a run that was taught to chat."""

    model_config = ConfigDict(extra="forbid", strict=True)
    step: int = Field(ge=0)
    prompt: str = Field(min_length=1, max_length=MAX_PROMPT)
    chat: bool = False
    max_tokens: int = Field(default=100, ge=1, le=MAX_SAMPLE_TOKENS)
    temperature: float = Field(default=0.0, ge=0, le=10)
    seed: int = Field(default=1337, ge=0, lt=2**63)


def inside_router(served: Served) -> APIRouter:
    """GET and POST /inside, GET /learning, POST /learning/sample. The application says what UserError and ApiError say
    (serve/errors.py)."""
    router = APIRouter(tags=["page"])
    history = History(served)
    queue = _Queue(MAX_WAITING)

    @router.get("/inside")
    def what_is_served() -> dict[str, Any]:
        """What the page wants to know before it asks anything."""
        config = served.model.config
        return {
            "model": served.name,
            "can_chat": served.can_chat,
            "layers": config.n_layer,
            "heads": config.n_head,
            "block_size": config.block_size,
            "vocab_size": config.vocab_size,
            "max_tokens": min(MAX_TOKENS, config.block_size),
            "max_characters": MAX_CHARACTERS,
        }

    @router.post("/inside")
    def inside(asked: InsideRequest) -> dict[str, Any]:
        """Tokens; the likeliest next ones at every position; the same layer by layer; one layer's attention."""
        with queue.place():
            return inside_of(served, asked)

    @router.get("/learning")
    def learning() -> dict[str, Any]:
        """The loss curve, and the steps of which there are snapshots."""
        with queue.place():
            return {"model": served.name, "has_run": served.run is not None, "can_chat": served.can_chat} | {
                "curve": history.curve(),
                "steps": history.steps(),
            }

    @router.post("/learning/sample")
    def sample(asked: SampleRequest) -> dict[str, Any]:
        """What one snapshot says to a prompt."""
        if asked.chat and not served.can_chat:
            raise UserError(f"{served.name} was never taught to chat.", "Leave chat out: it continues the prompt.")
        question = Question(asked.prompt, asked.chat, asked.max_tokens, asked.temperature, asked.seed)
        with queue.place():
            return {"step": asked.step, "text": history.sample(asked.step, question)}

    return router


def inside_of(served: Served, asked: InsideRequest) -> dict[str, Any]:
    """The answer of POST /inside. A token and its probability are a pair; `pieces` says what the tokens stand for."""
    model, tokenizer = served.model, served.tokenizer
    ids = _ids_of(served, asked)
    layer = model.config.n_layer - 1 if asked.layer is None else asked.layer
    if layer >= model.config.n_layer:
        raise UserError(f"There is no layer {layer}.", f"This model has the layers 0 to {model.config.n_layer - 1}.")
    with served.lock:
        seen = look(model, ids, layer)
    layers, lens = logit_lens(model, seen, TOP_OF_LAYER), []
    for _ in seen.streams:
        with served.lock:  # free between layers, so that answers go on meanwhile
            lens.append(next(layers))
    nexts = likeliest(seen.logits.softmax(dim=-1), TOP)
    shown = {*ids, *(token for row in [*nexts, *(row for one in lens for row in one.top)] for token, _ in row)}
    special = set(tokenizer.special_tokens.values())
    return {
        "model": served.name,
        "text": tokenizer.decode(i for i in ids if i not in special),
        "ids": ids,
        "surprise": [None if nats is None else round(nats, 4) for nats in surprises(seen.logits, ids)],
        "next": [_rounded(row) for row in nexts],
        "lens": [
            {"top": [_rounded(row) for row in one.top], "final": [round(p, 4) for p in one.final]} for one in lens
        ],
        "layer": layer,
        # Row i has i + 1 numbers: what comes later is not seen.
        "attention": [
            [[round(share, 3) for share in row[: i + 1]] for i, row in enumerate(head)]
            for head in seen.attention.tolist()
        ],
        "pieces": {i: piece(tokenizer, i) for i in sorted(shown)},
        "special": sorted(special & shown),
    }


def _ids_of(served: Served, asked: InsideRequest) -> list[int]:
    """What to look at; a text begins with the mark that the model was trained to see there, if it has one."""
    tokenizer, ids = served.tokenizer, asked.ids
    if ids is None:
        ids = tokenizer.encode(asked.text)
        ids = ids if tokenizer.bos is None else [tokenizer.bos, *ids]
    if not ids:
        raise UserError("There is no text to look at.", "Write some.")
    limit = min(MAX_TOKENS, served.model.config.block_size)
    if len(ids) > limit:
        raise UserError(f"This text has {len(ids)} tokens; {limit} fit.", "Shorten it.")
    outside = [i for i in ids if not 0 <= i < tokenizer.vocab_size]
    if outside:
        raise UserError(f"There is no token {outside[0]}.", f"The vocabulary has {tokenizer.vocab_size}.")
    return ids


def _rounded(choices: list[Choice]) -> list[tuple[int, float]]:
    return [(token, round(share, 4)) for token, share in choices]


class _Queue:
    """A bound on how many wait for the model."""

    def __init__(self, places: int) -> None:
        self._free = threading.BoundedSemaphore(places)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places. Raises ApiError where none is free."""
        if not self._free.acquire(blocking=False):
            raise ApiError(429, "Too many are looking at once. Try again in a second.", code="busy", retry_after=1)
        try:
            yield
        finally:
            self._free.release()
