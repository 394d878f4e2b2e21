"""`inkling scaling`: several sizes at each of several budgets of FLOPs, and the laws that the best of them follow."""

from dataclasses import dataclass
from pathlib import Path

from inkling.errors import UserError
from inkling.evals.fit import LEAST_SIZES, PowerLaw, Scaling, Valley, fit_scaling
from inkling.evals.sweep import Point, budgets_of, read_point
from inkling.files import write_atomic
from inkling.stages.pictures import save_scaling
from inkling.stages.pipeline import follow
from inkling.stages.sweep import (
    DEFAULT,
    Cell,
    SweepSettings,
    machine_line,
    markdown_table,
    numbers,
    plan,
    show_plan,
    split_own,
)
from inkling.stages.tables import show_table
from inkling.stages.train_settings import TrainSettings
from inkling.train.progress import clock


@dataclass(frozen=True)
class ScalingSettings(SweepSettings):
    """scaling"""

    name: str = "scaling"
    """the runs are runs/NAME/c1e12_d02 and so on; what is found is in runs/NAME/scaling.md and .svg"""
    budgets: str = "2e11,3e11,1e12"
    """FLOPs that each training of a budget spends in all"""
    depths: str = "1,2,3,4,5"
    """the sizes at each budget, by the depth dial; at least three"""
    seed_of_fit: int = 1337
    """of the draws from which the intervals come"""


@dataclass(frozen=True)
class Settings:
    """What `inkling scaling` can be told: its own keys, and all of `inkling train`."""

    scaling: ScalingSettings = ScalingSettings()
    train: TrainSettings = TrainSettings()


SETTINGS = Settings
DESCRIPTION = """How size and data should grow with compute: inkling scaling [RECIPE] [--key=value ...]

  inkling scaling                                          fifteen small models on a CPU → runs/scaling/scaling.md
  inkling scaling --budgets=1e10,2e10,4e10 --depths=1,2,3  in a minute
  inkling scaling gpu --budgets=1e18,3e18,1e19 --depths=4,6,8,10,12 --width_per_layer=64 --gpus=8 --name=web

For each budget the losses of all sizes are fitted by a parabola in log N, whose lowest point is the best size (Hoffmann
et al. 2022, approach 2); the best sizes by a power law of the budget. It ends with a table, a plot, and the exponents
with the interval in which they lie. All other keys go to every training. What is done is not done again."""


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if len(positional) > 1:
        raise UserError("scaling takes one RECIPE at most.", "For example: inkling scaling --depths=2,3,4", 2)
    settings, rest = split_own(ScalingSettings, flags)
    main(positional[0] if positional else DEFAULT, settings, rest)


def main(recipe: str, settings: ScalingSettings, rest: dict[str, str] | None = None) -> Scaling | None:
    """Train what is not done, fit, and show; None for a dry run."""
    budgets = numbers(settings.budgets, "budgets", whole=False)
    depths = [int(depth) for depth in numbers(settings.depths, "depths")]
    if len(depths) < LEAST_SIZES:
        raise UserError(f"{len(depths)} depths make no parabola.", f"Give at least {LEAST_SIZES} --depths.", status=2)
    cells = [cell_of(flops, depth) for flops in budgets for depth in depths]
    pipeline = plan("scaling", recipe, settings, rest or {}, cells)
    if settings.dry_run:
        show_plan(pipeline)
        return None
    follow(pipeline)
    points = [read_point(stage.makes) for stage in pipeline.stages]
    budgeted = [(flops, point) for flops, point in zip((b for b in budgets for _ in depths), points, strict=True)]
    found = fit_scaling(budgets_of(budgeted), settings.seed_of_fit)
    report(Path("runs", settings.name), recipe, budgeted, found)
    print("next: the same command with more --budgets or --depths trains only those that are new")
    return found


def cell_of(flops: float, depth: int) -> Cell:
    """The training of a depth at a budget."""
    title, label = f"{short(flops)} FLOPs, depth {depth}", f"c{short(flops)}_d{depth:02d}"
    return Cell(title, label, depth, (f"--target_flops={short(flops)}",))


def short(flops: float, digits: int = 6) -> str:
    """2e+07 → 2e7."""
    mantissa, _, exponent = f"{flops:.{digits}g}".partition("e+")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


# --- what is said --------------------------------------------------------------------------------------------

