"""inkling.load: a run, one of its checkpoints, or somebody's published weights → a model and its tokenizer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from inkling.errors import UserError
from inkling.hub.fetch import fetch, is_hub_name
from inkling.hub.nanogpt import NAME as NANOGPT
from inkling.hub.nanogpt import read_nanogpt
from inkling.hub.published import read_published
from inkling.hub.tensorfiles import TensorFiles
from inkling.hub.weights import Weights, fill_model
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT, hollow
from inkling.model.lora import merged
from inkling.text.tokenizer import Tokenizer
from inkling.text.tokenizer_sources import load_tokenizer
from inkling.train.checkpoint import MODEL, Checkpoint, load_best, verify


def load(where: str | Path, device: str = "cpu", dtype: str | torch.dtype = "float32") -> tuple[GPT, Tokenizer]:
    """The best checkpoint of a run (its name below runs/, or its path), ready to sample from.

    `where` may also be the folder of one checkpoint or snapshot, a folder of published weights, a model's name on the
    hub, or nanoGPT's ckpt.pt. `dtype` is that of the weights and the forward pass.
    Raises UserError when there is no such run, no usable checkpoint, or no tokenizer.
    """
    return load_weights(find_weights(where), device, dtype)


def load_weights(weights: Weights, device: str = "cpu", dtype: str | torch.dtype = "float32") -> tuple[GPT, Tokenizer]:
    """The same, of what `find_weights` has found. The model's memory is taken once, tensor by tensor."""
    kind: torch.dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    model = hollow(weights.config)
    # Without an optimizer nobody needs float32 weights. Cast once, not at every token: GPT-2's width and
    # vocabulary, 6 layers, bfloat16, 2 CPU cores: 97 → 44 ms a token.
    fill_model(model, weights.tensors(), str(weights.path), kind)
    model.compute_dtype = kind
    return model.to(device=device, dtype=kind).eval(), weights.tokenizer()


def find_weights(where: str | Path) -> Weights:
    """What `where` names: a run's best checkpoint, one of its checkpoints, or weights from elsewhere."""
    path = Path(where)
    if (path / "config.json").is_file():
        return read_published(path)
    if path.suffix == ".pt" and path.is_file():
        return read_nanogpt(path)
    if (path / NANOGPT).is_file():
        return read_nanogpt(path / NANOGPT)
    if is_hub_name(str(where)):
        return read_published(fetch(str(where)))
    return from_checkpoint(find_checkpoint(where))


def from_checkpoint(checkpoint: Checkpoint) -> Weights:
    """A run's checkpoint, as weights; what was learnt as LoRA's corrections is added to the matrices."""
    file = checkpoint.path / MODEL
    scale = checkpoint.state.get("lora_scale")

    def tensors() -> Iterator[tuple[str, torch.Tensor]]:
        stored = TensorFiles(file)
        if scale is not None:
            return merged(stored.by_size(), stored.read, scale)
        return ((name, stored.read(name)) for name in stored.by_size())

    return Weights(
        path=checkpoint.path,
        files=(file,),
        config=GPTConfig(**checkpoint.state["model"]),
        step=checkpoint.step,
        tensors=tensors,
        tokenizer=lambda: load_tokenizer(checkpoint.path.parents[1] / "tokenizer.json"),
    )


def find_run(where: str | Path) -> Path:
    """A run's name or path → its folder."""
    for path in (Path(where), Path("runs") / where):
        if (path / "resolved.toml").is_file() or (path / "checkpoints").is_dir():
            return path
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


def place_model(model: GPT, device: str, dtype: torch.dtype) -> GPT:
    """Move to the device and set the forward pass's dtype; the weights themselves stay float32, or float64."""
    model.compute_dtype = dtype
    return model.to(device=device, dtype=torch.float64 if dtype == torch.float64 else torch.float32)


def _runs_here() -> str:
    runs: list[Any] = sorted(path.parent.name for path in Path("runs").glob("*/resolved.toml"))
    return f"Runs here: {', '.join(runs)}." if runs else "There are no runs here yet: train one first."
