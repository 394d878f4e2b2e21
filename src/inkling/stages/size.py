"""`inkling size RECIPE`: what a model and its training will cost, computed before anything is built."""

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from inkling.data.batches import plan_batches
from inkling.errors import UserError
from inkling.hub.load import find_weights
from inkling.model.config import PRESETS, GPTConfig
from inkling.model.cost import (
    GPT2_SIZES,
    activation_bytes,
    activation_peak,
    flops_by_part,
    kv_cache_bytes,
    parameters_by_part,
    training_bytes,
)
from inkling.model.scaling import (
    CHINCHILLA,
    REPLICATION,
    TOKENS_PER_PARAMETER,
    optimum_by_rule,
    training_flops,
)
from inkling.runtime import Runtime, decide
from inkling.settings import Layer, build
from inkling.stages.learner import inherit
from inkling.stages.tables import show_table
from inkling.stages.train_settings import TrainSettings, compose
from inkling.stages.vocabulary import GPT2, vocabulary_for


@dataclass(frozen=True)
class SizeOptions:
    """size"""

    json: bool = False
    """end with everything as one JSON object, on a line of its own"""


@dataclass(frozen=True)
class SizeSettings:
    """What `inkling size` can be told: its own key, and all of `inkling train`."""

    size: SizeOptions = SizeOptions()
    train: TrainSettings = TrainSettings()


SETTINGS = SizeSettings
DESCRIPTION = """What a model costs, before it is built: inkling size RECIPE [--key=value ...]

  inkling size shakespeare_char
  inkling size gpt2_124m --device=cuda --batch_size=32 --optimizer=muon
  inkling size gpt2-xl --block_size=512 --dtype=bfloat16

Parameters, FLOPs, memory and tokens. RECIPE is what `inkling train` takes, or one of GPT-2's published sizes: gpt2,
gpt2-medium, gpt2-large, gpt2-xl. Nothing is trained, and no data set is needed. Memory is of eager PyTorch on one
process; a compiled model keeps less, and PyTorch itself comes on top."""

NUMBER_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if len(positional) != 1:
        raise UserError("size takes one RECIPE, or a size of GPT-2.", "For example: inkling size gpt2", status=2)
    own = {field.name for field in fields(SizeOptions)}
    options, _ = build(SizeOptions, [Layer("flag", {name: flags[name] for name in flags if name in own})])
    rest = {name: flags[name] for name in flags if name not in own}
    main(positional[0], options, settings_of(positional[0], rest), has_plan=is_plan(positional[0], rest))


def settings_of(name: str, flags: dict[str, str]) -> TrainSettings:
    """The settings of a recipe, or of a model of one of GPT-2's published sizes, with the flags on top."""
    if name not in GPT2_SIZES:
        return compose([name], flags)[0]
    published = Layer(f"published {name}", {**PRESETS["gpt2"], **GPT2_SIZES[name]})
    settings, _ = build(TrainSettings, [published, Layer("flag", flags)])
    return settings


def is_plan(name: str, flags: dict[str, str]) -> bool:
    """Whether somebody has said how long to train: a published size alone says nothing about it."""
    return name not in GPT2_SIZES or "max_iters" in flags


def main(name: str, options: SizeOptions, settings: TrainSettings, has_plan: bool = True) -> dict[str, Any]:
    """Compute, print, and return what was computed."""
    config, why = model_config(settings)
    device_type, dtype, why_dtype = place(settings)
    found = reckon(config, settings, device_type, dtype, has_plan and not settings.loop.eval_only)
    found = {"name": name, "model": asdict(config), "vocabulary_from": why, "dtype": dtype, **found}

    padded = f" in {config.padded_vocab_size:,} rows" if config.padded_vocab_size != config.vocab_size else ""
    print(f"{name}: {config.preset}, {config.n_layer} layers of {config.n_embd}, context {config.block_size:,}")
    print(f"vocabulary {config.vocab_size:,}{padded} ({why}); {why_dtype}\n")
    show_parameters(found)
    show_flops(found)
    show_memory(found, settings, config)
    if found["run"]:
        show_run(found)
    if options.json:
        print(json.dumps(found))
    return found


