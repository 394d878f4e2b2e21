"""inkling speedrun: the whole way in one command, from tables of facts to a bot that answers.

Each stage is a command that a person could type, and is printed before it runs. What is done is not done again, so the
same command goes on after an interruption.
"""

import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from inkling.data.estimate import in_minutes
from inkling.data.shards import folder_for, open_dataset
from inkling.data.sources import almanac
from inkling.errors import UserError
from inkling.infer.dialogue import Dialogue
from inkling.infer.sampling import SamplingSettings
from inkling.serve.terminal import Terminal
from inkling.settings import Layer, build
from inkling.stages.tables import show_table
from inkling.text.tokenizer_sources import load_tokenizer
from inkling.train.checkpoint import read_index
from inkling.train.runfolder import read_resolved


@dataclass(frozen=True)
class SpeedrunSettings:
    """speedrun"""

    name: str = "chatbot"
    """of the bot: runs/NAME; what leads to it is in tokenizers/NAME, data/NAME and runs/NAME-base"""
    vocab_size: int = 512
    """ids of its tokenizer"""
    documents: int = 24_000
    """texts to read first"""
    conversations: int = 42_000
    """conversations to learn from"""
    read_steps: int = 500
    """steps of reading, with the recipe almanac"""
    teach_steps: int = 1600
    """steps of learning to answer"""
    tables: str = ""
    """a folder of your own tables of facts, which join the bundled ones"""
    questions: int = 100
    """of each kind, asked at the end"""
    seed: int = 1337
    """of the texts, the conversations and the weights"""


@dataclass(frozen=True)
class Stage:
    """One command of the way."""

    title: str
    words: tuple[str, ...]
    """what stands after `inkling`"""
    is_done: bool = False


SETTINGS = SpeedrunSettings
DESCRIPTION = """The whole way in one command: inkling speedrun [--key=value ...]

  inkling speedrun                                   ten to fifteen minutes on two CPU cores → runs/chatbot
  inkling speedrun --tables=mine --name=mybot        with your own facts: tables in the folder mine
  inkling speedrun                                   again, after an interruption: it goes on

It makes text and conversations from the almanac's facts, learns a vocabulary, pretrains, teaches conversation and asks
questions that were kept out of all of it. Nothing is downloaded."""

# What is asked in the end, for people to read.
SAMPLES = (
    ("What is the capital of France?", "And its currency?", "What is 347 times 26?"),
    ("Hello! Who are you?", "How do you spell planet?", "How many e's are in elephant?"),
    ("What is the chemical symbol of gold?", "Who wrote Hamlet?", "What is the capital of Zarblonia?"),
)


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if positional:
        raise UserError(f"speedrun takes no {positional[0]!r}.", "For example: inkling speedrun --name=mybot", status=2)
    settings, _ = build(SpeedrunSettings, [Layer("flag", flags)])
    main(settings)


def main(settings: SpeedrunSettings) -> None:
    """Run every stage that is not done, in a process of its own, and say what each took."""
    folder_for(settings.name)  # which refuses what is no name
    took: list[list[str]] = []
    began = time.monotonic()
    number = 0
    while True:
        stages = stages_of(settings)
        if number == len(stages):
            break
        stage = stages[number]
        number += 1
        print(f"\n--- {number} of {len(stages)}: {stage.title}")
        if stage.is_done:
            print("done already")
            continue
        took.append([stage.title, in_minutes(run(stage, settings))])
    converse(settings)
    show_table("what it took", [*took, ["in all", in_minutes(time.monotonic() - began)]], strong=["in all"])
    print(f"The model is in runs/{settings.name}. Talk with it: inkling chat {settings.name}")


def stages_of(settings: SpeedrunSettings) -> list[Stage]:
    """The way, with what of it is done."""
    name, data, tables = settings.name, f"data/{settings.name}", settings.tables
    tokenizer = f"tokenizers/{name}"
    own = (f"--tables={tables}",) if tables else ()
    common = (f"--data_dir={data}", f"--tokenizer={tokenizer}", f"--seed={settings.seed}", *own)
    text, chat = f"{data}/almanac", f"{data}/almanac_chat"
    return [
        Stage(
            "a vocabulary is learned",
            ("tokenizer", "train", name, "--input=almanac", f"--vocab_size={settings.vocab_size}"),
            (Path(tokenizer) / "tokenizer.json").exists(),
        ),
        Stage(
            "facts become text",
            ("prepare", "almanac", f"--documents={settings.documents}", *common),
            _is_prepared(text, tokenizer, settings, settings.documents, chat=False),
        ),
        Stage(
            "facts become conversations",
            ("prepare", "almanac_chat", f"--documents={settings.conversations}", *common),
            _is_prepared(chat, tokenizer, settings, settings.conversations, chat=True),
        ),
        _training(
            "a small GPT reads",
            f"runs/{name}-base",
            chat,
            (
                "train",
                "almanac",
                f"--dataset={text}:0.6,{chat}:0.4",
                f"--max_iters={settings.read_steps}",
                f"--seed={settings.seed}",
            ),
        ),
        _training(
            "it learns to answer",
            f"runs/{name}",
            chat,
            (
                "sft",
                f"runs/{name}-base",
                f"--dataset={chat}",
                f"--max_iters={settings.teach_steps}",
                "--rate=0.7",
                "--eval_interval=500",
                "--eval_tokens=32768",
            ),
        ),
        Stage(
            "questions that it has never seen",
            ("evaluate", f"runs/{name}", f"--max_questions={settings.questions}", "--show=3", *own),
        ),
    ]


def _is_prepared(where: str, tokenizer: str, settings: SpeedrunSettings, count: int, chat: bool) -> bool:
    """Whether the data set is there, made of the facts of today with the tokenizer of today."""
    if not Path(where, "meta.json").exists() or not Path(tokenizer, "tokenizer.json").exists():
        return False
    meta = open_dataset(Path(where)).meta
    described = almanac.describe(settings.tables, settings.seed, count, chat)
    return meta.source == described and meta.tokenizer_sha256 == load_tokenizer(tokenizer).sha256()


def _training(title: str, run: str, data: str, words: tuple[str, ...]) -> Stage:
    """A training: to begin, to go on with, or done. One that read other data than there is now stands in the way."""
    out, begun, made = f"--out_dir={run}", Path(run, "config.toml"), Path(data, "meta.json")
    if not begun.exists():
        return Stage(title, (*words, out))
    if made.exists() and made.stat().st_mtime > begun.stat().st_mtime:
        raise UserError(
            f"The facts or settings have changed since {run} was trained.",
            f"Choose another name, inkling speedrun --name=NAME, or delete {run}.",
        )
    steps = read_resolved(Path(run))[0]["max_iters"]
    return Stage(title, (words[0], out, "--resume"), is_done=read_index(Path(run))["last"] == steps)


def run(stage: Stage, settings: SpeedrunSettings) -> float:
    """Run a stage to its end; returns the seconds it took."""
    print(f"$ inkling {shlex.join(stage.words)}", flush=True)
    began = time.monotonic()
    status = _call(stage.words)
    if status:
        raise UserError(
            f"The stage ended with status {status}.",
            "When what it says is mended, the same command goes on from here: inkling speedrun"
            + (f" --name={settings.name}" if settings.name != SpeedrunSettings.name else ""),
            status=status,
        )
    return time.monotonic() - began


def _call(words: tuple[str, ...]) -> int:
    """The status of a command in a process of its own. Ctrl-C is the command's to answer first."""
    process = subprocess.Popen([sys.executable, "-m", "inkling", *words])
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # it has heard it as well, saves, and ends
            continue


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
