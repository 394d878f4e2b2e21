"""From scratch against finetuned, offline: is it worth having read something else before? Prints Markdown.

    python benchmarks/learning/finetuning.py --folder runs/finetuning > benchmarks/learning/finetuning.md

A model is pretrained on the bundled text, the help pages and docstrings of Python (recipe `demo`). Then it, and a fresh
one of the same form, learn the almanac: short texts about countries, animals and elements, of which there are few,
some, or many. Three seeds. What a person would do with GPT-2 and their own mails, small enough for a laptop.
With --folder it can be ended at any time and goes on where it was.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import inkling, mean, parse, prepared, show_heading, show_table, train, workplace

SEEDS = (1337, 1338, 1339)
DOCUMENTS = (100, 1000, 10000)
STEPS, EVERY = 300, 25
TINY: dict[str, Any] = {"n_layer": 1, "n_embd": 16, "n_head": 2, "n_kv_head": 2, "mlp_hidden": 16, "block_size": 16}
# Lower rates for weights that know something: a fifth of the recipe's.
GENTLE = {"matrix_lr": 0.005, "learning_rate": 0.002, "embedding_lr": 0.02, "head_lr": 0.0004}
PROMPT = "The capital of France"


def tried(arm: str, documents: int, seeds: Sequence[int], quick: bool) -> list[list[dict[str, Any]]]:
    """Train one arm on so many documents with each seed → the rows of each run that have a validation loss."""
    settings: dict[str, Any] = {"dataset": f"almanac_{documents}", "max_iters": STEPS, "eval_interval": EVERY}
    settings |= {"eval_iters": 1, "eval_tokens": 65536, "keep_last": 1, "snapshots": 0, "health_interval": 0}
    settings |= {"always_save_checkpoint": False, "device": "cpu", "compile": False}
    settings |= GENTLE | {"init_from": "pretrained"} if arm == "finetuned" else {}
    settings |= TINY | {"max_iters": 4, "eval_interval": 2, "eval_tokens": 256} if quick else {}
    runs = [train(f"{arm}-{documents}-{seed}", "demo", **settings, seed=seed) for seed in seeds]
    return [[row for row in rows if "val_loss" in row] for rows in runs]


def best(rows: Sequence[dict[str, Any]]) -> tuple[float, int]:
    """The lowest validation loss of a run, and its step."""
    return min((row["val_loss"], row["step"]) for row in rows)


def on_the_way(rows: Sequence[Sequence[dict[str, Any]]], steps: Sequence[int]) -> list[str]:
    """The validation loss at each of these steps, mean over the seeds."""
    at = [[row["val_loss"] for run in rows for row in run if row["step"] == step] for step in steps]
    return [f"{mean(losses):.3f}" for losses in at]


def main(argv: Sequence[str] | None = None) -> None:
    """Pretrain, train both arms, print the table and a sample of each."""
    arguments = parse(__doc__ or "", argv)
    quick = arguments.quick
    seeds, amounts = (SEEDS[:1], (50,)) if quick else (SEEDS, DOCUMENTS)
    with workplace(arguments.folder):
        prepared("bundled")
        for documents in amounts:
            prepared_almanac(documents)
        what = f"`python benchmarks/learning/finetuning.py`: {STEPS} steps, seeds {SEEDS}. Loss: nats per byte."
        show_heading("From scratch, and from a model that has read something else", what, quick)
        train("pretrained", "demo", device="cpu", **(TINY | {"max_iters": 4, "eval_tokens": 256} if quick else {}))
        steps = (2, 4) if quick else range(2 * EVERY, STEPS + 1, 2 * EVERY)
        rows, ways, samples = [], [], []
        for documents in amounts:
            for arm in ("scratch", "finetuned"):
                runs = tried(arm, documents, seeds, quick)
                found = [best(run) for run in runs]
                each = ", ".join(f"{loss:.3f}" for loss, _ in found)
                at = ", ".join(str(step) for _, step in found)
                rows.append([f"{documents:,}", arm, f"{mean([loss for loss, _ in found]):.3f}", each, at])
                ways.append([f"{documents:,}", arm, *on_the_way(runs, steps)])
                words = [f"{arm}-{documents}-{seeds[0]}", f"--start={PROMPT}", "--num_samples=1", "--temperature=0.5"]
                text = inkling("sample", *words, "--max_new_tokens=100", "--device=cpu").partition("\n-------")[0]
                samples.append((f"{arm}, {documents:,} documents", text.strip()))
    show_table(["documents", "begun", "lowest val loss, mean", "by seed", "at step"], rows)
    print("## On the way\n\nThe validation loss, mean of the seeds, after so many steps.\n")
    show_table(["documents", "begun", *map(str, steps)], ways)
    print("## What they write\n")
    for name, text in samples:
        print(f"{name}:\n\n```text\n{text}\n```\n")


def prepared_almanac(documents: int) -> None:
    """About so many texts of the almanac to learn from, as the data set almanac_N, and 1,000 to measure on."""
    name, total = f"almanac_{documents}", documents + 1000
    share = f"--val_fraction={1000 / total:.4f}"
    if not Path("data", name).is_dir():
        inkling("prepare", "almanac", "--tokenizer=byte", f"--documents={total}", share, "--data_dir=made")
        Path("data").mkdir(exist_ok=True)
        Path("made", "almanac").rename(Path("data", name))


if __name__ == "__main__":
    main()
