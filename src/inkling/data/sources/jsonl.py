"""JSON lines: a document on each line, under "text" or another key. Blank lines are passed over.

Lines of conversations (text/messages.py) hold `{"messages": [...]}`, or the bare list; as documents they are the list
in JSON again.

Each slice of a file yields the lines that begin in it, so that several processes can share a file.
"""

import codecs
import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from inkling.data.sources import opening
from inkling.data.sources.textfile import bad_byte
from inkling.errors import UserError
from inkling.text.conversation import read_line

LONGEST = 64 << 20  # bytes of a line that are read; what is beyond is left out, and that is said


def documents(
    path: Path, start: int, stop: int | None, key: str, note: Callable[[str], None], conversations: bool = False
) -> Iterator[str]:
    """The texts of the lines that begin in bytes `start` to `stop` of a file. `note` takes what should be said."""
    for offset, line in _lines(path, start, stop):
        if conversations:
            if line.strip():
                yield _conversation(line, path, offset)
        elif len(line) > LONGEST:
            text = _beginning(line[:LONGEST], path, offset, key)
            note(f"{_place(path, offset)} is longer than {LONGEST >> 20} MB: its text is cut there")
            yield text
        elif line.strip():
            yield _text(line, path, offset, key)


def _lines(path: Path, start: int, stop: int | None) -> Iterator[tuple[int, bytes]]:
    """(offset, line without its end) of each line. One that is too long is cut somewhere beyond LONGEST."""
    # From one byte early: if that byte ends a line, the next line is ours, else it belongs to the slice before.
    begins = position = max(0, start - 1)
    not_ours = start > 0
    line = b""
    for block in chain(opening.blocks(path, position), [b"\n"]):
        if position == 0 and block.startswith(codecs.BOM_UTF8):
            begins, position, block = 3, 3, block[3:]
        if not_ours or len(line) > LONGEST:  # of this line only the end matters
            end = block.find(b"\n") + 1
            position += end or len(block)
            if not end and not_ours and stop is not None and position >= stop:
                return  # no line begins in this slice
            if not end:
                continue
            if not not_ours:
                yield begins, line
            not_ours, line, begins, block = False, b"", position, block[end:]
            if stop is not None and begins >= stop:
                return
        position += len(block)
        *whole, line = (line + block).split(b"\n")
        for each in whole:
            yield begins, each
            begins += len(each) + 1
            if stop is not None and begins >= stop:
                return


def _text(line: bytes, path: Path, offset: int, key: str) -> str:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise bad_byte(path, offset + error.start, error) from None
    except (ValueError, RecursionError):
        raise UserError(f"{_place(path, offset)} is not JSON.", _wanted(key)) from None
    if not isinstance(record, dict) or not isinstance(record.get(key), str):
        keys = ", ".join(list(record)[:20]) if isinstance(record, dict) else ""
        has = f" It has: {keys}." if keys else ""
        raise UserError(f'{_place(path, offset)} has no "{key}" that is a text.{has}', _wanted(key))
    return _checked(record[key], path, offset, key)


def _conversation(line: bytes, path: Path, offset: int) -> str:
    if len(line) > LONGEST:
        raise UserError(f"{_place(path, offset)} is longer than {LONGEST >> 20} MB.", "Leave this conversation out.")
    try:
        messages = read_line(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise bad_byte(path, offset + error.start, error) from None
    except UserError as error:
        raise UserError(f"{_place(path, offset)}: {error.problem}", error.remedy) from None
    return json.dumps(messages, ensure_ascii=False)


def holds_conversations(path: Path) -> bool:
    """Whether the first line of a file is a conversation, or means to be one."""
    for _, line in _lines(path, 0, None):
        if line.strip():
            try:
                record = json.loads(line[:LONGEST].decode("utf-8"))
            except (ValueError, RecursionError):
                return False
            messages = record.get("messages") if isinstance(record, dict) else record
            return isinstance(messages, list) and all(isinstance(message, dict) for message in messages)
    return False


def _beginning(line: bytes, path: Path, offset: int, key: str) -> str:
    """As much of the text as stands in the beginning of a line, whose end was never read."""
    decode = json.JSONDecoder().raw_decode
    try:
        start = codecs.getincrementaldecoder("utf-8")().decode(line)
        at = _skip(start, 0, "{")
        while True:
            name, at = decode(start, _skip(start, at, ""))
            at = _skip(start, at, ":")
            if name == key and start[at] == '"':
                break
            at = _skip(start, decode(start, at)[1], ",")
        # An escape such as \u00e9 may be cut as well: leave up to 11 characters (a surrogate pair) out.
        for end in range(len(start), len(start) - 12, -1):
            try:
                return _checked(decode(start[:end] + '"', at)[0], path, offset, key)
            except (ValueError, UserError):
                continue
        raise ValueError
    except UnicodeDecodeError as error:
        raise bad_byte(path, offset + error.start, error) from None
    except (ValueError, IndexError, RecursionError):
        raise UserError(
            f'{_place(path, offset)} is longer than {LONGEST >> 20} MB, and no "{key}" begins in that.', _wanted(key)
        ) from None


def _skip(text: str, at: int, mark: str) -> int:
    """The place after white space and `mark`."""
    while text[at] in " \t\r\n":
        at += 1
    if not text.startswith(mark, at):
        raise ValueError
    at += len(mark)
    while mark and text[at] in " \t\r\n":
        at += 1
    return at


def _checked(text: str, path: Path, offset: int, key: str) -> str:
    try:
        if not text.isascii():
            text.encode("utf-8")
    except UnicodeEncodeError:  # JSON can escape half a character
        raise UserError(
            f"{_place(path, offset)} has a lone surrogate (\\ud800 to \\udfff), which is no character.", _wanted(key)
        ) from None
    return text


def _wanted(key: str) -> str:
    return f'Each line must be one JSON object with a text: {{"{key}": "…"}}. Another key: --column=KEY.'


def _place(path: Path, offset: int) -> str:
    """`path:line`. Lines are counted only now, since only a message needs the number."""
    number = 1
    for block in opening.blocks(path):
        number += block[: max(0, offset)].count(b"\n")
        offset -= len(block)
        if offset <= 0:
            break
    return f"{path}:{number}"
