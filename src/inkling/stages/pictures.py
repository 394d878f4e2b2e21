"""The pictures of sweeps. Where matplotlib is not installed there are none, and that is said."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inkling.evals.fit import PowerLaw, Scaling
from inkling.evals.sweep import Point
from inkling.files import write_atomic
from inkling.train.curves import COLOURS, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def save_miniseries(points: list[Point], path: Path) -> Path | None:
    """Loss by size and by FLOPs."""
    figure = _figure(2)
    if figure is None:
        return None
    import matplotlib

    with matplotlib.rc_context(STYLE):
        axes = _axes(figure, 2)
        for ax, key, label in zip(axes, ("size", "flops"), ("N, parameters of blocks and head", "FLOPs"), strict=True):
            ax.plot([getattr(p, key) for p in points], [p.val_loss for p in points], "o-", color=COLOURS[0])
            for point in points:
                ax.annotate(
                    f"d{point.depth}", (getattr(point, key), point.val_loss), (5, 5), textcoords="offset points"
                )
            ax.set_xscale("log")
            ax.set_xlabel(label)
        axes[0].set_ylabel("validation loss (nats per token)")
        return _save(figure, path)


def save_scaling(budgeted: list[tuple[float, Point]], found: Scaling, path: Path) -> Path | None:
    """The IsoFLOP curves with their lowest points; the best size, and its tokens, by budget."""
    figure = _figure(3)
    if figure is None:
        return None
    import matplotlib

    with matplotlib.rc_context(STYLE):
        curves, size, tokens = _axes(figure, 3)
        for i, valley in enumerate(found.valleys):
            colour = COLOURS[i % len(COLOURS)]
            here = [point for flops, point in budgeted if flops == valley.budget.flops]
            curves.plot([p.size for p in here], [p.val_loss for p in here], "o", color=colour)
            sizes = np.geomspace(min(valley.budget.sizes), max(valley.budget.sizes), 60)
            label = f"{valley.budget.flops:.3g} FLOPs"
            curves.plot(sizes, [valley.at(n) for n in sizes], "-", color=colour, label=label)
            if valley.where == "inside":
                curves.plot([valley.size], [valley.loss], "*", color=colour, markersize=14, markeredgecolor="black")
                size.plot([valley.budget.flops], [valley.size], "*", color=colour, markersize=14)
                tokens.plot([valley.budget.flops], [valley.tokens], "*", color=colour, markersize=14)
        curves.set_xscale("log")
        curves.set_xlabel("N, parameters of blocks and head")
        curves.set_ylabel("validation loss (nats per token)")
        curves.legend(title="★ lowest point")
        _draw_law(size, found, found.size, "best N", "a")
        _draw_law(tokens, found, found.tokens, "its tokens D", "b")
        return _save(figure, path)


def _draw_law(ax: "Axes", found: Scaling, law: PowerLaw | None, what: str, letter: str) -> None:
    """The line between logarithms, and its exponent."""
    ax.set_title(
        "no law: too few lowest points" if law is None else f"{what} ∝ C^{letter}, {letter} = {law.exponent:.2f}"
    )
    ax.set_xlabel("C, FLOPs")
    ax.set_ylabel(what)
    if law is None:
        return
    ends = [min(v.budget.flops for v in found.valleys) / 1.5, max(v.budget.flops for v in found.valleys) * 1.5]
    ax.plot(ends, [law.at(c) for c in ends], "--", color="#666666", zorder=0)
    ax.set_xscale("log")
    ax.set_yscale("log")


def _figure(panels: int) -> "Figure | None":
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("note: no picture, because matplotlib is not here: pip install 'inkling-lm[plot]'", file=sys.stderr)
        return None
    return Figure(figsize=(5.2 * panels, 4.4), layout="constrained")


def _axes(figure: "Figure", panels: int) -> list["Axes"]:
    return list(figure.subplots(1, panels))


def _save(figure: "Figure", path: Path) -> Path:
    """The same picture is the same file."""
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content.getvalue())
    return path
