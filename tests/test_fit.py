"""The fits of a sweep: what was put in comes out, noise is told, and what lies at an edge is not trusted."""

import math

import numpy as np
import pytest

from inkling.evals.fit import Budget, fit_power_law, fit_scaling, fit_valley

BUDGETS = (1e12, 3e12, 1e13)
SHARES = (0.2, 0.45, 1.0, 2.2, 5.0)  # of the best size: what is trained
A, K = 0.46, 0.09  # N_opt = K C^A


def best(flops: float) -> float:
    return K * flops**A


def budget(flops: float, shares=SHARES, noise=0.0, rng=None, steep=0.05) -> Budget:
    """Losses on a parabola whose lowest point is where the law wants it; 6 N D = C."""
    sizes = [share * best(flops) for share in shares]
    losses = [2.0 + 1e6 / flops**0.5 + steep * math.log(share) ** 2 for share in shares]
    if noise:
        losses = [loss + noise * rng.standard_normal() for loss in losses]
    return Budget(flops, tuple(sizes), tuple(flops / 6 / n for n in sizes), tuple(losses))


def test_a_parabola_and_a_law_are_found_again():
    found = fit_scaling([budget(c) for c in reversed(BUDGETS)])
    for valley, flops in zip(found.valleys, BUDGETS, strict=True):
        assert valley.where == "inside"
        assert valley.size == pytest.approx(best(flops), rel=1e-6)
        assert valley.tokens == pytest.approx(flops / 6 / best(flops), rel=1e-6)
        assert valley.loss == pytest.approx(2.0 + 1e6 / flops**0.5)
        assert valley.at(valley.size) == pytest.approx(valley.loss)
        assert valley.coefficients[2] == pytest.approx(0.05)
    assert found.size.exponent == pytest.approx(A) and found.size.factor == pytest.approx(K, rel=1e-4)
    assert found.tokens.exponent == pytest.approx(1 - A)
    assert found.noise < 1e-9 and found.freedom == 15 - 9
    assert found.size.off < 1e-6
    assert found.size.at(1e14) == pytest.approx(best(1e14), rel=1e-4)


def test_the_interval_holds_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(5)
    held = narrow = 0
    for _ in range(150):
        found = fit_scaling([budget(c, noise=0.004, rng=rng) for c in BUDGETS])
        assert found.size.low < found.size.exponent < found.size.high
        held += found.size.low <= A <= found.size.high
        narrow += found.size.high - found.size.low < 0.5
    assert 0.9 <= held / 150 <= 1.0
    assert narrow > 100, "and it says something"


def test_the_same_points_give_the_same_interval():
    points = [budget(c, noise=0.01, rng=np.random.default_rng(1)) for c in BUDGETS]
    assert fit_scaling(points) == fit_scaling(points)
    assert fit_scaling(points, seed=2).size.low != fit_scaling(points).size.low


def test_a_lowest_point_beyond_the_sizes_is_named_and_not_used():
    small, large = budget(1e12, shares=(2, 3, 4, 6)), budget(3e13, shares=(0.1, 0.2, 0.4))
    assert fit_valley(small).where == "below" and fit_valley(large).where == "above"
    found = fit_scaling([small, budget(3e12), budget(1e13), large])
    assert [valley.where for valley in found.valleys] == ["below", "inside", "inside", "above"]
    assert found.size.exponent == pytest.approx(A)
    few = fit_scaling([small, budget(3e12), large])
    assert few.size is None and few.tokens is None and len(few.valleys) == 3


def test_a_hill_has_no_lowest_point():
    valley = fit_valley(budget(1e12, steep=-0.05))
    assert valley.where == "none" and math.isnan(valley.size)


def test_three_sizes_leave_nothing_to_tell_the_noise_by():
    found = fit_scaling([budget(c, shares=(0.3, 1.1, 3)) for c in BUDGETS])
    assert found.freedom == 0 and math.isnan(found.noise)
    assert found.size.exponent == pytest.approx(A) and found.size.low is None


def test_noise_as_deep_as_the_valley_gives_no_interval():
    rng = np.random.default_rng(3)
    flat = [budget(c, steep=0.001, noise=0.02, rng=rng) for c in BUDGETS]
    found = fit_scaling(flat)
    assert found.size is None or found.size.low is None


def test_too_few_sizes_are_refused():
    with pytest.raises(ValueError, match="3 sizes"):
        fit_valley(budget(1e12, shares=(1, 2)))
    with pytest.raises(ValueError, match="3 sizes"):
        fit_valley(budget(1e12, shares=(1, 2, 2)))


def test_points_off_the_line_are_told():
    law = fit_power_law([1, 10, 100], [1, 20, 100])
    assert law.exponent == pytest.approx(1.0) and 0.3 < law.off < 0.6
