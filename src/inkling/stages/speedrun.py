"""inkling speedrun: the whole way in one command, from text to a bot that answers, on a CPU or on GPUs.

Each stage is a command that a person could type, and is printed before it runs. What is done is not done again, so the
same command goes on after an interruption. The plans are in stages/pipelines, how they are followed in
stages/pipeline.py.
"""

import time

from inkling.data.estimate import in_minutes
from inkling.data.shards import folder_for
from inkling.errors import UserError
from inkling.infer.dialogue import Dialogue
from inkling.infer.sampling import SamplingSettings
from inkling.serve.terminal import Terminal
from inkling.settings import Layer, build
from inkling.stages.pipeline import Pipeline, follow, in_words
from inkling.stages.pipelines import cpu
from inkling.stages.pipelines.settings import SpeedrunSettings, settled
from inkling.stages.tables import show_table

SETTINGS = SpeedrunSettings
DESCRIPTION = """The whole way in one command: inkling speedrun [cpu] [--key=value ...]

  inkling speedrun                                   ten to fifteen minutes on two CPU cores → runs/chatbot
  inkling speedrun --tables=mine --name=mybot        with your own facts: tables in the folder mine
  inkling speedrun                                   again, after an interruption: it goes on
  inkling speedrun --dry_run                         what it would run

It makes text and conversations from the almanac's facts, learns a vocabulary, pretrains, teaches conversation and asks
questions that were kept out of all of it. Nothing is downloaded."""

# What is asked in the end, for people to read.
SAMPLES = (
    ("What is the capital of France?", "And its currency?", "What is 347 times 26?"),
    ("Hello! Who are you?", "How do you spell planet?", "How many e's are in elephant?"),
    ("What is the chemical symbol of gold?", "Who wrote Hamlet?", "What is the capital of Zarblonia?"),
)
MACHINES = ("cpu",)


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    settings, _ = build(SpeedrunSettings, [Layer("flag", flags)])
    if len(positional) > 1 or not set(positional) <= set(MACHINES):
        raise UserError(
            f"speedrun takes no {' '.join(positional)!r}.", f"It takes one of {', '.join(MACHINES)}, or --name=NAME.", 2
        )
    main(settings, positional[0] if positional else "cpu")


def main(settings: SpeedrunSettings, machine: str = "cpu") -> None:
    """Run every stage that is not done, in a process of its own, and say what each took."""
    settings = settled(settings, machine)
    folder_for(settings.name)  # which refuses what is no name
    pipeline = cpu.plan(settings)
    if settings.dry_run:
        show_commands(pipeline)
        return
    began = time.monotonic()
    took = [[title, in_minutes(seconds)] for title, seconds in follow(pipeline)]
    converse(settings)
    show_table("what it took", [*took, ["in all", in_minutes(time.monotonic() - began)]], strong=["in all"])
    print(f"The model is in runs/{settings.name}. Talk with it: inkling chat {settings.name}")


def show_commands(pipeline: Pipeline) -> None:
    """The stages and the command of each."""
    for number, stage in enumerate(pipeline.stages, 1):
        print(f"{number}. {stage.title}\n   $ {in_words(stage.words, stage.processes)}")


def converse(settings: SpeedrunSettings) -> None:
    """Three conversations, as they would be in a chat."""
    from inkling.hub.load import load

    model, tokenizer = load(f"runs/{settings.name}")
    for questions in SAMPLES:
        print("\n--- a conversation")
        dialogue = Dialogue(model, tokenizer, sampling=SamplingSettings(temperature=0))
        for question in questions:
            print(f"> {question}", flush=True)
            Terminal(dialogue).answer(question)
    print()
