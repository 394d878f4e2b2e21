"""ChatCORE: one number for a chat model, the mean of six tasks, each from what guessing gets (0) to all right (1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inkling.evals.scores import Graded
from inkling.tasks import CHATCORE


@dataclass(frozen=True)
class ChatCore:
    """Of the tasks of ChatCORE that were asked."""

    accuracies: dict[str, float]
    """by task: right of asked, all kinds together"""

    @property
    def centred(self) -> dict[str, float]:
        """(accuracy - guessing) / (1 - guessing), below 0 for what is worse than guessing."""
        return {name: (share - CHATCORE[name]) / (1 - CHATCORE[name]) for name, share in self.accuracies.items()}

    @property
    def value(self) -> float:
        return sum(self.centred.values()) / len(self.accuracies)

    @property
    def missing(self) -> list[str]:
        """Those that were not asked. With any, the value is another than ChatCORE's."""
        return [name for name in CHATCORE if name not in self.accuracies]

    def as_json(self) -> dict[str, Any]:
        """For RUN/evaluations/chatcore.json."""
        tasks = {
            name: {"accuracy": share, "baseline": CHATCORE[name], "centred": self.centred[name]}
            for name, share in self.accuracies.items()
        }
        return {"chatcore": self.value, "tasks": tasks, "missing": self.missing}

    def in_words(self) -> str:
        """A line for people."""
        among = f", of {len(self.accuracies)} tasks only; without {', '.join(self.missing)}" if self.missing else ""
        return f"ChatCORE {self.value:.4f}{among}"


def chatcore(results: Mapping[str, Sequence[Graded]]) -> ChatCore | None:
    """Of all answers by task; None where fewer than two of its tasks were asked."""
    shares = {
        name: sum(item.is_right for item in results[name]) / len(results[name]) for name in CHATCORE if name in results
    }
    return ChatCore(shares) if len(shares) > 1 else None
