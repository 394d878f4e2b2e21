"""Requests are here as a whole, or they are refused: too many bytes in head or body, or too slow."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from inkling.serve.errors import error_response

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MAX_HEAD = 32_768
"""bytes in the head of a request"""


class WholeRequests:
    """Hands a request to the application once all of it is here, and refuses one that is too large or too slow."""

    def __init__(self, app: App, max_body: int, seconds: float) -> None:
        self.app, self.max_body, self.seconds = app, max_body, seconds

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI. After the body the application hears of nothing but the client's leaving."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if _head(scope) > MAX_HEAD:  # uvicorn bounds only a head that comes in pieces
            await error_response(431, f"The head has more than {MAX_HEAD:,} bytes.", close=True)(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.seconds):
                body = await self._read(receive)
        except TimeoutError:
            refusal = error_response(408, f"The request did not arrive within {self.seconds:g} seconds.", close=True)
            await refusal(scope, receive, send)
            return
        except OverflowError:
            refusal = error_response(413, f"The request has more than {self.max_body:,} bytes.", close=True)
            await refusal(scope, receive, send)
            return
        except ConnectionError:
            return
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def _whole() -> Message:
            return pending.pop() if pending else await receive()

        await self.app(scope, _whole, send)

    async def _read(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ConnectionError
            body += message.get("body", b"")
            if len(body) > self.max_body:
                raise OverflowError
            if not message.get("more_body"):
                return bytes(body)


def _head(scope: Message) -> int:
    """Bytes in the address and the headers."""
    headers = sum(len(name) + len(value) for name, value in scope["headers"])
    return len(scope["raw_path"]) + len(scope["query_string"]) + headers
