"""What a person can tell the chat itself: /clear, /temperature 0.5, and the like."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inkling.errors import UserError
from inkling.infer.dialogue import Dialogue
from inkling.infer.sampling import check_sampling


@dataclass(frozen=True)
class Command:
    """`do` changes the dialogue, given what stands behind the command's name, and says what it did."""

    argument: str
    meaning: str
    do: Callable[[Dialogue, str], str]


def obey(dialogue: Dialogue, line: str) -> str | None:
    """Do what `/name rest` asks and return what to tell the person; None for /quit. Raises UserError."""
    name, _, rest = line.removeprefix("/").partition(" ")
    name = name.strip().replace("-", "_")
    if name == "quit":
        return None
    if name not in COMMANDS:
        raise UserError(f"There is no command /{name}.", f"Commands: /{', /'.join(COMMANDS)}.")
    return COMMANDS[name].do(dialogue, rest.strip())


def _help(dialogue: Dialogue, _: str) -> str:
    lines = [f"/{name} {command.argument}".ljust(16) + command.meaning for name, command in COMMANDS.items()]
    return "\n".join([*lines, "A question that begins with / wants a space before it."])


def _clear(dialogue: Dialogue, _: str) -> str:
    dialogue.clear()
    return "The conversation is forgotten."


def _undo(dialogue: Dialogue, _: str) -> str:
    question = dialogue.undo()
    return "There is nothing to take back." if question is None else f"Taken back: {question}"


def _system(dialogue: Dialogue, text: str) -> str:
    dialogue.system = text
    return f"System text from the next question on: {text}" if text else "There is no system text now."


def _temperature(dialogue: Dialogue, text: str) -> str:
    return _change_sampling(dialogue, "temperature", float, text)


def _top_k(dialogue: Dialogue, text: str) -> str:
    return _change_sampling(dialogue, "top_k", int, text)


def _save(dialogue: Dialogue, path: str) -> str:
    dialogue.save(_file(path, "save"))
    return f"Appended to {path}."


def _load(dialogue: Dialogue, path: str) -> str:
    dialogue.load(_file(path, "load"))
    questions = sum(message["role"] == "user" for message in dialogue.messages)
    return f"Going on from {path}, after {questions} question{'' if questions == 1 else 's'}."


COMMANDS = {
    "help": Command("", "this list", _help),
    "clear": Command("", "forget the conversation; the system text stays", _clear),
    "undo": Command("", "take the last question and its answer back", _undo),
    "system": Command("TEXT", "what the model is told before the first question; without TEXT: nothing", _system),
    "temperature": Command("X", "lower is surer, higher more varied; 0 takes the likeliest token", _temperature),
    "top_k": Command("N", "draw from the N likeliest tokens; 0 draws from all", _top_k),
    "save": Command("FILE", "append the conversation to a JSONL file", _save),
    "load": Command("FILE", "go on from the last conversation in a JSONL file", _load),
    "quit": Command("", "end; Ctrl-D does the same", lambda dialogue, _: ""),
}


def _change_sampling(dialogue: Dialogue, name: str, kind: Callable[[str], Any], text: str) -> str:
    if text:
        try:
            changed = replace(dialogue.sampling, **{name: kind(text)})
        except ValueError:
            raise UserError(f"/{name} does not take {text!r}.", f"For example: /{name} {kind('1')}") from None
        check_sampling(changed)
        dialogue.sampling = changed
    return f"{name} = {getattr(dialogue.sampling, name)}"


def _file(path: str, command: str) -> Path:
    if not path:
        raise UserError(f"/{command} wants the name of a file.", f"For example: /{command} chat.jsonl")
    return Path(path).expanduser()
