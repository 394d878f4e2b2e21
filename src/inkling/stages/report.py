"""`inkling report RUN`: one page of all that a run and those before it recorded."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from inkling.errors import UserError
from inkling.evals.report import Recorded, lineage
from inkling.evals.report_page import write_page
from inkling.files import write_atomic
from inkling.settings import Layer, build, flatten
from inkling.stages import plot
from inkling.stages.pipeline import BOOK, read_book
from inkling.stages.train_settings import TrainSettings
from inkling.train.curves import Curve, Look


@dataclass(frozen=True)
class ReportSettings:
    """report"""

    out: str = ""
    """the page, a .md file; its pictures go beside it. Empty: RUN/report.md"""
    price_per_hour: float | None = None
    """what an hour of the machine costs, in any currency: then each stage's cost is said. None: it is not"""
    examples: int = 4
    """right and wrong answers to show of each evaluation, and samples of text"""


SETTINGS = ReportSettings
DESCRIPTION = """One page of all that a run recorded: inkling report RUN [--key=value ...]

  inkling report demo                          → runs/demo/report.md and its picture
  inkling report chatbot --price_per_hour=24   with the cost of each stage
  inkling report chatbot --out=card.md

Machine, versions, time by stage, model, data, losses, scores, answers and settings, of the run and of those it began
from, back to the first. Nothing is computed anew: what was not recorded is named at the end."""


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if len(positional) != 1:
        raise UserError("report takes one RUN.", "For example: inkling report demo", status=2)
    settings, _ = build(ReportSettings, [Layer("flag", flags)])
    main(positional[0], settings)


def main(run: str, settings: ReportSettings) -> Path:
    """Gather, draw, write. Returns the page's path; `run` is a run's name or path."""
    from inkling.hub.load import find_run

    check(settings)
    folder = find_run(run)
    page = Path(settings.out) if settings.out else folder / "report.md"
    runs = lineage(folder)
    stages = {made: entry for made, entry in read_book(folder.with_name(folder.name + BOOK)).items() if entry["made"]}
    pictures = draw(runs, page)
    text = write_page(runs, stages, pictures, settings.price_per_hour, settings.examples, flatten(TrainSettings()))
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(page, text)
    print(f"→ {page}")
    return page


def check(settings: ReportSettings) -> None:
    """Refuse what makes no page."""
    if settings.price_per_hour is not None and not 0 <= settings.price_per_hour < float("inf"):
        raise UserError(f"price_per_hour={settings.price_per_hour:g} must be at least 0.", status=2)
    if settings.examples < 0:
        raise UserError(f"examples={settings.examples} must be at least 0.", status=2)
    if settings.out and Path(settings.out).suffix != ".md":
        raise UserError(f"--out={settings.out} is no Markdown file.", "Let it end in .md.", status=2)


def draw(runs: list[Recorded], page: Path) -> dict[Path, str]:
    """The learning curves of each run that has any: run → its picture as the page links to it."""
    trained = [run for run in runs if run.metrics]
    if trained and importlib.util.find_spec("matplotlib") is None:
        trained[0].missing.append("the pictures: matplotlib is not installed (pip install 'inkling-lm[plot]')")
        return {}
    pictures = {}
    for run in trained:
        picture = page.with_name(f"{page.stem}-{run.path.name}.svg")
        plot.save([Curve(run.path.name, run.metrics)], Look(), [picture])
        pictures[run.path] = picture.name
    return pictures
