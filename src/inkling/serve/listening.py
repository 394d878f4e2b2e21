"""The server's ears: connections in, and a clean end."""

import asyncio
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from inkling.serve.whole import MAX_HEAD

HEAD_SECONDS = 10.0
"""in which the head of a request must have arrived"""


class PatientProtocol(H11Protocol):
    """HTTP that waits for the head of a request, but not for ever: who sends it byte by byte holds a connection."""

    _too_late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        is_between = self.cycle is None or self.cycle.response_complete
        if not is_between or self.conn.their_state is not h11.IDLE:
            self._stop_watching()
        elif self._too_late is None:
            self._too_late = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_watching(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None

    def _give_up(self) -> None:
        self.transport.close()


def make_server(app: FastAPI, host: str, port: int, max_connections: int, drain_seconds: int) -> uvicorn.Server:
    """A server to `run()`. At SIGTERM or Ctrl-C it takes no new connection, lets answers end for `drain_seconds`, and
    stops; Ctrl-C once more stops it at once."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=PatientProtocol,
            ws="none",
            proxy_headers=False,
            loop="asyncio",
            limit_concurrency=max_connections,
            h11_max_incomplete_event_size=MAX_HEAD,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=drain_seconds,
            server_header=False,
            access_log=False,
            log_level="warning",
        )
    )
