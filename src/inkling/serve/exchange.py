"""One request and its answers: into the queue of the engine's thread, and out of it to the client, streamed or whole.

A client that goes away ends its answers: whatever ends the waiting, they are cancelled.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from inkling.serve.choice import Choice, Piece
from inkling.serve.errors import ApiError, error_body
from inkling.serve.replies import Replies
from inkling.serve.scheduler import Busy, Job, Scheduler


class Exchange:
    """The answers to one request, while they come."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.choices: list[Choice] = []
        self._jobs: list[Job] = []
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[tuple[Choice, Piece]] = asyncio.Queue()

    def send(self, choice: Choice, piece: Piece) -> None:
        """What the engine's thread calls."""
        with suppress(RuntimeError):  # the loop has ended, and nobody listens any more
            self._loop.call_soon_threadsafe(self._news.put_nowait, (choice, piece))

    def begin(self, choices: Sequence[Choice], seconds: float) -> None:
        """Hand them to the engine. Raises ApiError where it is too busy."""
        self.choices = list(choices)
        self._jobs = [choice.job(seconds) for choice in choices]
        try:
            self.scheduler.submit(self._jobs)
        except Busy as busy:
            message = f"The server is busy. Try again in {busy.seconds} s."
            raise ApiError(429, message, code="busy", retry_after=busy.seconds) from None

    async def pieces(self) -> AsyncIterator[tuple[Choice, Piece]]:
        """What comes, until every choice has ended."""
        left = len(self.choices)
        while left:
            choice, piece = await self._news.get()
            left -= bool(piece.finish)
            yield choice, piece

    def cancel(self) -> None:
        """Nobody wants the rest."""
        self.scheduler.cancel(self._jobs)

    @property
    def usage(self) -> dict[str, Any]:
        """Tokens read and said. A prompt counts once, however many answers it has."""
        prompts = {id(choice.request.ids): len(choice.request.ids) for choice in self.choices}
        prompt, said = sum(prompts.values()), sum(choice.tokens for choice in self.choices)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": said,
            "total_tokens": prompt + said,
            "prompt_tokens_details": {"cached_tokens": min(prompt, max((job.reused for job in self._jobs), default=0))},
        }


async def answer(exchange: Exchange, replies: Replies, request: Request, stream: bool, wants_usage: bool) -> Response:
    """The response to a request whose choices have begun."""
    if stream:
        return _Stream(exchange, _events(exchange, replies, wants_usage))
    return await _whole(exchange, replies, request)


class _Stream(StreamingResponse):
    """Server-sent events, which end with their client."""

    def __init__(self, exchange: Exchange, events: AsyncIterator[str]) -> None:
        # The second is for proxies, which would gather the stream otherwise.
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self.exchange = exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # and not in the generator, which may never have begun
            self.exchange.cancel()


async def _whole(exchange: Exchange, replies: Replies, request: Request) -> Response:
    found: dict[int, list[Piece]] = {choice.index: [] for choice in exchange.choices}

    async def _collect() -> None:
        async for choice, piece in exchange.pieces():
            found[choice.index].append(piece)

    collecting = asyncio.ensure_future(_collect())
    leaving = asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait({collecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not collecting.done():
            return Response(status_code=499)  # nobody reads it
        await collecting
    finally:
        exchange.cancel()
        for task in (collecting, leaving):
            task.cancel()
        await asyncio.gather(collecting, leaving, return_exceptions=True)
    problem = next((piece.problem for pieces in found.values() for piece in pieces if piece.problem), "")
    if problem:
        raise ApiError(503, problem, code="unavailable", retry_after=1)
    return JSONResponse(replies.whole([(c, found[c.index]) for c in exchange.choices], exchange.usage))


async def _until_gone(request: Request) -> None:
    """Returns when the client has hung up. Its request is here already, so nothing else can come."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _events(exchange: Exchange, replies: Replies, wants_usage: bool) -> AsyncIterator[str]:
    """Server-sent events: a line of JSON each, and at last [DONE]."""
    if replies.is_chat:
        for choice in exchange.choices:
            yield _event(replies.opening(choice))
    async for choice, piece in exchange.pieces():
        if piece.problem:
            yield _event(error_body(503, piece.problem, code="unavailable"))
            return
        yield _event(replies.piece(choice, piece))
    if wants_usage:
        yield _event(replies.usage(exchange.usage))
    yield "data: [DONE]\n\n"


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