RUNS = ["budget", "depth", "N", "tokens", "tokens / N", "FLOPs", "val loss", "bits per byte", "time"]
BEST = ["budget", "best N", "its tokens", "tokens / N", "loss", "the lowest point is"]
WHERE = {
    "inside": "among the sizes",
    "below": "below the smallest: not used",
    "above": "above the largest: not used",
    "none": "nowhere: not used",
}


def report(folder: Path, recipe: str, budgeted: list[tuple[float, Point]], found: Scaling) -> None:
    """On the terminal, and in runs/NAME/scaling.md."""
    runs = [run_row(flops, point) for flops, point in budgeted]
    best = [best_row(valley) for valley in found.valleys]
    conclusions = sentences(found)
    print()
    show_table(f"{folder.name}: {recipe}, {len(runs)} trainings", runs, head=RUNS)
    show_table("the best size of each budget", best, head=BEST)
    print("\n".join(conclusions))
    picture = save_scaling(budgeted, found, folder / "scaling.svg")
    seconds = sum(point.seconds for _, point in budgeted)
    page = [
        f"# Scaling of {recipe}",
        f"{machine_line()} {len(runs)} trainings, {clock(seconds)} of training in all.",
        markdown_table(RUNS, runs) + "\n" + NOTES,
        "## The best size of each budget",
        markdown_table(BEST, best),
        *conclusions,
        *([f"![IsoFLOP curves, and the laws]({picture.name})"] if picture else []),
    ]
    write_atomic(folder / "scaling.md", "\n\n".join(part.rstrip() for part in page) + "\n")
    print(f"→ {folder / 'scaling.md'}" + (f", {picture}" if picture else ""))


NOTES = """N are the weights that a token is multiplied by, of blocks and head; the embedding only looks rows up.
FLOPs are counted exactly, attention scores included (`inkling size` shows them by part). Loss is in nats per token of
the validation text; bits per byte are that loss by the validation text's count of tokens and bytes. Time is of training
alone."""


def run_row(flops: float, point: Point) -> list[str]:
    """A training."""
    bpb = f"{point.bpb:.4f}" if point.bpb is not None else "n/a"
    per = f"{point.tokens / point.size:.1f}"
    figures = [f"{point.size:,}", f"{point.tokens:,}", per, short(point.flops, 3), f"{point.val_loss:.4f}", bpb]
    return [short(flops), f"{point.depth}", *figures, clock(point.seconds)]


def best_row(valley: Valley) -> list[str]:
    """A budget's lowest point."""
    if valley.where == "none":
        return [short(valley.budget.flops), "", "", "", "", WHERE["none"]]
    per = f"{valley.tokens / valley.size:.1f}"
    best = [f"{valley.size:,.0f}", f"{valley.tokens:,.0f}", per, f"{valley.loss:.4f}"]
    return [short(valley.budget.flops), *best, WHERE[valley.where]]


def sentences(found: Scaling) -> list[str]:
    """The exponents, how sure they are, and what stands against them."""
    used = sum(valley.where == "inside" for valley in found.valleys)
    said = []
    for valley in found.valleys:
        at = f"At {short(valley.budget.flops)} FLOPs"
        if valley.where in ("below", "above"):
            further = "smaller" if valley.where == "below" else "larger"
            said.append(f"{at} the best size is beyond those trained: add {further} --depths.")
        elif valley.where == "none":
            said.append(f"{at} the losses make no valley: add --depths on both sides.")
    if found.size is None or found.tokens is None:
        return [*said, f"Only {used} of {len(found.valleys)} lowest points can be trusted: there is no law to fit yet."]
    said += [f"N_opt ∝ C^{law_words(found.size)}.", f"D_opt ∝ C^{law_words(found.tokens)}."]
    if found.freedom:
        said.append(
            f"The losses lie {found.noise:.4f} nats off their parabolas (a standard deviation, {found.freedom} spare). "
            "The intervals are what that noise alone leaves open, not what other shapes, rates or data would change."
        )
    else:
        said.append("With three sizes a budget nothing is left to tell the noise by: no interval can be given.")
    if used == 2:
        said.append("Two budgets always lie on a line: nothing here says that it is a law.")
    else:
        off = max(found.size.off, found.tokens.off)
        honest = "That is one point more than a line needs: little to judge a law by." if used == 3 else ""
        said.append(f"The {used} best sizes lie within {off:.0%} of the line. {honest}".rstrip())
    return said


def law_words(law: PowerLaw) -> str:
    """An exponent and where it lies."""
    if law.low is None or law.high is None:
        return f"{law.exponent:.2f} (no interval)"
    return f"{law.exponent:.2f} (95 %: {law.low:.2f} to {law.high:.2f})"
