"""What a person types or pastes, or what a pipe brings: one message at a time, and none without end."""

import os
import select
import sys
from contextlib import suppress
from typing import TextIO

from inkling.errors import UserError

MAX_CHARACTERS = 100_000

# Lines that follow each other this fast, in seconds, were pasted: nobody types them.
PASTE_GAP = 0.05


def read_typed(prompt: str) -> str:
    """A line from the keyboard, with arrow keys and history where Python has readline.

    Several lines pasted at once are one message. Raises EOFError at Ctrl-D, and UserError for a message too long.
    """
    with suppress(ImportError):  # Windows has its own history
        import readline  # noqa: F401  # importing it is what makes `input` use it

    message = input(prompt)
    if not message.startswith("/"):
        message = f"{message}\n{_rest_of_paste()}".rstrip("\n")
    if len(message) > MAX_CHARACTERS:
        raise _too_long()
    return message


def read_piped(stream: TextIO) -> str:
    """The next line of a pipe or file. Raises EOFError at its end, and UserError for a line too long."""
    line = stream.readline(MAX_CHARACTERS + 1)
    if not line:
        raise EOFError
    if len(line) > MAX_CHARACTERS and not line.endswith("\n"):
        while line and not line.endswith("\n"):
            line = stream.readline(MAX_CHARACTERS)
        raise _too_long()
    return line.removesuffix("\n")


def _rest_of_paste() -> str:
    """The lines that wait already when the first has been read, as long as more of them come.

    Readers of lines are slow with these (20,000 lines took readline more than a minute) or cut them (Linux's own drops
    what is beyond 4,095 characters of a line), so the terminal is asked for plain characters meanwhile.
    """
    try:
        import termios
        import tty
    except ImportError:  # Windows
        return ""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    pasted = b""
    try:
        tty.setcbreak(keyboard, termios.TCSADRAIN)  # not its default, which drops what waits
        while select.select([keyboard], [], [], PASTE_GAP)[0] and (new := os.read(keyboard, 65536)):
            # What is too long is read all the same, so that the rest is not taken for the next message.
            pasted += new if len(pasted) <= 4 * MAX_CHARACTERS else b""
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
    return pasted.decode("utf-8", errors="replace")


def _too_long() -> UserError:
    return UserError(
        f"This message has more than {MAX_CHARACTERS:,} characters. Nothing was sent.", "Shorten it, or ask in parts."
    )
