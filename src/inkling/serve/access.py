"""Who may ask: a token for everything but the page itself, and on this machine's own address only names of it."""

import hmac
from urllib.parse import urlsplit

from fastapi import Request

from inkling.serve.errors import ApiError
from inkling.serve.limits import LOOPBACK


class Access:
    """A dependency of every route that runs or shows the model."""

    def __init__(self, token: str, host: str) -> None:
        self.token, self.is_local = token.encode("utf-8"), host in LOOPBACK

    async def __call__(self, request: Request) -> None:
        """Raises ApiError for a request that may not pass."""
        if self.token:
            kind, _, given = request.headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("utf-8"), self.token):
                raise ApiError(
                    401, "Wrong or missing token. Send it as Authorization: Bearer ….", code="invalid_api_key"
                )
        elif self.is_local:
            # Without a token, a page elsewhere whose name was made to lead here could ask through a person's browser.
            asked = request.headers.get("host", "")
            if _hostname(asked) not in LOOPBACK:
                message = f"This server is for this machine: ask for localhost, not {asked!r}."
                raise ApiError(403, message, code="wrong_host")


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # half a pair of brackets
        return None
