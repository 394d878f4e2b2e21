"""The web application: the API, the page, and what guards them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware

from inkling.serve.access import Access
from inkling.serve.api import REFUSALS, Api
from inkling.serve.errors import handle_errors
from inkling.serve.inside import inside_router
from inkling.serve.limits import LimitSettings
from inkling.serve.metrics import Metrics
from inkling.serve.scheduler import Scheduler
from inkling.serve.served import Served
from inkling.serve.whole import Message, Receive, Send, WholeRequests
from inkling.version import __version__

PAGE = Path(__file__).parent / "page"
USUAL = LimitSettings()


def make_app(
    served: Served,
    limits: LimitSettings = USUAL,
    token: str = "",
    host: str = "127.0.0.1",
    cors: Sequence[str] = (),
) -> FastAPI:
    """Everything behind one address. `token` is what clients must show, `host` where it will listen, `cors` the pages
    elsewhere that may ask. `app.state` has `scheduler` and `metrics`."""
    metrics = Metrics()
    scheduler = Scheduler(served, metrics, limits.max_rows, limits.max_waiting)

    @asynccontextmanager
    async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
        scheduler.start()
        yield
        scheduler.close()

    app = FastAPI(
        title="inkling",
        version=__version__,
        description=f"The model {served.name}, as clients of OpenAI's API know it.",
        lifespan=_lifespan,
        docs_url=None,  # these pages come from other hosts
        redoc_url=None,
    )
    app.state.scheduler, app.state.metrics = scheduler, metrics
    handle_errors(app)
    guard = [Depends(Access(token, host))]
    app.include_router(Api(served, scheduler, limits).router(), dependencies=guard)
    _add_health(app, served, scheduler)
    _add_metrics(app, metrics, guard)
    app.include_router(inside_router(served), dependencies=guard, responses=REFUSALS)
    app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    app.add_middleware(_Responses, metrics=metrics)
    app.add_middleware(WholeRequests, max_body=limits.max_body, seconds=limits.upload_seconds)
    if cors:
        app.add_middleware(CORSMiddleware, allow_origins=list(cors), allow_methods=["GET", "POST"], allow_headers=["*"])
    return app


def _add_health(app: FastAPI, served: Served, scheduler: Scheduler) -> None:
    @app.get("/health", summary="Whether it works, and how busy it is", tags=["operating"])
    async def health() -> JSONResponse:
        """Answers as long as the server takes requests."""
        return JSONResponse({"status": "ok", "model": served.name, "unfinished": scheduler.unfinished})


def _add_metrics(app: FastAPI, metrics: Metrics, guard: Sequence[Any]) -> None:
    @app.get("/metrics", summary="Counters for Prometheus", tags=["operating"], dependencies=guard, responses=REFUSALS)
    async def show_metrics() -> Response:
        """Text in Prometheus' format."""
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


# A browser takes nothing here for what it is not called, shows it in no other page, and tells nobody where it was.
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)


class _Responses:
    """Counts responses by route and status, and adds to their headers.

    Paths that are no route count as one, or strangers would fill the memory.
    """

    def __init__(self, app: Any, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def _send(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = getattr(scope.get("route"), "path", "other")
                self.metrics.responses.labels(path, message["status"]).inc()
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        await self.app(scope, receive, _send)
