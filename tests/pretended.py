"""A server for browser tests: the real page and what it asks of the model's inside, beside a chat that only pretends.

A pretended chat says what a test needs: slowly, hostilely, or a megabyte of it.
"""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.staticfiles import StaticFiles

from conftest import ROOT
from inkling.serve.errors import ApiError, handle_errors
from inkling.serve.inside import inside_router
from inkling.serve.served import Served

PAGE = ROOT / "src" / "inkling" / "serve" / "page"

HOSTILE = """<img src=x onerror="document.title='broken in'"> <script>document.title='broken in'</script>
[press me](javascript:document.title='broken_in') [data](data:text/html,<script>alert(1)</script>)
![picture](https://elsewhere.example/pixel.png) <javascript:alert(1)> [ok](https://example.org/a?b=1&c=2)
"><svg onload=alert(1)> <a href="javascript:alert(1)">a</a>
"""

RICH = """# Answer

Some **bold**, *italic*, `code` and [a link](https://example.org/).

1. first
2. second
   - inner

> quoted

```python
print("<b>not bold</b>")
```

| a | b |
| --- | --- |
| 1 | 2 |
"""


class Listening:
    """An application in a thread, which can be killed, and started again at the same port."""

    def __init__(self, make: Callable[[], FastAPI]) -> None:
        self.make, self.port = make, 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns once it listens."""
        config = uvicorn.Config(self.make(), host="127.0.0.1", port=self.port, log_level="error")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started and self.thread.is_alive():
            time.sleep(0.02)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    def kill(self) -> None:
        """In the middle of whatever it does."""
        self.server.force_exit = self.server.should_exit = True
        for connection in list(self.server.server_state.connections):
            connection.loop.call_soon_threadsafe(connection.transport.abort)
        self.thread.join(60)


class Pretended(Listening):
    """`asked` holds the bodies of requests."""

    def __init__(self, served: Served, token: str = "") -> None:
        self.served, self.token = served, token
        self.asked: list[dict[str, Any]] = []
        self.left: list[str] = []
        """the questions whose askers went away before the end"""
        super().__init__(self._app)

    def _app(self) -> FastAPI:
        app = FastAPI()
        handle_errors(app)

        async def guard(request: Request) -> None:
            if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
                raise ApiError(401, "Wrong or missing token.", code="invalid_api_key")

        @app.get("/health")
        async def health() -> dict[str, str]:
            return {"status": "ok"}

        @app.post("/v1/chat/completions", dependencies=[Depends(guard)])
        async def chat(request: Request) -> StreamingResponse:
            body = await request.json()
            self.asked.append(body)
            question = body["messages"][-1]["content"]
            if question == "busy":
                raise ApiError(429, "The server is busy.", code="busy", retry_after=3)
            if question == "refuse":
                raise ApiError(400, "This conversation is too long. Begin another.")
            return _stream(self._events(question, self._words(question, body), True))

        @app.post("/v1/completions", dependencies=[Depends(guard)])
        async def complete(request: Request) -> StreamingResponse:
            body = await request.json()
            self.asked.append(body)
            words = [f" and so on {body['seed']}"]
            return _stream(self._events("", words, False))

        app.include_router(inside_router(self.served), dependencies=[Depends(guard)])
        app.mount("/", StaticFiles(directory=PAGE, html=True))
        return app

    def _words(self, question: str, body: dict[str, Any]) -> list[str]:
        if question.startswith("slow"):
            return [f"word{i} " for i in range(400)]
        if question == "long":
            return ["0123456789 abcdef\n" * 3000] * 20  # a megabyte
        if question == "stars":
            return [
                "*a _b [c " * 2500,
                "\n",
                "- " * 9_000,
                "x\n",
                "> " * 9_000,
                "x\n",
                "|-" * 9_000,
                "\n",
                "|-" * 9_000,
            ]
        known = {"hostile": HOSTILE, "rich": RICH}
        said = known.get(question, f"You said: **{question}**, message {len(body['messages'])}, seed {body['seed']}.")
        return [said[i : i + 5] for i in range(0, len(said), 5)]

    async def _events(self, question: str, words: list[str], is_chat: bool) -> AsyncIterator[str]:
        is_whole = False
        try:
            for word in words:
                choice = {"delta": {"content": word}} if is_chat else {"text": word}
                yield _event({"choices": [{"index": 0, "finish_reason": None} | choice]})
                if question.startswith("slow"):
                    await asyncio.sleep(0.03)
            yield _event({"choices": [{"index": 0, "finish_reason": "length" if question == "cut" else "stop"}]})
            yield _event({"choices": [], "usage": {"completion_tokens": len(words)}})
            is_whole = True
            yield "data: [DONE]\n\n"
        finally:  # which a client that goes away brings about
            if not is_whole:
                self.left.append(question)


def _stream(events: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(events, media_type="text/event-stream")


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"
