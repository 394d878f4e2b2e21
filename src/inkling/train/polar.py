"""The best polynomials for Newton-Schulz, one for each step: Polar Express (Amsel et al. 2025).

Muon wants singular values near 1, and applies an odd polynomial a·s + b·s³ + c·s⁵ to them several times. One polynomial
for all steps has to serve the small values of the beginning and the nearly right ones of the end. A polynomial for each
step can do better: the first lifts all above a smallest value as near to 1 as it can, the next starts from what that
one left.
"""

import math
from functools import lru_cache

import numpy as np

Quintic = tuple[float, float, float]

# How far from 1 a singular value may end. Between 0.5 and 1.5 training does not mind (Jordan et al. 2024), and a wider
# spread buys steeper starts, which is what few steps need most. The demo's bot with three steps, after 500 of its own:
# 1.43 nats with 0.1, 1.40 with 0.3, 1.36 with 0.5; 1.45 with the single quintic of optim.py.
SPREAD = 0.5

# What the best polynomial becomes when all values are 1 already: third order contact, the classic of Newton-Schulz.
_LIMIT = (15 / 8, -10 / 8, 3 / 8)


@lru_cache
def polar_coefficients(steps: int) -> tuple[Quintic, ...]:
    """(a, b, c) of each step, which bring the smallest possible singular value and all above it within SPREAD of 1.

    With 3 steps that value is 0.005, with 5 it is 0.0003; what is smaller grows 104-fold and 1,880-fold, where the same
    quintic again and again makes it 41 and 485.
    """
    low, high = 1e-12, 1.0
    for _ in range(60):
        smallest = math.sqrt(low * high)
        _, error = _chain(smallest, steps)
        low, high = (smallest, high) if error > SPREAD else (low, smallest)
    return _chain(high, steps)[0]


def _chain(smallest: float, steps: int) -> tuple[tuple[Quintic, ...], float]:
    """The best polynomial for [smallest, 1], then for what it leaves, and so on; and the last one's error."""
    found: list[Quintic] = []
    greatest, error = 1.0, 1.0 - smallest
    for _ in range(steps):
        if error < 1e-5:
            found.append(_LIMIT)
            continue
        quintic, error = best_quintic(smallest, greatest)
        found.append(quintic)
        smallest, greatest = 1 - error, 1 + error
    return tuple(found), error


def best_quintic(low: float, high: float) -> tuple[Quintic, float]:
    """((a, b, c), error): the odd quintic that stays nearest to 1 on [low, high], by Remez' exchange (1934).

    Three coefficients can make the error equally large, with changing sign, at four points; where no error elsewhere is
    larger, no other polynomial is better (Chebyshev). So: solve for such an error at four points, move the inner two to
    where the error really is largest, and again.
    """
    inner = np.array([(2 * low + high) / 3, (low + 2 * high) / 3])
    signs = np.array([1.0, -1.0, 1.0, -1.0])
    for _ in range(100):  # about ten are needed; float64 may end in swinging between two last digits
        points = np.array([low, *inner, high])
        a, b, c, error = np.linalg.solve(np.stack([points, points**3, points**5, signs], axis=1), np.ones(4))
        slope_zero = np.sqrt(np.sort(np.roots([5 * c, 3 * b, a]).real))  # of a + 3b·s² + 5c·s⁴, as s
        if np.abs(slope_zero - inner).max() < 1e-9:
            break
        inner = slope_zero
    return (float(a), float(b), float(c)), abs(float(error))
