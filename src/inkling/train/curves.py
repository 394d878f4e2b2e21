"""Learning curves: the rows of metrics.jsonl, of one run or several, drawn in one figure."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from inkling.train.progress import clock

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Along = Literal["step", "tokens", "seconds", "wall"]

# To be in force while the figure is made and saved: with matplotlib.rc_context(STYLE).
STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: it can be searched, and read aloud
    "svg.hashsalt": "inkling",  # the same picture is the same file
}

# Okabe and Ito's colours, which people with any kind of colour blindness tell apart, less their yellow, which is
# hard to see on white. The ninth line has the first colour again, with another dash and mark.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#888888")
DASHES = ("-", "--", ":", "-.")
MARKS = ("o", "s", "^", "D")
FAINT = {"linewidth": 0.7, "alpha": 0.35}

PANELS = {"lr": "learning rate", "grad_norm": "gradient norm, before clipping", "tokens_per_second": "tokens / second"}


@dataclass(frozen=True)
class Curve:
    """One run: its name, and its rows of metrics.jsonl, at least one."""

    name: str
    rows: list[dict[str, Any]]

    def values(self, key: str) -> np.ndarray:
        """A key along the rows; NaN where a row does not have it, or has no finite number there."""
        found = (row.get(key) for row in self.rows)
        values = np.array([value if isinstance(value, int | float) else math.nan for value in found], np.float64)
        return np.where(np.isfinite(values), values, math.nan)

    def has(self, key: str) -> bool:
        """Whether there is anything to draw."""
        return bool(np.isfinite(self.values(key)).any())

    @property
    def keys(self) -> tuple[str, str]:
        """What is drawn of each step and of each evaluation: losses, or where a reward led the run, that and pass@1."""
        return ("reward", "pass@1") if self.has("reward") else ("loss", "val_loss")

    def lowest_loss(self) -> float:
        """Of training or validation; infinity where there is none."""
        values = np.concatenate([self.values(key) for key in self.keys])
        return float(np.min(values, initial=math.inf, where=np.isfinite(values)))

    def along(self, x: Along) -> np.ndarray:
        """Where the rows stand on the horizontal axis."""
        values = self.values(x)
        if x == "wall":  # counted from the start of each command: a resumed run goes on from where it stood
            ended = np.where(np.diff(values) < 0, values[:-1], 0.0)
            values[1:] += np.cumsum(ended)
        return values

    def by_part(self, what: str) -> dict[str, np.ndarray]:
        """The values of the keys `what`/PART, by part of the network."""
        keys = dict.fromkeys(key for row in self.rows for key in row if key.startswith(what + "/"))
        return {key.partition("/")[2]: self.values(key) for key in keys if self.has(key)}


@dataclass(frozen=True)
class Look:
    """How to draw."""

    x: Along = "step"
    smooth: float | None = None
    """share of the past in the smoothed lines; None: what averages over about a fiftieth of the run"""
    log_x: bool = False
    log_y: bool = False
    loss_max: float | None = None


def smoothed(values: np.ndarray, factor: float | None) -> np.ndarray:
    """The exponential moving average. NaN is passed over.

    It never reaches further back than a tenth of what has passed. With the full factor from the first step on, it
    would lag behind the steep beginning of every training, and lie above what it averages.
    """
    if factor is None:
        factor = 1 - 1 / max(1.0, len(values) / 50)
    average, count = 0.0, 0
    found = np.full(len(values), math.nan)
    for i, value in enumerate(values.tolist()):
        if not math.isnan(value):
            count += 1
            share = min(factor, 1 - 1 / max(1.0, count / 10))
            average = share * average + (1 - share) * value
            found[i] = average
    return found


def health_of(curve: Curve) -> dict[str, dict[str, np.ndarray]]:
    """Title of a panel → part of the network → values along the rows. Empty where nothing was measured."""
    updates, weights = curve.by_part("update_norm"), curve.by_part("weight_norm")
    with np.errstate(divide="ignore", invalid="ignore"):  # weights may begin at zero
        ratios = {part: updates[part] / weights[part] for part in updates if part in weights}
    panels = {"gradient norm, by part": curve.by_part("grad_norm"), "update norm ÷ weight norm, by part": ratios}
    return {title: found for title, found in panels.items() if found}


# --- the figure --------------------------------------------------------------------------------------------


def draw(curves: list[Curve], look: Look) -> "Figure":
    """The loss above; rate, norm and speed below; of a single run also its network, part by part.

    1200 pixels wide at 100 dots an inch.
    """
    from matplotlib.figure import Figure

    frame = Frame(curves, look)
    small = [key for key in PANELS if any(curve.has(key) for curve in curves)]
    health = health_of(curves[0]) if len(curves) == 1 else {}
    parts = list(dict.fromkeys(part for by_part in health.values() for part in by_part))
    legend, strokes = legend_of(curves), {part: stroke(i) for i, part in enumerate(parts)}

    rows = [(legend_height(legend), ["legend"]), (4.0, ["loss"])]
    rows += [(2.3, small)] if small else []
    rows += [(legend_height(strokes), ["parts"]), (2.3, list(health))] if health else []
    # Six cells a row hold one, two or three panels of equal width.
    mosaic: list[Any] = [[name for name in names for _ in range(6 // len(names))] for _, names in rows]
    heights = [height for height, _ in rows]
    figure = Figure(figsize=(12, sum(heights) + 0.4))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.06)
    axes: dict[str, Axes] = figure.subplot_mosaic(mosaic, height_ratios=heights)

    title = figure.suptitle(title_of(curves), x=0.01, ha="left", weight="bold")
    title.set_parse_math(False)
    put_legend(axes["legend"], legend)
    draw_loss(axes["loss"], frame)
    for key in small:
        draw_panel(axes[key], frame, key)
    for name, by_part in health.items():
        draw_health(axes[name], frame, name, by_part, strokes)
    if health:
        put_legend(axes["parts"], strokes)
    return figure


class Frame:
    """The horizontal axis, which all panels share: where the rows of each curve stand, its limits, its label."""

    def __init__(self, curves: list[Curve], look: Look) -> None:
        self.curves, self.look = curves, look
        self.xs = [curve.along(look.x) for curve in curves]
        everywhere = np.concatenate(self.xs)
        if look.x in ("seconds", "wall"):
            longest = np.nanmax(everywhere)
            unit, seconds = ("h", 3600) if longest > 3 * 3600 else ("min", 60) if longest > 180 else ("s", 1)
            self.label = f"{'training time' if look.x == 'seconds' else 'time since the command began'} ({unit})"
            self.xs, everywhere = [xs / seconds for xs in self.xs], everywhere / seconds
        else:
            self.label = look.x
        shown = everywhere[everywhere > 0] if look.log_x else everywhere
        self.limits = (np.nanmin(shown), np.nanmax(shown)) if len(shown) else (0.0, 0.0)

    def finish(self, ax: "Axes", ticks: int) -> None:
        """Label the axis, and let it reach as far as in every other panel."""
        from matplotlib.ticker import EngFormatter, MaxNLocator, StrMethodFormatter

        low, high = self.limits
        ax.set_xlabel(self.label)
        if self.look.log_x:
            ax.set_xscale("log")
        else:
            ax.xaxis.set_major_locator(MaxNLocator(ticks, integer=self.look.x in ("step", "tokens")))
            form = {"step": StrMethodFormatter("{x:,.0f}"), "tokens": EngFormatter(sep="")}.get(self.look.x)
            ax.xaxis.set_major_formatter(form or StrMethodFormatter("{x:g}"))
        if low == high > 0:
            ax.set_xticks([low])
        elif low < high:
            room = 0.01 * (high - low)
            ax.set_xlim(low if self.look.log_x else low - room, high + room)


def draw_loss(ax: "Axes", frame: Frame) -> None:
    """Training loss, each step faint and smoothed bold; validation loss as a line of marks. Or reward and pass@1."""
    for i, (curve, xs) in enumerate(zip(frame.curves, frame.xs, strict=True)):
        each_step, values = (curve.values(key) for key in curve.keys)
        faint_and_bold(ax, xs, each_step, frame.look.smooth, i)
        there = np.isfinite(values)
        spaced = 0.015 if there.sum() > 1 else None  # of a single one matplotlib would draw none
        ax.plot(xs[there], values[there], **validation_stroke(i, len(frame.curves)), markevery=spaced, zorder=3)
    labels = {"loss": "loss (nats per token)", "reward": "reward, and pass@1"}
    ax.set_ylabel(" or ".join(dict.fromkeys(labels[curve.keys[0]] for curve in frame.curves)))
    if frame.look.log_y:
        logarithmic(ax, labels=(1, 1.5, 2, 2.5, 3, 4, 5, 6, 8))
    if frame.look.loss_max is not None:
        low, high = min(curve.lowest_loss() for curve in frame.curves), frame.look.loss_max
        ax.set_ylim(low - 0.05 * (high - low), high)
    frame.finish(ax, ticks=10)


def draw_panel(ax: "Axes", frame: Frame, key: str) -> None:
    """One of the small panels under the loss."""
    from matplotlib.ticker import EngFormatter

    for i, (curve, xs) in enumerate(zip(frame.curves, frame.xs, strict=True)):
        if key == "lr":
            ax.plot(xs, curve.values(key), **stroke(i, lone=len(xs) == 1))
        else:
            faint_and_bold(ax, xs, curve.values(key), frame.look.smooth, i)
    if key == "grad_norm":
        logarithmic(ax, labels=(1, 2, 5))
    else:
        ax.set_ylim(bottom=0)
    if key == "tokens_per_second":
        ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    ax.set_title(PANELS[key])
    frame.finish(ax, ticks=5)


def draw_health(ax: "Axes", frame: Frame, name: str, by_part: dict[str, np.ndarray], strokes: dict[str, Any]) -> None:
    """One norm, part by part, at the steps where it was measured."""
    for part, values in by_part.items():
        there = np.isfinite(values) & (values > 0)  # the scale is logarithmic
        ax.plot(frame.xs[0][there], values[there], **strokes[part] | {"linewidth": 1.2, "marker": ".", "markersize": 4})
    ax.set_yscale("log")
    ax.set_title(name)
    frame.finish(ax, ticks=5)


def faint_and_bold(ax: "Axes", xs: np.ndarray, values: np.ndarray, smooth: float | None, i: int) -> None:
    """Every value faintly, and the smoothed line on top. What was not finite leaves a gap."""
    ax.plot(xs, values, **stroke(i) | FAINT)
    ax.plot(xs, smoothed(values, smooth), **stroke(i, lone=int(np.isfinite(values).sum()) == 1))


def stroke(i: int, lone: bool = False) -> dict[str, Any]:
    """How the i-th line is drawn; a line of one point is a dot."""
    look = {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i // len(COLOURS) % len(DASHES)], "linewidth": 1.8}
    return look | {"marker": "."} if lone else look


def validation_stroke(i: int, runs: int) -> dict[str, Any]:
    """The same for validation: the run's colour, or one of its own where there is one run."""
    mark = {"marker": MARKS[i // len(COLOURS) % len(MARKS)], "markersize": 6, "markeredgecolor": "white"}
    return stroke(1 if runs == 1 else i) | mark | {"linewidth": 1.0}


def logarithmic(ax: "Axes", labels: tuple[float, ...]) -> None:
    """A logarithmic scale that says 0.5 and 20, not powers of ten; `labels` are those of one decade."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=labels))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


# --- words -------------------------------------------------------------------------------------------------


def title_of(curves: list[Curve]) -> str:
    """What is shown: of one run, how far it went."""
    if len(curves) > 1:
        return f"{len(curves)} runs"
    last = {key: np.nanmax(curves[0].values(key)) for key in ("step", "tokens", "seconds") if curves[0].has(key)}
    facts = [f"{last['step']:,.0f} step{'s' if last['step'] > 1 else ''}"]
    facts += [f"{last['tokens']:,.0f} tokens"] if "tokens" in last else []
    facts += [f"{clock(last['seconds'])} of training"] if "seconds" in last else []
    return f"{shortened(curves[0].name)}: {', '.join(facts)}"


def legend_of(curves: list[Curve]) -> dict[str, dict[str, Any]]:
    """Label → how its sample line is drawn."""
    runs, kinds = len(curves), {"training, each step": stroke(0) | FAINT, "smoothed": stroke(0)}
    if runs == 1:
        return kinds | ({results(curves[0]): validation_stroke(0, runs)} if curves[0].has(curves[0].keys[1]) else {})
    found = {}
    for i, curve in enumerate(curves):
        found[f"{shortened(curve.name)}: {results(curve)}"] = validation_stroke(i, runs) | {"linewidth": 1.8}
    kinds |= {"validation": validation_stroke(0, runs)}
    return found | {label: look | {"color": "#666666"} for label, look in kinds.items()}


def results(curve: Curve) -> str:
    """The last validation loss, or pass@1, in words, and the best where that was another."""
    values, is_share = curve.values(curve.keys[1]), curve.keys[1] == "pass@1"
    measured = np.flatnonzero(np.isfinite(values))
    if not len(measured):
        return "no validation"
    last, best = measured[-1], int(np.nanargmax(values) if is_share else np.nanargmin(values))
    words = f"{'pass@1' if is_share else 'validation'} {values[last]:.4f}"
    return words if best == last else f"{words} (best {values[best]:.4f})"


def shortened(name: str, longest: int = 36) -> str:
    """A long name without its middle."""
    half = longest // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[-half:]}"


def put_legend(ax: "Axes", legend: dict[str, dict[str, Any]]) -> None:
    """Fill a row of the figure with the legend: beside the curves, so that it never covers them."""
    from matplotlib.lines import Line2D

    ax.set_axis_off()
    # matplotlib leaves out labels that begin with an underscore.
    labels = [f" {label}" if label.startswith("_") else label for label in legend]
    handles = [Line2D([], [], **look) for look in legend.values()]
    shown = ax.legend(handles, labels, loc="center left", ncols=columns(labels), borderaxespad=0.0)
    for text in shown.get_texts():
        text.set_parse_math(False)  # a dollar in a name is a dollar


def columns(labels: list[str]) -> int:
    """How many columns of a legend fit the width of the figure."""
    return max(1, min(len(labels), 140 // (max(map(len, labels)) + 7)))


def legend_height(legend: dict[str, Any]) -> float:
    """Inches that a legend takes."""
    return 0.26 * math.ceil(len(legend) / columns(list(legend)))
