"""What a way on GPUs will take, said before it begins: downloads, disk, time and money. All are estimates."""

import sys
from dataclasses import dataclass
from pathlib import Path

from inkling.data.estimate import in_bytes, in_minutes
from inkling.data.sources import hub
from inkling.data.workers import usable_cores
from inkling.errors import UserError
from inkling.files import free_space
from inkling.model.cost import flops_per_token, parameters_by_part, training_bytes
from inkling.peak import published_peak
from inkling.stages.pipelines.gpu import TEXT, Machine, text_tokens
from inkling.stages.pipelines.settings import SpeedrunSettings
from inkling.stages.tables import show_table
from inkling.stages.train_settings import TrainSettings

# The share of the published peak that training is reckoned to reach. Not measured here: with compiled bfloat16, models
# of this width are reported at 38 to 50 % on A100 and H100 (nanoGPT, nanochat); 40 is the careful end.
MFU = 0.40
# Bytes of files on the hub, as their pages list them; the text's own are reckoned from its tokens.
DOWNLOADS = {"conversations (smol-smoltalk, mmlu, gsm8k)": 0.98e9, "exams (ARC, CORE)": 0.17e9}
# Tokens in one reading of the conversations: 1.7 GB of text at 4.3 bytes each.
TALK_TOKENS = 0.4e9
# Bytes of text in a token of a vocabulary of 32,768, and bytes that a core encodes in a second (benchmarks/prepare.md).
TOKEN_BYTES, ENCODED = 4.5, 13e6
# What the sample on the hub holds.
MOST_TEXT = 10e9


@dataclass(frozen=True)
class Outlook:
    """All that is reckoned. Bytes and seconds."""

    parameters: int
    tokens: float
    downloads: dict[str, float]
    disk: dict[str, float]
    seconds: dict[str, float] | None
    """None: the GPU's peak is not known"""

    @property
    def hours(self) -> float | None:
        return None if self.seconds is None else sum(self.seconds.values()) / 3600


def reckon(settings: SpeedrunSettings, wanted: TrainSettings, machine: Machine) -> Outlook:
    """From the model's cost, the GPU's published peak and the numbers above."""
    config = wanted.model.filled()
    assert wanted.data.tokens_per_step and settings.epochs
    tokens = wanted.loop.max_iters * wanted.data.tokens_per_step
    parameters = sum(parameters_by_part(config).values())
    prepared = text_tokens(wanted)
    text = prepared / hub.KNOWN[TEXT].density
    kept = sum(training_bytes(config, wanted.optimizer.optimizer).values()) - 4 * parameters  # no gradients are kept
    run = (wanted.loop.keep_last + 1) * kept + wanted.loop.snapshots * 4 * parameters
    disk = {"downloads": text + sum(DOWNLOADS.values()), "tokens": 2 * (prepared + TALK_TOKENS), "two runs": 2 * run}
    peak = published_peak(machine.name, "bfloat16")
    seconds = None
    if peak:
        speed = machine.count * peak * MFU / flops_per_token(config)
        encoding = (prepared + TALK_TOKENS) * TOKEN_BYTES / (ENCODED * min(16, usable_cores()))
        seconds = {
            "text becomes tokens (processor)": encoding,
            "reading (GPU)": tokens / speed,
            "learning to talk (GPU)": settings.epochs * TALK_TOKENS / speed,
        }
    return Outlook(parameters, tokens, {"web text (FineWeb-Edu)": text, **DOWNLOADS}, disk, seconds)


def show(outlook: Outlook, settings: SpeedrunSettings, machine: Machine) -> None:
    """All of it, in words."""
    here = "" if machine.is_here else ", which is not here: the plan is reckoned for it"
    print(f"on {machine.count} × {machine.name}{here}")
    print(f"{outlook.parameters:,} parameters read {outlook.tokens / 1e9:.2f} billion tokens\n")
    rows = [[what, in_bytes(size)] for what, size in outlook.downloads.items()]
    show_table("to download, about", [*rows, ["in all", in_bytes(sum(outlook.downloads.values()))]], strong=["in all"])
    rows = [[what, in_bytes(size)] for what, size in outlook.disk.items()]
    rows.append(["in all", in_bytes(sum(outlook.disk.values()))])
    show_table("disk needed, about", [*rows, ["free", in_bytes(free_space(Path()))]], strong=["in all"])
    if outlook.tokens > MOST_TEXT:
        print(f"note: the text has {MOST_TEXT / 1e9:.0f} billion tokens, which are then read more than once")
    show_time(outlook, settings, machine)


def show_time(outlook: Outlook, settings: SpeedrunSettings, machine: Machine) -> None:
    """How long, and what it comes to."""
    if outlook.seconds is None or outlook.hours is None:
        print(
            f"time: cannot be said, because the peak of {machine.name} is not known here. `inkling bench` measures it."
        )
        return
    rows = [[what, in_minutes(seconds)] for what, seconds in outlook.seconds.items()]
    rows.append(["in all, an estimate", in_minutes(outlook.hours * 3600)])
    if settings.price_per_hour is not None:
        rows.append(
            [f"money, at {settings.price_per_hour:g} an hour", f"{outlook.hours * settings.price_per_hour:,.2f}"]
        )
    show_table("time, about", rows, strong=["in all, an estimate"])
    print(
        f"The GPUs' part is the model's FLOPs at {MFU:.0%} of their published peak, which was not measured here. "
        "Downloads, compiling, evaluations and exams come on top, and are not reckoned.\n"
    )


def check_disk(outlook: Outlook) -> None:
    """Refuse what cannot fit before anything is fetched."""
    needed, free = sum(outlook.disk.values()), free_space(Path())
    if needed > free:
        raise UserError(
            f"This needs about {in_bytes(needed)} of disk; {in_bytes(free)} are free here.",
            "Free some, or use a smaller --depth.",
        )


def ask_to_begin(settings: SpeedrunSettings) -> None:
    """--yes, or a y on the terminal. Raises UserError otherwise."""
    if settings.yes:
        return
    if not sys.stdin.isatty():
        raise UserError("This downloads gigabytes and takes hours, so it wants to be asked for.", "Add --yes.")
    if input("Begin? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UserError("Not begun.", "The same command with --yes begins without asking.")
