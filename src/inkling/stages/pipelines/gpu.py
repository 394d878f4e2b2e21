"""The way on one GPU or eight: web text, a GPT by the depth dial, conversations, and the exams that papers use."""

from dataclasses import dataclass, replace
from pathlib import Path

from inkling.errors import UserError
from inkling.model.config import GPTConfig
from inkling.model.cost import activation_peak, training_bytes
from inkling.stages.pipeline import Pipeline, Stage
from inkling.stages.pipelines.settings import SpeedrunSettings, again
from inkling.stages.train_settings import TrainSettings, compose

TEXT, RECIPE = "fineweb_edu", "gpu"

# What conversations it learns from, and the share of each: near what each holds, so that SmolTalk and MMLU are read
# about once; GSM8K is small and is read more often, because sums are what it teaches.
MIXTURE = {"smoltalk": 0.84, "mmlu": 0.08, "gsm8k": 0.04, "spelling": 0.04}
SPELLINGS = 50_000  # made on the spot
# Asked in the end. HumanEval is among them only where the model's programs may run here.
EXAMS = ("arc_easy", "arc_challenge", "mmlu", "gsm8k", "spelling")


@dataclass(frozen=True)
class Machine:
    """The GPUs that the plan is for."""

    count: int
    name: str
    memory: int
    """bytes of one"""
    is_here: bool


# What a plan is reckoned for where there is no GPU to look at.
IMAGINED = Machine(1, "NVIDIA H100 80GB", 80 * 10**9, is_here=False)


def find_machine(count: int) -> Machine:
    """So many of the GPUs that PyTorch sees; where it sees too few, as many of an imagined one."""
    import torch

    if torch.cuda.is_available() and torch.cuda.device_count() >= count:
        return Machine(count, torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory, True)
    return replace(IMAGINED, count=count)


def refuse_absent(machine: Machine, name: str) -> None:
    """The plan can be looked at anywhere; it runs only where the GPUs are."""
    if machine.is_here:
        return
    import torch

    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    raise UserError(
        f"speedrun {name} needs {machine.count} GPU{'s' if machine.count > 1 else ''} that PyTorch can use; it sees "
        f"{seen}.",
        f"Look at the plan: inkling speedrun {name} --dry_run. Or take the way of this machine: inkling speedrun"
        + (", or speedrun gpu." if seen else "."),
    )


def pretraining(settings: SpeedrunSettings, machine: Machine) -> TrainSettings:
    """What `inkling train` will be told, with everything that the dial gives, and with rows that fit the GPU."""
    flags = {"depth": str(settings.depth), "vocab_size": str(settings.vocab_size)}
    flags["dataset"] = f"data/{settings.name}/{TEXT}"
    rows = settings.batch_size or rows_that_fit(compose([RECIPE], flags)[0], machine.memory)
    return compose([RECIPE], flags | {"batch_size": str(rows)})[0]


def rows_that_fit(settings: TrainSettings, memory: int) -> int:
    """The most rows, a power of two up to 32, that are reckoned to leave a fifth of the GPU's memory free.

    A fifth, because the count is of eager PyTorch with nothing wasted between tensors. More than 32 rows of 2,048
    tokens make no product faster.
    """
    config: GPTConfig = settings.model.filled()
    fixed = sum(training_bytes(config, settings.optimizer.optimizer).values())
    for rows in (32, 16, 8, 4, 2):
        if fixed + activation_peak(config, rows, 2, device_type="cuda") < 0.8 * memory:
            return rows
    return 1


def plan(settings: SpeedrunSettings, machine: Machine, name: str) -> Pipeline:
    """The stages, of settings that `settled` has filled; `name` is gpu or 8xh100."""
    s, wanted = settings, pretraining(settings, machine)
    tokenizer, data, base, bot = f"tokenizers/{s.name}", f"data/{s.name}", f"runs/{s.name}-base", f"runs/{s.name}"
    vocabulary, text = Path(tokenizer, "tokenizer.json"), Path(data, TEXT, "meta.json")
    common = (f"--data_dir={data}", f"--tokenizer={tokenizer}")
    talks = {task: Path(data, task, "meta.json") for task in MIXTURE}
    stages = [
        Stage(
            "a vocabulary is learned from web text",
            ("tokenizer", "train", s.name, f"--input={TEXT}", f"--vocab_size={s.vocab_size}"),
            makes=vocabulary,
        ),
        Stage(
            "web text becomes tokens",
            ("prepare", TEXT, f"--limit={text_tokens(wanted) / 1e6:.0f}M", *common),
            makes=text,
            reads=(vocabulary,),
        ),
        Stage(
            "a GPT reads",
            (
                "train",
                RECIPE,
                f"--depth={s.depth}",
                f"--dataset={data}/{TEXT}",
                f"--batch_size={wanted.data.batch_size}",
                f"--seed={s.seed}",
                f"--out_dir={base}",
            ),
            makes=Path(base),
            reads=(text,),
            processes=machine.count,
        ),
        Stage(
            "what it knows: bits per byte, and CORE",
            ("evaluate", base, "--tasks=bpb,core"),
            makes=Path(base, "evaluations", "core.json"),
            reads=(Path(base),),
        ),
        *(
            Stage(
                f"conversations: {task}",
                ("prepare", task, *((f"--documents={SPELLINGS}",) if task == "spelling" else ()), *common),
                makes=made,
                reads=(vocabulary,),
            )
            for task, made in talks.items()
        ),
        Stage(
            "it learns to talk",
            (
                "sft",
                base,
                "--dataset=" + ",".join(f"{data}/{task}:{share}" for task, share in MIXTURE.items()),
                f"--epochs={s.epochs:g}",
                f"--out_dir={bot}",
            ),
            makes=Path(bot),
            reads=(Path(base), *talks.values()),
            processes=machine.count,
        ),
        Stage(
            "exams",
            ("evaluate", bot, *exams(s), f"--max_questions={s.questions}"),
            makes=Path(bot, "evaluations", "chatcore.json" if s.allow_python else f"{EXAMS[-1]}.json"),
            reads=(Path(bot),),
        ),
    ]
    return Pipeline(s.name, tuple(stages), again(s, name))


def text_tokens(wanted: TrainSettings) -> float:
    """How many to prepare: what is read, and a twentieth more, because --limit counts GPT-2's tokens."""
    assert wanted.data.tokens_per_step
    return 1.05 * wanted.loop.max_iters * wanted.data.tokens_per_step


def exams(settings: SpeedrunSettings) -> tuple[str, ...]:
    """What is asked: ChatCORE whole, or the five of its six tasks that run no program."""
    return ("--tasks=chatcore", "--allow_python") if settings.allow_python else (f"--tasks={','.join(EXAMS)}",)
