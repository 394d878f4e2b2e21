"""A run's past: its loss curve, and its snapshots brought back to life, a few at a time."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inkling.errors import UserError
from inkling.hub.load import load
from inkling.infer.dialogue import Dialogue
from inkling.infer.engine import generate
from inkling.infer.sampling import SamplingSettings
from inkling.model.gpt import GPT
from inkling.serve.served import Served
from inkling.text.tokenizer import Tokenizer
from inkling.train.checkpoint import read_index
from inkling.train.curves import Curve, smoothed
from inkling.train.progress import read_metrics

# A curve is drawn a few hundred pixels wide; more points make the page slow and show nothing more.
MAX_POINTS = 400
# Models of the past that stay loaded: as many as this, and no more bytes than this (but always one).
KEEP, KEEP_BYTES = 3, 2**30


@dataclass(frozen=True)
class Question:
    """What a snapshot is asked. As in /v1, a temperature of 0 takes the likeliest tokens."""

    prompt: str
    as_chat: bool
    max_new_tokens: int
    temperature: float
    seed: int


class History:
    """The snapshots of one run."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self._loading = threading.Lock()  # one snapshot loads or speaks at a time
        self._loaded: OrderedDict[int, tuple[GPT, Tokenizer]] = OrderedDict()  # by step, the latest used last

    def curve(self) -> dict[str, Any]:
        """Thinned rows of metrics.jsonl: `step` and `loss` side by side, and `validation` as [step, loss] pairs."""
        rows = [] if self.served.run is None else _read(self.served.run / "metrics.jsonl")
        if not rows:
            return {"step": [], "loss": [], "validation": []}
        curve = Curve(self.served.name, rows)
        steps, values = curve.values("step"), curve.values("val_loss")
        losses = smoothed(curve.values("loss"), None)
        kept = [i for i in spread(steps) if np.isfinite(losses[i])]
        measured = np.flatnonzero(np.isfinite(values))
        measured = measured[spread(steps[measured])]
        return {
            "step": [int(steps[i]) for i in kept],
            "loss": [round(float(losses[i]), 4) for i in kept],
            "validation": [[int(steps[i]), round(float(values[i]), 4)] for i in measured],
        }

    def steps(self) -> list[int]:
        """The steps of which there are weights, snapshots and whole checkpoints alike."""
        return sorted(self._folders())

    def sample(self, step: int, question: Question) -> str:
        """What the snapshot of `step` says. Raises UserError for a step without one, and for a damaged one."""
        with self._loading:
            model, tokenizer = self._load(step)
            sampling = SamplingSettings(temperature=question.temperature)
            if question.as_chat:
                dialogue = Dialogue(
                    model,
                    tokenizer,
                    sampling=sampling,
                    max_new_tokens=question.max_new_tokens,
                    seed=question.seed,
                )
                return "".join(dialogue.say(question.prompt))
            return generate(
                model,
                tokenizer,
                question.prompt,
                question.max_new_tokens,
                sampling.temperature,
                sampling.top_k,
                seed=question.seed,
            )

    def _folders(self) -> dict[int, Path]:
        if self.served.run is None:
            return {}
        index, folder = read_index(self.served.run), self.served.run / "checkpoints"
        found = {step: folder / f"step-{step:06d}" for step in index["kept"]}
        # A snapshot has the same weights as the checkpoint of its step, and no optimizer to be verified with it.
        return found | {step: folder / f"weights-{step:06d}" for step in index["snapshots"]}

    def _load(self, step: int) -> tuple[GPT, Tokenizer]:
        if step not in self._loaded:
            folder = self._folders().get(step)
            if folder is None:
                raise UserError(f"This run has no snapshot of step {step}.", "Choose one that /learning lists.")
            weight = self.served.model.lm_head.weight
            while self._loaded and self._is_full():  # before the next one is loaded, not after
                self._loaded.popitem(last=False)
            self._loaded[step] = load(folder, weight.device.type, self.served.model.compute_dtype)
        self._loaded.move_to_end(step)
        return self._loaded[step]

    def _is_full(self) -> bool:
        one = sum(parameter.numel() * parameter.element_size() for parameter in self.served.model.parameters())
        return len(self._loaded) >= KEEP or (len(self._loaded) + 1) * one > KEEP_BYTES


def _read(metrics: Path) -> list[dict[str, Any]]:
    try:
        return [row for row in read_metrics(metrics) if isinstance(row.get("step"), int)]
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{metrics.name} of this run cannot be read.", "Restore it from a copy.") from None


def spread(steps: np.ndarray) -> list[int]:
    """At most MAX_POINTS places along ascending `steps`: half of them evenly, half as on a logarithmic axis."""
    if len(steps) <= MAX_POINTS:
        return list(range(len(steps)))
    even = np.linspace(0, len(steps) - 1, MAX_POINTS // 2)
    early = np.geomspace(1, len(steps), MAX_POINTS // 2) - 1
    return sorted({int(place) for place in np.concatenate([even, early]).round()})
