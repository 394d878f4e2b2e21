"""What `inkling speedrun` can be told, on any machine."""

from dataclasses import dataclass, fields, replace
from typing import Any

from inkling.errors import UserError


@dataclass(frozen=True)
class SpeedrunSettings:
    """speedrun"""

    name: str = ""
    """of the bot: runs/NAME; what leads to it is in tokenizers/NAME, data/NAME and runs/NAME-base. Empty: chatbot, or
    chatbot-gpu and chatbot-8xh100"""
    vocab_size: int | None = None
    """ids of its tokenizer; None: 512 on a CPU, 32,768 on GPUs"""
    seed: int = 1337
    """of the texts, the conversations and the weights"""
    questions: int = 100
    """of each kind, asked at the end"""
    price_per_hour: float | None = None
    """what the machine costs, in any currency: then the plan and the report say what it comes to"""
    documents: int | None = None
    """cpu: texts to read first; None: 24,000"""
    conversations: int | None = None
    """cpu: conversations to learn from; None: 42,000"""
    read_steps: int | None = None
    """cpu: steps of reading, with the recipe almanac; None: 500"""
    teach_steps: int | None = None
    """cpu: steps of learning to answer; None: 1,600"""
    tables: str = ""
    """cpu: a folder of your own tables of facts, which join the bundled ones"""
    depth: int | None = None
    """gpu, 8xh100: the dial; None: 12 layers on one GPU, 20 on eight"""
    batch_size: int | None = None
    """gpu, 8xh100: rows at once on each GPU; None: as many as are reckoned to fit"""
    epochs: float | None = None
    """gpu, 8xh100: how often the conversations are read; None: once"""
    allow_python: bool = False
    """gpu, 8xh100: whether programs that the model writes may run here, with limits but in no safe box: then HumanEval
    is asked too, and the exams' mean is ChatCORE"""
    yes: bool = False
    """gpu, 8xh100: begin without asking"""
    dry_run: bool = False
    """print the plan, and run nothing"""


ON_CPU = {"documents": 24_000, "conversations": 42_000, "read_steps": 500, "teach_steps": 1600, "vocab_size": 512}
ON_GPU = {"vocab_size": 32_768, "epochs": 1.0}
OWN = {"cpu": {*ON_CPU, "tables"}, "gpu": {*ON_GPU, "depth", "batch_size", "allow_python", "yes"}}


def settled(settings: SpeedrunSettings, machine: str) -> SpeedrunSettings:
    """The settings with the machine's own defaults. Raises UserError for those that are another machine's."""
    here, there = ("cpu", "gpu") if machine == "cpu" else ("gpu", "cpu")
    nothing = SpeedrunSettings()
    for key in sorted(OWN[there] - OWN[here]):
        if getattr(settings, key) != getattr(nothing, key):
            raise UserError(f"--{key} means nothing to speedrun {machine}.", "See inkling speedrun --help.", status=2)
    chosen = ON_CPU if machine == "cpu" else ON_GPU | {"depth": 12 if machine == "gpu" else 20}
    filled: dict[str, Any] = {key: value for key, value in chosen.items() if getattr(settings, key) is None}
    name = settings.name or {"cpu": "chatbot"}.get(machine, f"chatbot-{machine}")
    return replace(settings, name=name, **filled)


def again(settings: SpeedrunSettings, machine: str) -> str:
    """The command that a person would type for these settings, the name last."""
    usual = settled(SpeedrunSettings(), machine)
    told = {field.name: getattr(settings, field.name) for field in fields(settings)}
    differing = {key: value for key, value in told.items() if value != getattr(usual, key) and key != "name"}
    words = [f"--{key}" if value is True else f"--{key}={value}" for key, value in differing.items()]
    words += [f"--name={settings.name}"] if settings.name != usual.name else []
    return " ".join(["inkling speedrun", *([machine] if machine != "cpu" else []), *words])
