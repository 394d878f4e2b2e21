"""Curves through the losses of many trainings: where a budget is best spent, and how that grows with the budget.

Hoffmann et al. 2022, "Training Compute-Optimal Large Language Models", approach 2. For each budget C of FLOPs the loss
is a parabola in log N; its lowest point is N_opt(C), and the tokens that the budget then leaves are D_opt(C). Both are
power laws of C: N_opt = k C^a, D_opt = k' C^b, straight lines between logarithms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from inkling.keyed import words

LEAST_SIZES = 3  # through two points goes every parabola
DRAWS = 4000


@dataclass(frozen=True)
class Budget:
    """Trainings of one budget: sizes N, tokens D and final losses, the same number of each."""

    flops: float
    sizes: tuple[float, ...]
    tokens: tuple[float, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Valley:
    """The parabola loss = bottom + steepness · (log N - log size)² of a budget."""

    budget: Budget
    coefficients: tuple[float, float, float]
    """of 1, x and x², where x = log N - `middle`"""
    middle: float
    size: float
    """N at its lowest point; NaN where it has none"""
    tokens: float
    loss: float
    where: Literal["inside", "below", "above", "none"]
    """the lowest point is among the sizes that were trained, or beyond the smallest, or beyond the largest, where the
    parabola is a guess; or there is none, because it opens downwards"""

    def at(self, size: float) -> float:
        """The loss that the parabola has there."""
        x = math.log(size) - self.middle
        return self.coefficients[0] + self.coefficients[1] * x + self.coefficients[2] * x * x


@dataclass(frozen=True)
class PowerLaw:
    """y = factor · C^exponent."""

    exponent: float
    factor: float
    off: float
    """the largest deviation of a point from the line, as a share of the point"""
    low: float | None = None
    high: float | None = None
    """where the exponent lies, 95 times in 100, as far as the noise of the losses goes; None: cannot be said"""

    def at(self, flops: float) -> float:
        return self.factor * flops**self.exponent


@dataclass(frozen=True)
class Scaling:
    """All that is fitted."""

    valleys: tuple[Valley, ...]
    noise: float
    """nats by which losses lie off their parabolas, as a standard deviation; NaN where nothing is left to tell"""
    freedom: int
    """losses more than the parabolas have numbers"""
    size: PowerLaw | None
    """None: fewer than two lowest points can be trusted"""
    tokens: PowerLaw | None


def fit_scaling(budgets: Sequence[Budget], seed: int = 1337) -> Scaling:
    """Parabolas, lowest points and power laws. Only lowest points among the sizes that were trained are used.

    Raises ValueError for a budget of fewer than three sizes.
    """
    valleys = tuple(fit_valley(budget) for budget in sorted(budgets, key=lambda budget: budget.flops))
    noise, freedom = _noise(valleys)
    used = [valley for valley in valleys if valley.where == "inside"]
    if len(used) < 2:
        return Scaling(valleys, noise, freedom, None, None)
    flops = [valley.budget.flops for valley in used]
    drawn = _redraw(used, noise, freedom, seed) if freedom else None
    size = fit_power_law(flops, [valley.size for valley in used])
    tokens = fit_power_law(flops, [valley.tokens for valley in used])
    if drawn is not None:
        size = _with_interval(size, flops, drawn)
        log_tokens = np.stack([_log_tokens(v.budget, drawn[:, i]) for i, v in enumerate(used)], axis=1)
        tokens = _with_interval(tokens, flops, log_tokens)
    return Scaling(valleys, noise, freedom, size, tokens)


def fit_valley(budget: Budget) -> Valley:
    """The parabola through a budget's losses, by least squares, and its lowest point."""
    if len(set(budget.sizes)) < LEAST_SIZES:
        raise ValueError(f"a parabola needs {LEAST_SIZES} sizes")
    log_n = np.log(budget.sizes)
    middle = float(log_n.mean())
    c, b, a = (float(x) for x in _solver(log_n - middle) @ np.array(budget.losses))
    if a <= 0:
        return Valley(budget, (c, b, a), middle, math.nan, math.nan, math.nan, "none")
    lowest = middle - b / (2 * a)
    where: Literal["inside", "below", "above"] = "inside"
    if lowest <= log_n.min():
        where = "below"
    elif lowest >= log_n.max():
        where = "above"
    tokens = float(np.exp(_log_tokens(budget, np.array(lowest))))
    return Valley(budget, (c, b, a), middle, math.exp(min(lowest, 700.0)), tokens, c - b * b / (4 * a), where)


