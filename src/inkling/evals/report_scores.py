"""Evaluations on a report card: whatever `evaluations/*.json` hold, scores first, then what was said."""

from collections.abc import Mapping, Sequence
from typing import Any

from inkling.evals.markdown import fenced, plain, table
from inkling.evals.report import Recorded

# What says how it was measured, and not what came out.
ABOUT = {"task", "run", "checkpoint", "step", "seconds", "settings", "answers", "samples"}


def evaluations_section(run: Recorded, examples: int) -> list[str]:
    """For each evaluation its table, then right and wrong answers or samples of text."""
    parts = []
    for name, evaluation in run.evaluations.items():
        at = f" at step {evaluation['step']:,}" if isinstance(evaluation.get("step"), int) else ""
        parts.append(f"### Evaluation: {plain(name)}{at}")
        parts.append(scores_table(evaluation))
        parts += answers_section(evaluation.get("answers"), examples)
        parts += samples_section(evaluation.get("samples"), examples)
    return parts


def scores_table(evaluation: Mapping[str, Any]) -> str:
    """Shares of right answers with their intervals where the file has those, else every number that it has."""
    kinds = evaluation.get("kinds")
    if isinstance(kinds, dict) and kinds and all(_is_share(kind) for kind in kinds.values()):
        rows = [
            [name, f"{k['share']:.1%}", f"{k['low']:.0%} – {k['high']:.0%}", f"{k['right']:,} / {k['asked']:,}"]
            for name, k in kinds.items()
        ]
        if len(rows) > 1 and isinstance(evaluation.get("mean"), float):
            rows.append([f"mean of {len(kinds)} kinds", f"{evaluation['mean']:.1%}", "", ""])
        return table(["kind", "right", "95 % interval", "of"], rows)
    return table(["", "value"], [[name, f"{value:,.5g}"] for name, value in flat_numbers(evaluation)])


def flat_numbers(values: Mapping[str, Any], before: str = "") -> list[tuple[str, float]]:
    """Every number in nested dictionaries, by its path of names."""
    found = []
    for name, value in values.items():
        if not before and name in ABOUT:
            continue
        if isinstance(value, dict):
            found += flat_numbers(value, f"{before}{name} / ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((f"{before}{name}", value))
    return found


def answers_section(answers: Any, examples: int) -> list[str]:
    """Some right and some wrong answers, spread over the kinds."""
    if not isinstance(answers, list):
        return []
    whole = [answer for answer in answers if isinstance(answer, dict) and "right" in answer]
    parts = []
    for is_right, title in ((False, "Wrong"), (True, "Right")):
        chosen = spread([answer for answer in whole if bool(answer["right"]) == is_right], examples)
        if chosen:
            parts.append(f"{title}, for example:\n\n" + "\n".join(example(answer) for answer in chosen))
    return parts


def example(answer: Mapping[str, Any]) -> str:
    """What was asked, what was said, and where that was wrong what was expected."""
    asked = [m.get("content") or "" for m in answer.get("messages", []) if isinstance(m, dict)]
    said = plain(answer.get("shown") or answer.get("reply") or "(nothing)")
    expected = " or ".join(str(each) for each in answer.get("expected") or [])
    better = f" (expected: {plain(expected)})" if expected and not answer["right"] else ""
    return f"- {plain(answer.get('kind', ''))}: {plain(' / '.join(asked))}<br>→ {said}{better}"


def samples_section(samples: Any, examples: int) -> list[str]:
    """Text that a base model wrote, with its beginning where that is told."""
    if not isinstance(samples, list):
        return []
    parts = []
    for sample in samples[:examples]:
        if isinstance(sample, dict):
            sample = f"{sample.get('prompt', '')}{sample.get('text', sample.get('continuation', ''))}"
        parts.append(fenced(str(sample)))
    return parts


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many, evenly from first to last."""
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _is_share(kind: Any) -> bool:
    return isinstance(kind, dict) and {"share", "low", "high", "right", "asked"} <= kind.keys()
