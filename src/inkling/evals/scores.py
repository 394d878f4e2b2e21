"""From questions and replies to scores: how many were right of each kind, and how sure that is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inkling.evals.answers import Reply
from inkling.tasks.task import Question, Task

Z95 = 1.959964  # 95 % of a normal distribution lie within so many standard deviations


@dataclass(frozen=True)
class Graded:
    """A question, the model's reply, and whether it is right."""

    question: Question
    reply: Reply
    is_right: bool


@dataclass(frozen=True)
class Score:
    """`right` of `asked` questions of one kind."""

    kind: str
    right: int
    asked: int

    @property
    def share(self) -> float:
        return self.right / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.asked)


def grade_all(task: Task, questions: Sequence[Question], replies: Sequence[Reply]) -> list[Graded]:
    """Each question with its reply and the task's judgement. A question that was not read was not answered."""
    return [
        Graded(question, reply, reply.end != "too long" and task.grade(question, reply.text))
        for question, reply in zip(questions, replies, strict=True)
    ]


def score_by_kind(graded: Sequence[Graded]) -> list[Score]:
    """One score for each kind, in the order in which the kinds were asked."""
    kinds: dict[str, list[bool]] = {}
    for item in graded:
        kinds.setdefault(item.question.kind, []).append(item.is_right)
    return [Score(kind, sum(marks), len(marks)) for kind, marks in kinds.items()]


def mean_score(scores: Sequence[Score]) -> float:
    """The mean over kinds: a kind counts the same, however often it was asked."""
    return sum(score.share for score in scores) / len(scores)


def wilson(right: int, asked: int) -> tuple[float, float]:
    """Where the true share lies, 95 times in 100. Wilson 1927, "Probable Inference".

    Unlike the share ± its standard error it stays within 0 and 1, and 20 of 20 does not pass for certainty:
    0.84 to 1.
    """
    share, z2 = right / asked, Z95**2 / asked
    middle = share + z2 / 2
    reach = math.sqrt(z2 * (share * (1 - share) + z2 / 4))
    return max(0.0, (middle - reach) / (1 + z2)), min(1.0, (middle + reach) / (1 + z2))


# --- for people and for programs -------------------------------------------------------------------------

HEAD = ("kind", "right", "95 % interval", "of")


def table_rows(scores: Sequence[Score]) -> list[list[str]]:
    """The table below HEAD. Several kinds end with their mean."""
    rows = []
    for score in scores:
        low, high = score.interval
        rows.append([score.kind, f"{score.share:.1%}", f"{low:.0%} – {high:.0%}", f"{score.right:,} / {score.asked:,}"])
    if len(scores) > 1:
        rows.append([mean_name(scores), f"{mean_score(scores):.1%}"])
    return rows


def mean_name(scores: Sequence[Score]) -> str:
    """What the table calls the mean."""
    return f"mean of {len(scores)} kinds"


def as_json(graded: Sequence[Graded]) -> dict[str, Any]:
    """Scores by kind, their mean, and every answer that they count, as JSON has it. Shares are of 1."""
    scores = score_by_kind(graded)
    return {
        "mean": mean_score(scores),
        "kinds": {
            score.kind: {
                "right": score.right,
                "asked": score.asked,
                "share": score.share,
                "low": score.interval[0],
                "high": score.interval[1],
            }
            for score in scores
        },
        "answers": [
            {
                "kind": item.question.kind,
                "messages": list(item.question.messages),
                "expected": list(item.question.expected),
                "reply": item.reply.text,
                "shown": item.reply.shown,
                "end": item.reply.end,
                "right": item.is_right,
            }
            for item in graded
        ],
    }