def fit_power_law(x: Sequence[float], y: Sequence[float]) -> PowerLaw:
    """The straight line between logarithms, by least squares. At least two points."""
    log_x, log_y = np.log(x), np.log(y)
    slope, start = np.polyfit(log_x, log_y, 1)
    off = np.max(np.abs(np.expm1(slope * log_x + start - log_y)))
    return PowerLaw(float(slope), float(np.exp(start)), float(off))


# --- how sure ----------------------------------------------------------------------------------------------


def _solver(x: np.ndarray) -> np.ndarray:
    """(3, n): what a parabola's coefficients are of n losses at x."""
    return np.linalg.pinv(np.stack([np.ones_like(x), x, x * x], axis=1))


def _log_tokens(budget: Budget, log_n: np.ndarray) -> np.ndarray:
    """log D at sizes between those that were trained. The FLOPs of a token are nearly a power of N."""
    return np.polyval(np.polyfit(np.log(budget.sizes), np.log(budget.tokens), 1), log_n)


def _noise(valleys: Sequence[Valley]) -> tuple[float, int]:
    """The spread of all losses about their parabolas, and from how many spare losses it is known."""
    off = [loss - v.at(n) for v in valleys for n, loss in zip(v.budget.sizes, v.budget.losses, strict=True)]
    freedom = len(off) - 3 * len(valleys)
    return (math.sqrt(sum(x * x for x in off) / freedom) if freedom else math.nan), freedom


def _redraw(valleys: Sequence[Valley], noise: float, freedom: int, seed: int) -> np.ndarray | None:
    """(draws, valleys): log N of the lowest points, were the trainings done again with other noise.

    Each draw has a noise of its own, as uncertain as few spare losses leave it: that is what Student's t does for a
    mean. None where a parabola opens downwards more than once in 40 draws: then an end of the interval is anywhere.
    """
    normal = _normals(DRAWS * freedom, "noise", seed).reshape(DRAWS, freedom)
    spread = noise * np.sqrt(freedom / np.sum(normal**2, axis=1))
    drawn = np.empty((DRAWS, len(valleys)))
    for i, valley in enumerate(valleys):
        x = np.log(valley.budget.sizes) - valley.middle
        smooth = np.array([valley.at(n) for n in valley.budget.sizes])
        normal = _normals(DRAWS * len(x), f"losses {i}", seed).reshape(DRAWS, len(x))
        _, b, a = _solver(x) @ (smooth + spread[:, None] * normal).T
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn[:, i] = np.where(a > 0, valley.middle - b / (2 * a), np.nan)
    is_whole = np.isfinite(drawn).all(axis=1)
    return drawn[is_whole] if is_whole.mean() >= 0.975 else None


def _with_interval(law: PowerLaw, flops: Sequence[float], log_y: np.ndarray) -> PowerLaw:
    """The law with the middle 95 % of the exponents that the draws give; `log_y` is (draws, points)."""
    log_x = np.log(flops) - np.mean(np.log(flops))
    slopes = log_y @ log_x / np.sum(log_x**2)
    low, high = np.quantile(slopes, [0.025, 0.975])
    return PowerLaw(law.exponent, law.factor, law.off, float(low), float(high))


def _normals(count: int, *key: str | int) -> np.ndarray:
    """Standard normal numbers, by the polar form of Box and Muller 1958."""
    raw = (words(2 * count, "fit", *key) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.sqrt(-2 * np.log1p(-raw[:count])) * np.cos(2 * np.pi * raw[count:])
