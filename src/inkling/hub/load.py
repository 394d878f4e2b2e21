"""inkling.load: a run, one of its checkpoints, or a folder of published weights → a model and its tokenizer."""

from pathlib import Path
from typing import Any

import torch

from inkling.errors import UserError
from inkling.hub.gpt2 import read_gpt2
from inkling.hub.weights import Weights
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT
from inkling.text.tokenizer import Tokenizer, load_tokenizer
from inkling.train.checkpoint import MODEL, Checkpoint, load_best, verify


def load(where: str | Path, device: str = "cpu", dtype: str | torch.dtype = "float32") -> tuple[GPT, Tokenizer]:
    """The best checkpoint of a run (its name below runs/, or its path), ready to sample from.

    `where` may also be the folder of one checkpoint or snapshot, or of GPT-2's published weights. `dtype` is
    that of the weights and the forward pass.
    Raises UserError when there is no such run, no usable checkpoint, or no tokenizer.
    """
    return load_weights(find_weights(where), device, dtype)


def load_weights(weights: Weights, device: str = "cpu", dtype: str | torch.dtype = "float32") -> tuple[GPT, Tokenizer]:
    """The same, of what `find_weights` has found."""
    kind: torch.dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    model = GPT(weights.config)
    fill_model(model, weights.tensors(), str(weights.path))
    # Without an optimizer nobody needs float32 weights. Cast once, not at every token: GPT-2's width and
    # vocabulary, 6 layers, bfloat16, 2 CPU cores: 97 → 44 ms a token.
    model = place_model(model, device, kind).to(dtype=kind)
    return model.eval(), weights.tokenizer()


def find_weights(where: str | Path) -> Weights:
    """What `where` names: a run's best checkpoint, one of its checkpoints, or a folder of published weights."""
    folder = Path(where)
    if (folder / "config.json").is_file():
        return read_gpt2(folder)
    checkpoint = find_checkpoint(where)
    return Weights(
        path=checkpoint.path,
        file=checkpoint.path / MODEL,
        config=GPTConfig(**checkpoint.state["model"]),
        step=checkpoint.step,
        tensors=checkpoint.model_tensors,
        tokenizer=lambda: load_tokenizer(checkpoint.path.parents[1] / "tokenizer.json"),
    )


def find_run(where: str | Path) -> Path:
    """A run's name or path → its folder."""
    for path in (Path(where), Path("runs") / where):
        if (path / "resolved.toml").is_file() or (path / "checkpoints").is_dir():
            return path
    if str(where) in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"):
        raise UserError(
            f"GPT-2's published weights are read from a folder, and there is none called {where} here.",
            f"Fetch them: hf download openai-community/{where} --local-dir {where} --include "
            "config.json model.safetensors tokenizer.json; or give the path of a folder that has them.",
        )
    raise UserError(f"There is no run {str(where)!r}, neither at that path nor below runs/.", _runs_here())


def find_checkpoint(where: str | Path) -> Checkpoint:
    """The checkpoint that `where` names: a run's best, or the folder itself."""
    if (Path(where) / MODEL).is_file():
        return verify(Path(where))
    run = find_run(where)
    checkpoint = load_best(run)
    if checkpoint is None:
        raise UserError(f"The run {run} has not saved a checkpoint yet.", "Train it further: add --resume.")
    return checkpoint


def fill_model(model: GPT, tensors: dict[str, torch.Tensor], source: str) -> None:
    """Copy tensors into the parameters of the same names. Names and shapes must agree exactly."""
    parameters = dict(model.named_parameters())
    if parameters.keys() != tensors.keys():
        names = sorted(parameters.keys() ^ tensors.keys())[:3]
        raise UserError(f"{source} does not hold this model's parameters: {', '.join(names)} and perhaps more.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.shape != tensors[name].shape:
                found, wanted = tuple(tensors[name].shape), tuple(parameter.shape)
                raise UserError(f"{name} in {source} has shape {found}, but the model wants {wanted}.")
            parameter.copy_(tensors[name])


def place_model(model: GPT, device: str, dtype: torch.dtype) -> GPT:
    """Move to the device and set the forward pass's dtype; the weights themselves stay float32, or float64."""
    model.compute_dtype = dtype
    return model.to(device=device, dtype=torch.float64 if dtype == torch.float64 else torch.float32)


def _runs_here() -> str:
    runs: list[Any] = sorted(path.parent.name for path in Path("runs").glob("*/resolved.toml"))
    return f"Runs here: {', '.join(runs)}." if runs else "There are no runs here yet: train one first."
