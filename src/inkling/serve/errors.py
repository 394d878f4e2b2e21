"""Every refusal in the shape that clients of OpenAI's API understand: {"error": {message, type, param, code}}."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from inkling.errors import UserError
from inkling.infer.fit import TooLong

KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}


class ApiError(Exception):
    """A request that is refused. `param` is the field that is to blame, `code` a word for programs."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None, retry_after: int = 0
    ) -> None:
        self.status, self.message, self.param, self.code, self.retry_after = status, message, param, code, retry_after
        super().__init__(message)


def error_body(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The JSON of an error."""
    return {
        "error": {
            "message": message,
            "type": KINDS.get(status, "invalid_request_error"),
            "param": param,
            "code": code,
        }
    }


def error_response(
    status: int,
    message: str,
    param: str | None = None,
    code: str | None = None,
    retry_after: int = 0,
    close: bool = False,
) -> JSONResponse:
    """The answer to a request that is refused; `close` ends the connection as well."""
    headers = {"Retry-After": str(retry_after)} if retry_after else {}
    headers |= {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    headers |= {"Connection": "close"} if close else {}
    return JSONResponse(error_body(status, message, param, code), status, headers)


def in_words(error: UserError) -> str:
    """A person's error as one line."""
    return f"{error.problem} {error.remedy}".strip()


def handle_errors(app: FastAPI) -> None:
    """Let every error of `app` leave in this shape."""

    @app.exception_handler(ApiError)
    async def _refused(_: Request, error: ApiError) -> JSONResponse:
        return error_response(error.status, error.message, error.param, error.code, error.retry_after)

    @app.exception_handler(UserError)
    async def _mistaken(_: Request, error: UserError) -> JSONResponse:
        code = "context_length_exceeded" if isinstance(error, TooLong) else None
        return error_response(400, in_words(error), code=code)

    @app.exception_handler(RequestValidationError)
    async def _malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        return error_response(400, f"{place}: {first['msg']}" if place else str(first["msg"]), param=place or None)

    @app.exception_handler(HTTPException)
    async def _not_there(_: Request, error: HTTPException) -> JSONResponse:
        response = error_response(error.status_code, str(error.detail or HTTPStatus(error.status_code).phrase))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def _broken(_: Request, error: Exception) -> JSONResponse:
        return error_response(500, "The server failed at this request. Its log says more.")
