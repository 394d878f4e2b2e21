"""The model card, README.md of an exported folder: what the model is, how it was trained, what it scored."""

import json
from pathlib import Path
from typing import Any

from inkling.hub.weights import Weights
from inkling.model.gpt import hollow
from inkling.text.conversation import can_chat
from inkling.train.runfolder import read_resolved
from inkling.version import __version__


def model_card(name: str, weights: Weights, family: str, dtype: str) -> str:
    """Markdown. Numbers are the run's own; what was not measured is not mentioned."""
    config = weights.config
    parameters = hollow(config).num_params(non_embedding=False)
    facts = [
        ("family", family),
        ("parameters", f"{parameters:,}"),
        ("layers, width", f"{config.n_layer}, {config.n_embd}"),
        ("heads, key and value heads", f"{config.n_head}, {config.n_kv_head}"),
        ("context", f"{config.block_size:,} tokens"),
        ("vocabulary", f"{config.vocab_size:,}"),
        ("weights in", dtype),
        *_training(weights),
    ]
    parts = [
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [inkling]\n---",
        f"# {name}",
        f"Made with inkling {__version__}, step {weights.step:,} of its run.",
        _table(("what", "value"), facts),
    ]
    scores = _scores(_run_of(weights))
    if scores:
        parts += ["## Scores", "Shares of right answers.", _table(("task", "kind", "score", "asked"), scores)]
    parts += ["## Use", _usage(can_chat(weights.tokenizer()))]
    parts += ["## Licence", "Not stated by the tool that wrote this page: add the one you give, or the original's."]
    return "\n\n".join(parts) + "\n"


def _run_of(weights: Weights) -> Path | None:
    return weights.path.parents[1] if weights.path.parent.name == "checkpoints" else None


def _training(weights: Weights) -> list[tuple[str, str]]:
    """What the checkpoint and the run's settings say of training."""
    run = _run_of(weights)
    if run is None:
        return []
    state = _read(weights.path / "state.json")
    facts = []
    if (run / "parent").is_file():
        facts.append(("begun from", f"{_read(run / 'parent').get('run')}"))
    if weights.step and (run / "resolved.toml").is_file():
        values, _ = read_resolved(run)
        facts.append(("trained on", f"{values.get('dataset')}, {state.get('tokens', 0):,} tokens"))
    if "val_loss" in state:
        facts.append(("validation loss", f"{state['val_loss']:.4f} nats per token"))
    return facts


def _scores(run: Path | None) -> list[tuple[str, ...]]:
    """A row for each kind of question of each task that the run was examined in."""
    rows: list[tuple[str, ...]] = []
    for file in sorted((run / "evaluations").glob("*.json")) if run else []:
        report = _read(file)
        for kind, score in report.get("kinds", {}).items():
            rows.append((report.get("task", file.stem), kind, f"{score['share']:.1%}", f"{score['asked']}"))
        if "mean" in report:
            rows.append((report.get("task", file.stem), "mean of the kinds", f"{report['mean']:.1%}", ""))
    return rows


def _usage(chats: bool) -> str:
    lines = [
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")',
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")',
    ]
    if chats:
        lines += [
            'messages = [{"role": "user", "content": "What is the capital of France?"}]',
            "inputs = tokenizer.apply_chat_template(",
            '    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True',
            ")",
        ]
    else:
        lines += ['inputs = tokenizer("Once upon a time", return_tensors="pt")']
    lines += [
        'output = model.generate(input_ids=inputs["input_ids"], max_new_tokens=50)',
        'print(tokenizer.decode(output[0][inputs["input_ids"].shape[1] :]))',
        "```",
        "",
        f"With inkling: `inkling {'chat' if chats else 'sample'} FOLDER`.",
    ]
    return "\n".join(lines)


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, tuple("---" for _ in head), *rows)]
    return "\n".join(lines)


def _read(file: Path) -> dict[str, Any]:
    """A JSON file of the run; nothing where it is missing or broken, for a card can do without."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
