"""What a stranger may ask for at most."""

from dataclasses import dataclass, fields

from inkling.errors import UserError

# This machine, as seen from itself: who listens here and nowhere else cannot be reached by others.
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class LimitSettings:
    """limits"""

    max_rows: int = 16
    """answers that decode at once"""
    max_waiting: int = 64
    """answers that wait for a place; what comes beyond is refused with 429"""
    max_connections: int = 512
    """open connections"""
    max_body: int = 1_000_000
    """bytes in a request"""
    max_messages: int = 500
    """messages in a conversation"""
    max_characters: int = 200_000
    """characters in a prompt, or in all messages together"""
    max_choices: int = 16
    """answers to one request: n times the number of prompts"""
    max_tokens: int = 4096
    """new tokens in an answer"""
    max_seconds: float = 300.0
    """seconds for an answer, waiting included; what has come until then is the answer"""
    upload_seconds: float = 20.0
    """seconds in which a request must have arrived"""


def check_limits(settings: LimitSettings) -> None:
    """Refuse what would refuse everything. Raises UserError."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if not value > 0 and not (field.name == "max_waiting" and value == 0):
            raise UserError(f"{field.name}={value} must be above 0.", status=2)