# --- what is sized -------------------------------------------------------------------------------------------


def model_config(settings: TrainSettings) -> tuple[GPTConfig, str]:
    """The model, all its numbers filled in, and where its vocabulary is from. Finetuning takes the parent's."""
    parent = settings.run.init_from
    if parent in GPT2_SIZES:
        released = replace(GPTConfig(vocab_size=GPT2), **PRESETS["gpt2"], **GPT2_SIZES[parent])  # type: ignore[arg-type]
        return inherit(settings.model, released, parent).filled(), f"of {parent}"
    if parent not in ("scratch", "resume"):
        return inherit(settings.model, find_weights(parent).config, parent).filled(), f"of {parent}"
    vocab_size, why = vocabulary_for(settings.data.dataset, settings.model.vocab_size)
    return replace(settings.model, vocab_size=vocab_size).filled(), why


def place(settings: TrainSettings) -> tuple[str, str, str]:
    """(device type, dtype, in words). A device that is named is taken at its word: it need not be here."""
    wishes = settings.runtime
    device_type = wishes.device.partition(":")[0]
    if device_type in ("cuda", "mps"):
        dtype = wishes.dtype if wishes.dtype != "auto" else "bfloat16" if device_type == "cuda" else "float32"
        return device_type, dtype, f"{dtype} on {device_type}"
    runtime: Runtime = decide(wishes)
    return runtime.device_type, runtime.dtype, f"{runtime.dtype} on {runtime.device_type}"


def reckon(config: GPTConfig, settings: TrainSettings, device_type: str, dtype: str, has_plan: bool) -> dict[str, Any]:
    """Everything that is shown, as plain numbers."""
    parameters = parameters_by_part(config)
    total = sum(parameters.values())
    plan = plan_batches(settings.data, config.block_size)
    s = NUMBER_BYTES[dtype]
    fixed = training_bytes(config, settings.optimizer.optimizer, max(4, s))
    activations, peaks = {}, {}
    for way in ("kept", "recomputed"):
        choices = (config, plan.batch_size, s, way == "recomputed", device_type)
        activations[way] = activation_bytes(*choices)
        peaks[way] = sum(fixed.values()) + activation_peak(*choices)
    return {
        "parameters": parameters,
        "parameters_total": total,
        "parameters_without_positions": total - parameters["position embedding"],
        "flops_per_token": flops_by_part(config),
        "flops_per_token_forward": flops_by_part(config, training=False),
        "flops_per_token_recomputed": flops_by_part(config, recompute=True),
        "tokens_per_step": plan.tokens_per_step,
        "batch_size": plan.batch_size,
        "memory": {"fixed": fixed, "activations": activations, "peak": peaks},
        "kv_cache_bytes": kv_cache_bytes(config, bytes_per_number=s),
        "run": reckon_run(config, settings, plan.tokens_per_step) if has_plan else None,
    }


def reckon_run(config: GPTConfig, settings: TrainSettings, tokens_per_step: int) -> dict[str, Any]:
    """The whole run, and what the Chinchilla laws say about its budget."""
    tokens = tokens_per_step * settings.loop.max_iters
    total = sum(parameters_by_part(config).values())
    budget = training_flops(total, tokens)  # the laws reckon with 6 N D, so their budget does too
    optima = {
        f"{TOKENS_PER_PARAMETER} tokens a parameter": optimum_by_rule(budget),
        "the paper's fit": CHINCHILLA.optimum(budget),
        "the replication's fit": REPLICATION.optimum(budget),
    }
    return {
        "steps": settings.loop.max_iters,
        "tokens": tokens,
        "flops": sum(flops_by_part(config).values()) * tokens,
        "tokens_per_parameter": tokens / total,
        "chinchilla_tokens": TOKENS_PER_PARAMETER * total,
        "optima": {name: {"parameters": n, "tokens": d} for name, (n, d) in optima.items()},
    }


# --- what is shown -------------------------------------------------------------------------------------------


