"""`inkling chat RUN`: talk with a model that was taught to."""

import sys
from dataclasses import dataclass, replace

from inkling.errors import UserError
from inkling.infer.answer import CALCULATOR
from inkling.infer.dialogue import Dialogue
from inkling.infer.sampling import SamplingSettings, check_sampling
from inkling.runtime import RuntimeSettings, decide, running
from inkling.serve.terminal import Terminal
from inkling.settings import Layer, build
from inkling.tasks.python_runner import WARNING, python_tool
from inkling.text.conversation import can_chat
from inkling.text.messages import Message


@dataclass(frozen=True)
class ChatSettings:
    """chat"""

    prompt: str = ""
    """ask this one question, print the answer and end"""
    system: str = ""
    """what the model is told before the first question"""
    max_new_tokens: int = 512
    """tokens in an answer, at most"""
    stop: str = ""
    """end an answer before this text; empty: none"""
    allow_python: bool = False
    """whether the model may run Python here as a tool, with limits on time, memory, output and files. That bounds
    mistakes, and is no safe box"""
    # Surer than a sample: a question has right answers, a story's beginning has many good ends.
    sampling: SamplingSettings = SamplingSettings(temperature=0.6, top_k=50)
    runtime: RuntimeSettings = RuntimeSettings()


SETTINGS = ChatSettings
DESCRIPTION = """Talk with a model: inkling chat RUN [--key=value ...]

  inkling chat demo
  inkling chat demo --prompt="What is the capital of France?"
  inkling chat runs/mine --temperature=0 --system="Answer in one word."
  inkling chat demo < questions.txt > answers.txt

RUN is a run's name below runs/, or its path. In the chat /help lists the commands, Ctrl-C stops an answer
and Ctrl-D ends. --compile is taken and not used: the shapes of a chat change with every token."""


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if len(positional) != 1:
        raise UserError("chat takes one RUN.", "For example: inkling chat demo", status=2)
    settings, _ = build(ChatSettings, [Layer("flag", flags)])
    main(positional[0], settings)


def main(run: str, settings: ChatSettings) -> list[Message]:
    """Chat until the person ends it; returns the messages. `run` is a run's name or path."""
    from inkling.hub.load import load

    check_sampling(settings.sampling)
    if settings.runtime.compile is True:
        print("--compile is not used: the shapes of a chat change with every token.", file=sys.stderr)
    if settings.allow_python:
        print(f"note: {WARNING}", file=sys.stderr)
    runtime = decide(replace(settings.runtime, compile=False))
    with running(runtime):
        model, tokenizer = load(run, device=runtime.device, dtype=runtime.dtype)
        if not can_chat(tokenizer):
            raise UserError(
                f"{run} cannot chat: its tokenizer has no marks for questions and answers, so it was never taught to.",
                f"Let it continue a text instead: inkling sample {run}",
            )
        dialogue = Dialogue(
            model,
            tokenizer,
            settings.system,
            settings.sampling,
            settings.max_new_tokens,
            [settings.stop],
            {**CALCULATOR, "python": python_tool} if settings.allow_python else CALCULATOR,
            seed=settings.runtime.seed,
        )
        terminal = Terminal(dialogue, run)
        if settings.prompt:
            terminal.answer(settings.prompt)
        else:
            terminal.run()
    return dialogue.messages
