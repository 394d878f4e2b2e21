"""How much does training hang on each of its settings? Five settings, three values, three seeds. Prints Markdown.

    python benchmarks/learning/sensitivity.py --folder runs/sensitivity > benchmarks/learning/sensitivity.md

The model and its settings are those of nanoGPT's line for a CPU (4 layers of 128, AdamW), on bytes of the bundled text.
One setting at a time leaves the base. Every run reads the same number of tokens, so a smaller batch takes more steps.
With --folder it can be ended at any time and goes on where it was.
"""

from collections.abc import Sequence
from typing import Any

from common import mean, parse, prepared, show_heading, show_table, spread, train, workplace

SEEDS = (1337, 1338, 1339)
TOKENS = 768_000  # of each run: 1,000 steps of the base
BASE: dict[str, Any] = {
    "learning_rate": 1e-3,
    "batch_size": 12,
    "n_layer": 4,
    "warmup_iters": 100,
    "dropout": 0.0,
}
VALUES: dict[str, tuple[float, float, float]] = {
    "learning_rate": (3e-4, 1e-3, 3e-3),
    "batch_size": (4, 12, 36),
    "n_layer": (2, 4, 6),
    "warmup_iters": (0, 100, 300),
    "dropout": (0.0, 0.1, 0.2),
}
FORM = {"dataset": "bundled", "block_size": 64, "n_head": 4, "n_embd": 128, "device": "cpu", "compile": False}
QUICK = {"block_size": 8, "n_head": 2, "n_embd": 16, "eval_tokens": 256}


def losses(changed: dict[str, Any], seeds: Sequence[int], quick: bool) -> list[float]:
    """The validation loss of each seed, with the base's settings but those `changed`."""
    settings = FORM | BASE | changed | (QUICK if quick else {})
    tokens = settings["batch_size"] * settings["block_size"]
    steps = max(2, (200 if quick else TOKENS) // tokens)
    settings |= {"max_iters": steps, "lr_decay_iters": steps, "min_lr": settings["learning_rate"] / 10}
    settings |= {"warmup_iters": min(settings["warmup_iters"], steps // 2), "eval_interval": steps, "eval_iters": 2}
    settings |= {"snapshots": 0, "health_interval": 0, "keep_last": 1}
    name = "-".join(f"{key}-{value:g}" for key, value in changed.items()) or "base"
    return [train(f"{name}-{seed}", "shakespeare_char", **settings, seed=seed)[-1]["val_loss"] for seed in seeds]


def main(argv: Sequence[str] | None = None) -> None:
    """Train everything and print the two tables."""
    arguments = parse(__doc__ or "", argv)
    seeds = SEEDS[:1] if arguments.quick else SEEDS
    with workplace(arguments.folder):
        prepared("bundled")
        what = f"`python benchmarks/learning/sensitivity.py`: {TOKENS:,} tokens a run, seeds {SEEDS}; nats per byte."
        show_heading("How sensitive training is to its settings", what, arguments.quick)
        base = losses({}, seeds, arguments.quick)
        found = {
            (name, value): base if value == BASE[name] else losses({name: value}, seeds, arguments.quick)
            for name, values in VALUES.items()
            for value in values
        }
    noise = spread(base)
    print("## By setting\n")
    summary = []
    for name, values in VALUES.items():
        means = [mean(found[name, value]) for value in values]
        best = values[means.index(min(means))]
        ratio = f"{spread(means) / noise:.1f}" if noise else "n/a"
        summary.append([name, f"{values}", f"{best:g}", f"{spread(means):.3f}", f"{noise:.3f}", ratio])
    summary.sort(key=lambda row: -float(row[3]))
    show_table(["setting", "values", "best", "spread of the means", "spread of the base's seeds", "ratio"], summary)
    print("## By value\n")
    rows = []
    for (name, value), loss in found.items():
        each = ", ".join(f"{one:.3f}" for one in loss)
        mark = " (base)" if value == BASE[name] else ""
        rows.append([f"{name} = {value:g}{mark}", f"{mean(loss):.3f}", each])
    show_table(["value", "mean val loss", "by seed"], rows)


if __name__ == "__main__":
    main()
