"""`inkling plot RUN ...`: draw the learning curves of one run or several."""

import io
import math
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inkling.errors import UserError
from inkling.files import write_atomic
from inkling.settings import Layer, build
from inkling.train.curves import STYLE, Along, Curve, Look, draw
from inkling.train.progress import read_metrics

METRICS = "metrics.jsonl"
FORMATS = (".png", ".svg")


@dataclass(frozen=True)
class PlotSettings:
    """plot"""

    out: str = ""
    """the picture: a .png, an .svg, or a name without either for both; empty: RUN/plot, or plots/RUN_RUN"""
    x: Along = "step"
    """what to draw along: step, tokens, seconds (of training) or wall (seconds since the command began)"""
    smooth: float | Literal["auto"] = "auto"
    """share of the past in the bold lines, from 0 (as measured) to less than 1; auto fits the length of the run"""
    log_x: bool = False
    """logarithmic horizontal axes"""
    log_y: bool = False
    """logarithmic loss"""
    loss_max: float | None = None
    """top of the loss panel, to cut off the steep beginning; None: the highest loss"""


SETTINGS = PlotSettings
DESCRIPTION = """Draw learning curves: inkling plot RUN [RUN ...] [--key=value ...]

  inkling plot demo                              → runs/demo/plot.png and runs/demo/plot.svg
  inkling plot demo runs/mine --x=tokens         both in one picture → plots/demo_mine.png and .svg
  inkling plot demo --log_y --out=demo.svg

RUN is a run's name below runs/, its path, or the path of a metrics.jsonl. It may still be training."""


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    settings, _ = build(PlotSettings, [Layer("flag", flags)])
    main(positional, settings)


def main(runs: list[str], settings: PlotSettings) -> list[Path]:
    """Draw the runs (names or paths) in one picture. Returns the files written."""
    if not runs:
        raise UserError("Which run?", "For example: inkling plot demo", status=2)
    if settings.smooth != "auto" and not 0 <= settings.smooth < 1:
        raise UserError(f"smooth={settings.smooth:g} must be at least 0 and less than 1.", status=2)
    files = list(dict.fromkeys(find_metrics(run) for run in runs))
    curves = [read_curve(file, name) for file, name in zip(files, name_each(files), strict=True)]
    pictures = choose_pictures(settings.out, files, [curve.name for curve in curves])
    check_axes(curves, settings)
    smooth = None if settings.smooth == "auto" else settings.smooth
    save(curves, Look(settings.x, smooth, settings.log_x, settings.log_y, settings.loss_max), pictures)
    for picture in pictures:
        print(f"→ {picture}")
    return pictures


def find_metrics(run: str) -> Path:
    """The metrics.jsonl of a run's name or path, or of its own path."""
    for file in (Path(run), Path(run) / METRICS, Path("runs") / run / METRICS):
        if file.is_file():
            return file
    from inkling.hub.load import find_run

    raise UserError(f"The run {find_run(run)} has no {METRICS}: it has not trained yet.", "Train it: add --resume.")


def name_each(files: list[Path]) -> list[str]:
    """The names of the runs' folders, or their paths where two have the same name."""
    names = [file.resolve().parent.name if file.name == METRICS else file.stem for file in files]
    return names if len(set(names)) == len(names) else [str(file) for file in files]


def read_curve(file: Path, name: str) -> Curve:
    """The rows of a metrics.jsonl, with a note on losses that cannot be drawn."""
    try:
        rows = [row for row in read_metrics(file) if isinstance(row.get("step"), int)]
    except UnicodeDecodeError:
        raise UserError(f"{file} is not text.", f"Name a run, or its {METRICS}.") from None
    if not rows:
        raise UserError(f"{file} has no finished step in it.", f"Name a run that has trained, or its {METRICS}.")
    losses = [row[key] for row in rows for key in ("loss", "val_loss") if isinstance(row.get(key), float)]
    bad = sum(not math.isfinite(loss) for loss in losses)
    if bad:
        print(f"note: {bad} losses of {name} are not finite and are left out", file=sys.stderr)
    return Curve(name, rows)


def check_axes(curves: list[Curve], settings: PlotSettings) -> None:
    """Every curve must stand somewhere on the horizontal axis, and some loss must be left on the vertical one."""
    for curve in curves:
        if not curve.has(settings.x):
            raise UserError(f"The metrics of {curve.name} do not say {settings.x!r}.", "Choose another --x.")
    lowest = min(curve.lowest_loss() for curve in curves)
    if settings.loss_max is not None and not settings.loss_max > lowest:
        raise UserError(f"loss_max={settings.loss_max:g} must be above the lowest loss, {lowest:.4f}.", status=2)


def choose_pictures(out: str, files: list[Path], names: list[str]) -> list[Path]:
    """The files to write, from --out or beside the run."""
    name = "plot"
    if len(files) > 1:
        name = "_".join(Path(name).name for name in names)
        name = name if len(name) <= 80 else f"{Path(names[0]).name}_and_{len(names) - 1}_more"
    if not out:
        base = (files[0].parent if len(files) == 1 else Path("plots")) / name
    elif Path(out).is_dir():
        base = Path(out) / name
    elif Path(out).suffix in FORMATS:
        return [Path(out)]
    elif Path(out).suffix:
        raise UserError(f"--out={out} is not a picture that can be drawn.", "Let it end in .png or .svg.", status=2)
    else:
        base = Path(out)
    return [base.with_name(base.name + suffix) for suffix in FORMATS]


def save(curves: list[Curve], look: Look, pictures: list[Path]) -> None:
    """Draw once and write each picture, whole or not at all."""
    try:
        import matplotlib
    except ImportError:
        raise UserError(
            "Drawing needs the package matplotlib, which is not installed.",
            "Install it: pip install 'inkling-lm[plot]'",
        ) from None
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks is drawn as boxes
        figure = draw(curves, look)
        for picture in pictures:
            content = io.BytesIO()
            facts = {"Date": None} if picture.suffix == ".svg" else {}  # the same picture is the same file
            figure.savefig(content, format=picture.suffix[1:], dpi=100, metadata=facts)
            picture.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(picture, content.getvalue())
