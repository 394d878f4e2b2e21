"""The report card as a page: `evals/report.py` has read what is written here."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from inkling.evals.markdown import fenced, plain, table
from inkling.evals.report import Recorded
from inkling.evals.report_scores import evaluations_section
from inkling.model.cost import flops_per_token, parameters_by_part
from inkling.train.progress import clock

# Keys of metrics.jsonl that say how it went, and not how good it became.
BOOKKEEPING = {"step", "tokens", "seconds", "wall", "lr", "grad_norm", "ms", "tokens_per_second", "accepted"}


def write_page(
    runs: Sequence[Recorded],
    stages: Mapping[str, Mapping[str, Any]],
    pictures: Mapping[Path, str],
    price_per_hour: float | None,
    examples: int,
    defaults: Mapping[str, Any],
) -> str:
    """The page of a run and those before it.

    `stages` is the book of the pipeline that made it, empty where there was none; `pictures` are the learning curves,
    as the page links to them; `defaults` what settings are when nobody sets them.
    """
    run = runs[0]
    parts = [f"# Report on {plain(run.path.as_posix())}", summary(run)]
    parts += ["## Time", time_section(runs, stages, price_per_hour), "## Machine", machine_section(runs)]
    for recorded in runs:
        role = "" if recorded is run else " (before it)"
        parts += [f"## {plain(recorded.path.as_posix())}{role}", *run_sections(recorded, pictures, examples, defaults)]
    missing = [f"- of {plain(each.path.as_posix())}: {plain(what)}" for each in runs for what in each.missing]
    if missing:
        parts += ["## What is missing", "\n".join(missing)]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(run: Recorded) -> str:
    """What it is and how good it is, in two lines."""
    said = []
    if run.config is not None:
        total = sum(parameters_by_part(run.config).values())
        said.append(f"{run.config.preset}, {total:,} parameters, context {run.config.block_size:,}.")
    for name, evaluation in run.evaluations.items():
        value = evaluation.get("mean", evaluation.get("value"))
        if isinstance(value, int | float):
            said.append(
                f"{plain(name)}: {value:.1%} on average." if 0 <= value <= 1 else f"{plain(name)}: {value:.4g}."
            )
    return " ".join(said)


# --- time, cost, machine -------------------------------------------------------------------------------------


def time_section(
    runs: Sequence[Recorded], stages: Mapping[str, Mapping[str, Any]], price_per_hour: float | None
) -> str:
    """Seconds by stage: from the pipeline's book where there is one, else from the runs' own."""
    trained = {run.path.resolve(): run.training_seconds for run in runs}
    rows = []
    if stages:
        rows = [(entry["title"], entry["seconds"], trained.get(Path(made).resolve())) for made, entry in stages.items()]
        source = "By the pipeline's book, starting and interrupted commands included."
    else:
        rows = [(run.path.as_posix(), run.wall_seconds, run.training_seconds) for run in reversed(runs)]
        rows += [
            (f"evaluation of {run.path.name}: {name}", evaluation["seconds"], None)
            for run in reversed(runs)
            for name, evaluation in run.evaluations.items()
            if isinstance(evaluation.get("seconds"), int | float)
        ]
        source = "By the runs' own books. Preparing text and learning a vocabulary keep none."
    rows.append(("in all", sum(wall for _, wall, _ in rows), sum(seconds or 0.0 for _, _, seconds in rows)))
    head = ["stage", "time", "of it training"]
    shown = [[title, clock(wall), clock(seconds) if seconds else ""] for title, wall, seconds in rows]
    if price_per_hour is not None:
        head.append("cost")
        shown = [[*row, f"{wall / 3600 * price_per_hour:,.2f}"] for row, (_, wall, _) in zip(shown, rows, strict=True)]
        source += f" Cost is hours times {price_per_hour:g}, the price that was given."
    return f"{table(head, shown)}\n\n{source}"


def machine_section(runs: Sequence[Recorded]) -> str:
    """Hardware and versions of every command; what does not differ is said once."""
    commands = [command for run in runs for command in run.commands]
    if not commands:
        return "Not recorded."
    rows = []
    for key, what in {
        "system": "system",
        "cpu": "processor",
        "cores": "cores",
        "gpus": "GPUs",
        "memory_bytes": "memory",
        "python": "Python",
        "torch": "torch",
        "inkling": "inkling",
        "commit": "commit",
        "ranks": "processes",
    }.items():
        values = _different(_machine_value(key, command.get(key)) for command in commands)
        rows.append([what, "; ".join(values) or ("none" if key == "gpus" else "not recorded")])
    decisions = _different(decision for command in commands for decision in command.get("decisions", ()))
    return table(["", "of the trainings"], [*rows, ["chosen", "; ".join(decisions)]])


def _machine_value(key: str, value: Any) -> str:
    if key == "memory_bytes" and value:
        return f"{value / 2**30:.1f} GiB"
    if key == "gpus" and value:
        return ", ".join(f"{value.count(name)} × {name}" for name in dict.fromkeys(value))
    return "" if value is None else str(value)


def _different(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))


# --- one run -------------------------------------------------------------------------------------------------


def run_sections(run: Recorded, pictures: Mapping[Path, str], examples: int, defaults: Mapping[str, Any]) -> list[str]:
    """Everything about one run, below its heading."""
    parts = [commands_section(run), model_section(run), data_section(run), losses_section(run)]
    if run.path in pictures:
        parts.append(f"![learning curves of {plain(run.path.name)}]({pictures[run.path]})")
    parts += evaluations_section(run, examples)
    return [*parts, settings_section(run, defaults)]


def commands_section(run: Recorded) -> str:
    """What was typed, when, and how it ended."""
    lines = []
    for command in run.commands:
        how = [command.get("started", "?"), command.get("ended", "?")]
        if "wall_seconds" in command:
            how += [clock(command["wall_seconds"]), f"{command.get('peak_memory_bytes', 0) / 2**30:.2f} GiB at most"]
        lines += [" ".join(command.get("command", [])), f"    {', '.join(how)}"]
    parent = ""
    if run.parent:
        known = f"step {run.parent.get('step')}, weights {str(run.parent.get('sha256'))[:12]}"
        parent = f"It began from {plain(run.parent.get('run'))} ({known}).\n\n"
    return parent + (fenced("\n".join(lines)) if lines else "")


def model_section(run: Recorded) -> str:
    """Parameters, FLOPs and tokens."""
    if run.config is None:
        return ""
    c = run.config
    total, per_token = sum(parameters_by_part(c).values()), flops_per_token(c)
    kv = f", {c.n_kv_head} of them for keys and values" if c.n_kv_head != c.n_head else ""
    rows: list[list[object]] = [
        ["shape", f"{c.n_layer} layers of {c.n_embd}, {c.n_head} heads{kv}, context {c.block_size:,}"],
        ["vocabulary", f"{c.vocab_size:,}"],
        *[list[object]((part, f"{count:,}")) for part, count in parameters_by_part(c).items() if count],
        ["parameters", f"{total:,}"],
        ["FLOPs of training, a token", f"{per_token:.3g}"],
    ]
    if run.tokens:
        rows.append(["tokens trained on", f"{run.tokens:,}"])
        rows.append(["tokens for each parameter", f"{run.tokens / total:.3g}"])
        rows.append(["FLOPs of training in all", f"{per_token * run.tokens:.3g}"])
        if run.training_seconds:
            rows.append(["FLOP/s in training", f"{per_token * run.tokens / run.training_seconds:.3g}"])
    return "### Model\n\n" + table(["", ""], rows)


def data_section(run: Recorded) -> str:
    """What it read."""
    rows = []
    for name, meta in run.data.items():
        counts = [f"{meta.train.tokens:,}", f"{meta.val.tokens:,}", f"{meta.train.documents:,}"]
        rows.append([name, meta.source, *counts, meta.tokenizer_sha256[:12]])
    head = ["data set", "of", "tokens", "kept for validation", "documents", "tokenizer"]
    return "### Data\n\n" + table(head, rows) if rows else ""


def losses_section(run: Recorded) -> str:
    """First, best and last of whatever the run measured."""
    keys = dict.fromkeys(key for row in run.metrics for key in row if key not in BOOKKEEPING)
    rows = []
    for key in keys:
        if "/" in key and not key.startswith("val_loss/"):  # norms by part of the network
            continue
        found = [(row["step"], row[key]) for row in run.metrics if _is_number(row.get(key))]
        if found:
            best = (min if "loss" in key else max)(found, key=lambda pair: pair[1])
            rows.append([key, *(f"{value:.4f} at step {step:,}" for step, value in (found[0], best, found[-1]))])
    return "### Learning\n\n" + table(["", "first", "best", "last"], rows) if rows else ""


def settings_section(run: Recorded, defaults: Mapping[str, Any]) -> str:
    """What is not the default, and who said so; what was given by a flag, though it is."""
    rows = []
    for key, origin in sorted(run.origins.items()):
        value = run.settings.get(key)
        if origin != "default" and (origin == "flag" or value != defaults.get(key)):
            rows.append([key, f"{value:.6g}" if isinstance(value, float) else value, origin])
    return "### Settings that are not the default\n\n" + table(["setting", "value", "from"], rows) if rows else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
