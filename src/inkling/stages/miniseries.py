"""`inkling miniseries`: the same recipe at several depths, and how the loss falls along them."""

from dataclasses import dataclass
from pathlib import Path

from inkling.errors import UserError
from inkling.evals.sweep import Point, read_point
from inkling.files import write_atomic
from inkling.stages.pictures import save_miniseries
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
class MiniseriesSettings(SweepSettings):
    """miniseries"""

    name: str = "miniseries"
    """the runs are runs/NAME/d02 and so on; the table and the plot are runs/NAME/miniseries.md and .svg"""
    depths: str = "1,2,3,4"
    """the models, by the depth dial"""


@dataclass(frozen=True)
class Settings:
    """What `inkling miniseries` can be told: its own keys, and all of `inkling train`."""

    miniseries: MiniseriesSettings = MiniseriesSettings()
    train: TrainSettings = TrainSettings()


SETTINGS = Settings
DESCRIPTION = """One recipe at several depths: inkling miniseries [RECIPE] [--key=value ...]

  inkling miniseries                                       four small models on a CPU → runs/miniseries/miniseries.md
  inkling miniseries --depths=2,3 --tokens_per_parameter=5
  inkling miniseries gpu --depths=4,8,12,16 --width_per_layer=64 --gpus=8 --name=web

Every depth gives a model, its batch and its length of training (see `inkling train --help`, depth dial). It ends with a
table and a plot: parameters, FLOPs, loss. All other keys go to every training. What is done is not done again; what was
interrupted goes on."""


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if len(positional) > 1:
        raise UserError("miniseries takes one RECIPE at most.", "For example: inkling miniseries --depths=2,4", 2)
    settings, rest = split_own(MiniseriesSettings, flags)
    main(positional[0] if positional else DEFAULT, settings, rest)


def main(recipe: str, settings: MiniseriesSettings, rest: dict[str, str] | None = None) -> list[Point]:
    """Train every depth that is not done; table, page and plot. Returns the runs' figures."""
    depths = [int(depth) for depth in numbers(settings.depths, "depths")]
    cells = [Cell(f"depth {depth}", f"d{depth:02d}", depth) for depth in depths]
    pipeline = plan("miniseries", recipe, settings, rest or {}, cells)
    if settings.dry_run:
        show_plan(pipeline)
        return []
    follow(pipeline)
    points = [read_point(stage.makes) for stage in pipeline.stages]
    head = ["depth", "width", "parameters", "N", "tokens", "FLOPs", "val loss", "bits per byte", "time"]
    rows = [row_of(point) for point in points]
    print()
    show_table(f"{settings.name}: {recipe} at {len(points)} depths", rows, head=head)
    write_page(Path("runs", settings.name), recipe, points, markdown_table(head, rows))
    print(f"next: inkling plot {' '.join(stage.makes.as_posix() for stage in pipeline.stages)}")
    return points


def row_of(point: Point) -> list[str]:
    """A line of the table."""
    return [
        f"{point.depth}",
        f"{point.width}",
        f"{point.parameters:,}",
        f"{point.size:,}",
        f"{point.tokens:,}",
        f"{point.flops:.2e}",
        f"{point.val_loss:.4f}",
        f"{point.bpb:.4f}" if point.bpb is not None else "n/a",
        clock(point.seconds),
    ]


NOTES = """N are the weights that a token is multiplied by, of blocks and head; the embedding only looks rows up.
Loss is in nats per token of the validation text. Bits per byte are that loss by the validation text's count of tokens
and bytes, in which marks between documents are tokens. Time is of training alone."""


def write_page(folder: Path, recipe: str, points: list[Point], table: str) -> None:
    """runs/NAME/miniseries.md, with its picture where matplotlib is."""
    picture = save_miniseries(points, folder / "miniseries.svg")
    shown = f"\n![loss by size and by FLOPs]({picture.name})\n" if picture else ""
    page = f"# A miniseries of {recipe}\n\n{machine_line()}\n\n{table}\n{NOTES}\n{shown}"
    write_atomic(folder / "miniseries.md", page)
    print(f"→ {folder / 'miniseries.md'}" + (f", {picture}" if picture else ""))
