"""Chat in the terminal: answers appear as they are made, and lines that begin with / are commands.

Without a terminal (a pipe, a file) each line of the input is a question, and the answers are all that is printed.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from types import FrameType
from typing import Any

from inkling.errors import UserError
from inkling.infer.answer import Cut, Event, Forgotten, ToolCall, ToolResult
from inkling.infer.dialogue import Dialogue
from inkling.serve.commands import obey
from inkling.serve.lines import read_piped, read_typed

# A model can write any character. Those that steer a terminal (move the cursor, rename the window) are not passed on.
_HARMLESS = {code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


class Terminal:
    """One person, one dialogue."""

    def __init__(self, dialogue: Dialogue, name: str = "the model") -> None:
        self.dialogue, self.name = dialogue, name
        self.is_typed = sys.stdin.isatty() and sys.stdout.isatty()
        self.console: Any = None
        if sys.stdout.isatty():
            from rich.console import Console

            self.console = Console(highlight=False)
        self._is_interruptible = False

    def run(self) -> None:
        """Until the input ends."""
        for stream in (sys.stdin, sys.stdout):  # stdin's errors too: half a character must not end the program
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(encoding="utf-8", errors="replace")
        if not self.is_typed:
            while self._turn():
                pass
            return
        self._note(f"Chat with {self.name}. /help lists the commands, Ctrl-C stops an answer, Ctrl-D ends.")
        with self._own_ctrl_c():
            while self._turn():
                pass

    def answer(self, question: str) -> None:
        """Print the answer as it comes."""
        with closing(self.dialogue.events(question)) as events:
            at_line_start = False  # so that a silent answer is an empty line
            try:
                with self._interruptible():
                    for event in events:
                        at_line_start = self._show(event, at_line_start)
            finally:
                if not at_line_start:
                    self._write("\n")

    # --- a line and what follows -------------------------------------------------------------------------

    def _turn(self) -> bool:
        """Read a line and do what it says; False at the end."""
        try:
            line = self._read()
            if line.startswith("/"):
                note = obey(self.dialogue, line)
                if note is None:
                    return False
                self._note(note)
            elif line.strip():
                self.answer(line)
        except EOFError:
            return False
        except UserError as error:
            self._note(str(error), "red")
        except KeyboardInterrupt:
            if not self.is_typed:
                raise
            self._note("(stopped)")
        return True

    def _read(self) -> str:
        if not self.is_typed:
            return read_piped(sys.stdin)
        try:
            with self._interruptible():
                return read_typed("> ")
        except KeyboardInterrupt:
            self._note("\n(Ctrl-D or /quit ends the chat.)")
            return ""
        except EOFError:
            self._write("\n")  # Ctrl-D leaves the cursor behind the prompt
            raise

    def _show(self, event: Event, at_line_start: bool) -> bool:
        """Print an event; returns whether the cursor is now at the beginning of a line."""
        if isinstance(event, str):
            self._write(event)
            return event.endswith("\n")
        if isinstance(event, Forgotten):
            oldest = "turn" if event.turns == 1 else f"{event.turns} turns"
            self._note(f"(The context is full: {self.name} no longer sees the oldest {oldest}.)")
            return False
        if isinstance(event, Cut):
            self._write("" if at_line_start else "\n")
            self._note("(The answer was cut: it reached --max_new_tokens, or the end of the context.)")
            return True
        if self.console is None:  # of tools a program that reads the answers sees nothing
            return at_line_start
        if isinstance(event, ToolCall):
            self._write(f"[{event.text} ", "dim")
        elif isinstance(event, ToolResult):
            self._write(f"→ {event.text}{f': {event.problem}' if event.problem else ''}]", "dim")
        return False

    # --- the screen --------------------------------------------------------------------------------------

    def _write(self, text: str, style: str = "cyan") -> None:
        if self.console is None:
            sys.stdout.write(text)
        else:
            self.console.out(text.translate(_HARMLESS), end="", style=style, highlight=False)
        sys.stdout.flush()

    def _note(self, text: str, style: str = "dim") -> None:
        """A line that is not the model's: beside the answers, never among what a pipe takes for them."""
        if self.console is None:
            print(text, file=sys.stderr)
        else:
            self._write(text + "\n", style)

    # --- Ctrl-C ------------------------------------------------------------------------------------------

    @contextmanager
    def _own_ctrl_c(self) -> Iterator[None]:
        """Let Ctrl-C interrupt reading and answering, and nothing else: not the program, not what keeps the history."""
        before = None
        with suppress(ValueError):  # only the main thread may ask for signals
            before = signal.signal(signal.SIGINT, self._handle)
        try:
            yield
        finally:
            if before is not None:
                signal.signal(signal.SIGINT, before)

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        if self._is_interruptible:
            self._is_interruptible = False  # once is enough
            raise KeyboardInterrupt

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        self._is_interruptible = True
        try:
            yield
        finally:
            self._is_interruptible = False