def show_parameters(found: dict[str, Any]) -> None:
    """Parameters by part, and the two totals that are in use."""
    total = found["parameters_total"]
    rows = [(part, f"{n:,}", _share(n, total)) for part, n in found["parameters"].items() if n]
    rows.append(("total", f"{total:,}", ""))
    if found["parameters"]["position embedding"]:
        rows.append(("total without positions, as papers count", f"{found['parameters_without_positions']:,}", ""))
    show_table("parameters", rows, ("", "number", "share"), strong=["total"])


def show_flops(found: dict[str, Any]) -> None:
    """FLOPs of training by part, and three totals to compare with."""
    per_step = found["tokens_per_step"]
    by_part = found["flops_per_token"]
    total = sum(by_part.values())
    rows = [(part, _count(n), _count(n * per_step), _share(n, total)) for part, n in by_part.items()]
    rows.append(("total", _count(total), _count(total * per_step), ""))
    others = {
        "forward alone": sum(found["flops_per_token_forward"].values()),
        "with --recompute": sum(found["flops_per_token_recomputed"].values()),
        "by the rule 6 × parameters": training_flops(found["parameters_total"], 1),
    }
    rows += [(name, _count(n), _count(n * per_step), _share(n, total)) for name, n in others.items()]
    head = ("", "a token", f"a step of {per_step:,} tokens", "share")
    show_table("FLOPs of training", rows, head, strong=["total"])


def show_memory(found: dict[str, Any], settings: TrainSettings, config: GPTConfig) -> None:
    """Memory of a training step, with everything kept and with recomputation, and of the KV cache."""
    memory = found["memory"]
    kept, again = memory["activations"]["kept"], memory["activations"]["recomputed"]
    names = {"optimizer": f"optimizer ({settings.optimizer.optimizer})"}
    rows: list[tuple[str, ...]]
    rows = [(names.get(name, name), _bytes(n), _bytes(n)) for name, n in memory["fixed"].items()]
    for part in dict.fromkeys((*kept, *again)):
        if kept.get(part) or again.get(part):
            rows.append(
                (f"activations: {part}", *(_bytes(way[part]) if way.get(part) else "-" for way in (kept, again)))
            )
    rows.append(("peak of a step", _bytes(memory["peak"]["kept"]), _bytes(memory["peak"]["recomputed"])))
    title = f"memory of a step of {found['batch_size']} rows at once"
    show_table(title, rows, ("", "all kept", "--recompute"), strong=["peak of a step"])
    print(f"KV cache, one text of {config.block_size:,} tokens: {_bytes(found['kv_cache_bytes'])}\n")


def show_run(found: dict[str, Any]) -> None:
    """Tokens and FLOPs of the run, and how the Chinchilla laws would spend them."""
    run = found["run"]
    rows = [
        ("steps", f"{run['steps']:,}"),
        ("tokens", f"{run['tokens']:,}"),
        ("FLOPs", f"{run['flops']:.3g}"),
        ("tokens a parameter", f"{run['tokens_per_parameter']:,.1f}"),
        (f"tokens at {TOKENS_PER_PARAMETER} a parameter", f"{run['chinchilla_tokens']:,}"),
    ]
    show_table("the run", rows)
    optima = [(name, _count(best["parameters"]), _count(best["tokens"])) for name, best in run["optima"].items()]
    title = "the same FLOPs, best spent (Chinchilla: web text in subword tokens, each seen once)"
    show_table(title, optima, ("by", "parameters", "tokens"))


def _share(part: float, total: float) -> str:
    return f"{100 * part / total:.1f} %"


def _bytes(count: int) -> str:
    """1 MB is 10^6 bytes, as disks and papers count."""
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.2f} MB"


def _count(number: float) -> str:
    """1234567 → "1.23 M": three digits and the power of a thousand."""
    for power, letter in ((1e24, "Y"), (1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= power:
            size = number / power
            return f"{size:,.{2 if size < 10 else 1 if size < 100 else 0}f} {letter}"
    return f"{number:,.0f}"
