"""pass@k: how likely one of k tries is right, estimated from n tries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

from inkling.evals.scores import Graded, as_json


def pass_at(k: int, tries: int, right: int) -> float:
    """1 - C(tries - right, k) / C(tries, k): the share of all choices of `k` among the tries that hold a right one.

    Unbiased, where 1 - (1 - right/tries)^k is too low. Chen et al. 2021, "Evaluating Large Language Models Trained on
    Code".
    """
    return 1 - comb(tries - right, k) / comb(tries, k)  # comb(a, k) is 0 where k is more than a


@dataclass(frozen=True)
class Passes:
    """The questions of one kind, each tried so often."""

    kind: str
    asked: int
    tries: int
    at: dict[int, float]
    """k → pass@k, the mean over the questions"""


def passes_by_kind(graded: Sequence[Graded], tries: int) -> list[Passes]:
    """pass@1, pass@tries and what lies between at powers of two. The tries of a question follow one another."""
    kinds: dict[str, list[int]] = {}
    for first in range(0, len(graded), tries):
        of_one = graded[first : first + tries]
        kinds.setdefault(of_one[0].question.kind, []).append(sum(item.is_right for item in of_one))
    return [
        Passes(kind, len(rights), tries, {k: _mean(pass_at(k, tries, right) for right in rights) for k in _ks(tries)})
        for kind, rights in kinds.items()
    ]


def mean_passes(passes: Sequence[Passes]) -> dict[int, float]:
    """The mean over kinds, for each k."""
    return {k: _mean(each.at[k] for each in passes) for k in passes[0].at}


def head_of(tries: int) -> list[str]:
    """The head of the table."""
    return ["kind", *(f"pass@{k}" for k in _ks(tries)), "questions"]


def rows_of(passes: Sequence[Passes]) -> list[list[str]]:
    """The table below it. Several kinds end with their mean."""
    rows = [[each.kind, *(f"{share:.1%}" for share in each.at.values()), f"{each.asked:,}"] for each in passes]
    if len(passes) > 1:
        rows.append([f"mean of {len(passes)} kinds", *(f"{share:.1%}" for share in mean_passes(passes).values())])
    return rows


def passes_as_json(graded: Sequence[Graded], tries: int) -> dict[str, Any]:
    """pass@k by kind, its mean, and every answer. Shares are of 1; `mean` is that of pass@1."""
    passes = passes_by_kind(graded, tries)
    mean = mean_passes(passes)
    return {
        "mean": mean[1],
        "passes": {f"{k}": share for k, share in mean.items()},
        "kinds": {
            each.kind: {"asked": each.asked, "tries": tries, "passes": {f"{k}": at for k, at in each.at.items()}}
            for each in passes
        },
        "answers": as_json(graded)["answers"],
    }


def _ks(tries: int) -> list[int]:
    powers = [1 << power for power in range(tries.bit_length()) if 1 << power < tries]
    return [*powers, tries]


def _mean(shares: Iterable[float]) -> float:
    values = list(shares)
    return sum(values) / len(values)
