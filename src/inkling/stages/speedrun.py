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
from inkling.stages import report
from inkling.stages.pipeline import Pipeline, follow, in_words
from inkling.stages.pipelines import cpu, gpu, outlook
from inkling.stages.pipelines.settings import SpeedrunSettings, settled
from inkling.stages.tables import show_table

SETTINGS = SpeedrunSettings
DESCRIPTION = """The whole way in one command: inkling speedrun [cpu | gpu | 8xh100] [--key=value ...]

  inkling speedrun                                   ten to fifteen minutes on two CPU cores → runs/chatbot
  inkling speedrun --tables=mine --name=mybot        with your own facts: tables in the folder mine
  inkling speedrun                                   again, after an interruption: it goes on
  inkling speedrun gpu --dry_run                     what it would download, run and cost; runs nothing
  inkling speedrun 8xh100 --price_per_hour=24        asks before it begins, or takes --yes

cpu makes text and conversations from the almanac's facts and downloads nothing. gpu and 8xh100 take web text
(FineWeb-Edu), a model by the depth dial (12 and 20 layers), SmolTalk's conversations and the exams of papers. Each
learns a vocabulary, pretrains, teaches conversation, asks questions that were kept out of all of it, and ends with a
report."""

# What is asked in the end, for people to read.
SAMPLES = (
    ("What is the capital of France?", "And its currency?", "What is 347 times 26?"),
    ("Hello! Who are you?", "How do you spell planet?", "How many e's are in elephant?"),
    ("What is the chemical symbol of gold?", "Who wrote Hamlet?", "What is the capital of Zarblonia?"),
)
MACHINES = ("cpu", "gpu", "8xh100")


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
    pipeline = cpu.plan(settings) if machine == "cpu" else plan_on_gpus(settings, machine)
    if settings.dry_run:
        show_commands(pipeline)
        return
    began = time.monotonic()
    took = [[title, in_minutes(seconds)] for title, seconds in follow(pipeline)]
    converse(settings)
    report.main(f"runs/{settings.name}", report.ReportSettings(price_per_hour=settings.price_per_hour))
    show_table("what it took", [*took, ["in all", in_minutes(time.monotonic() - began)]], strong=["in all"])
    print(f"The model is in runs/{settings.name}, what was recorded in runs/{settings.name}/report.md. Next:")
    print(f"  inkling chat {settings.name}                 talk with it")
    print(f"  inkling plot {settings.name}-base {settings.name}    how it learned")


def plan_on_gpus(settings: SpeedrunSettings, machine: str) -> Pipeline:
    """The stages, after saying what they will take; and unless it is a dry run, after asking."""
    gpus = gpu.find_machine(8 if machine == "8xh100" else 1)
    if not settings.dry_run:
        gpu.refuse_absent(gpus, machine)
    pipeline = gpu.plan(settings, gpus, machine)
    expected = outlook.reckon(settings, gpu.pretraining(settings, gpus), gpus)
    outlook.show(expected, settings, gpus)
    if not settings.dry_run and not pipeline.book.exists():  # what has begun was asked for before
        outlook.check_disk(expected)
        outlook.ask_to_begin(settings)
    return pipeline


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
