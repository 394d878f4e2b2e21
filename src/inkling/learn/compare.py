"""Compare what a person's function gave with what it should give, and say the difference in words."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

SHOWN = 8  # numbers of a tensor, or characters of a list's text times ten, that a message shows


class Wrong(Exception):
    """A check did not pass. `reason` is the mistake, where it is one that the check knows."""

    def __init__(self, problem: str, reason: str = "") -> None:
        self.problem = problem
        self.reason = reason
        super().__init__(problem)


def same(what: str, got: Any, expected: Any, mistakes: Mapping[str, Any] | None = None) -> None:
    """Raise Wrong unless `got` equals `expected`, floats within 1e-4.

    `mistakes` are what known mistakes would give: reason → value. The first one that `got` equals is named.
    """
    problem = difference(got, expected)
    if problem is None:
        return
    for reason, wrong in (mistakes or {}).items():
        if difference(got, wrong) is None:
            raise Wrong(f"{what}: {problem}", reason)
    raise Wrong(f"{what}: {problem}")


def right(condition: bool, problem: str, reason: str = "") -> None:
    """Raise Wrong unless the condition holds."""
    if not condition:
        raise Wrong(problem, reason)


def difference(got: Any, expected: Any) -> str | None:
    """How two values differ, in words; None when they do not."""
    if got is None and expected is not None:
        return f"expected {kind(expected)}, got None; is there a return?"
    if isinstance(expected, Tensor):
        return _tensor_difference(got, expected)
    if isinstance(expected, bool | str) or not isinstance(expected, float | int | tuple | list):
        return None if _equal(got, expected) else f"expected {show(expected)}, got {show(got)}"
    if isinstance(expected, tuple | list):
        if not isinstance(got, tuple | list):
            return f"expected {kind(expected)}, got {kind(got)}: {show(got)}"
        for i in range(min(len(got), len(expected))):
            if inner := difference(got[i], expected[i]):
                where = f"expected {show(expected)}, got {show(got)}" if len(show(expected)) < 100 else inner
                return f"place {i}: {where}" if where is inner else where
        return None if len(got) == len(expected) else f"expected {len(expected)} in it, got {len(got)}: {show(got)}"
    if isinstance(got, Tensor) and got.numel() == 1:
        got = got.item()
    if isinstance(got, bool) or not isinstance(got, float | int):
        return f"expected a number, got {kind(got)}"
    both_nan = math.isnan(got) and math.isnan(expected)
    is_close = both_nan or math.isclose(got, expected, rel_tol=1e-4, abs_tol=1e-6)
    return None if is_close else f"expected {show(expected)}, got {show(got)}"


def _equal(got: Any, expected: Any) -> bool:
    return bool(got == expected) and (type(got) is type(expected) or isinstance(expected, Mapping))


def _tensor_difference(got: Any, expected: Tensor) -> str | None:
    if not isinstance(got, Tensor):
        return f"expected {kind(expected)}, got {kind(got)}"
    if got.shape != expected.shape:
        return f"expected the shape {tuple(expected.shape)}, got {tuple(got.shape)}"
    if got.dtype != expected.dtype:
        return f"expected numbers of {expected.dtype}, got {got.dtype}"
    got, expected = got.detach(), expected.detach()
    if torch.allclose(got.double(), expected.double(), rtol=1e-4, atol=1e-5, equal_nan=True):
        return None
    if expected.numel() <= SHOWN:
        return f"expected {show(expected)}, got {show(got)}"
    off = ~torch.isclose(got.double(), expected.double(), rtol=1e-4, atol=1e-5, equal_nan=True)
    first = off.nonzero()[0].tolist()
    there, here = expected[tuple(first)], got[tuple(first)]
    return f"{int(off.sum())} of {off.numel()} numbers differ; at {first} expected {show(there)}, got {show(here)}"


def kind(value: Any) -> str:
    """The type of a value in words."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    return "None" if value is None else f"a {type(value).__name__}"


def show(value: Any) -> str:
    """A value, short enough for a line."""
    if isinstance(value, Tensor):
        numbers = [show(number) for number in value.flatten()[:SHOWN].tolist()]
        more = ", …" if value.numel() > SHOWN else ""
        return f"[{', '.join(numbers)}{more}]" if value.ndim else numbers[0]
    if isinstance(value, float):
        return f"{value:.5g}"
    text = repr(value)
    return text if len(text) <= 10 * SHOWN else f"{text[: 10 * SHOWN]}…"
