"""Safetensors files, read one tensor at a time, so that loading takes the model's memory once and not twice.

The library maps a file into memory, and what is mapped counts while the file is open. So each tensor is read from a
file opened for it alone; that costs a look at the header, some 50 KB, for each.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from inkling.errors import UserError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
DAMAGED = "Download the files again."


class TensorFiles:
    """The tensors of a safetensors file, or of the files that an index lists, by name."""

    def __init__(self, file: Path) -> None:
        """`file` is a .safetensors or an index (.json). Raises UserError for what is cut or damaged."""
        self.file = file
        self.files: tuple[Path, ...] = ()
        self._home: dict[str, Path] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        try:
            self.files = tuple(_shards(file))
            for shard in self.files:
                with safe_open(shard, framework="pt") as opened:
                    for name in opened.keys():  # noqa: SIM118 - it is no dictionary
                        self._home[name] = shard
                        self.shapes[name] = tuple(opened.get_slice(name).get_shape())
        except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
            raise UserError(f"Cannot read the weights in {file}: {error}.", DAMAGED) from None

    def by_size(self) -> list[str]:
        """The names, the largest tensor first: reading one beside those read before is then never the peak."""
        return sorted(self.shapes, key=lambda name: torch.Size(self.shapes[name]).numel(), reverse=True)

    def read(self, name: str) -> Tensor:
        """One tensor, in the dtype it has there."""
        try:
            with safe_open(self._home[name], framework="pt") as opened:
                tensor: Tensor = opened.get_tensor(name)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise UserError(f"Cannot read {name} in {self.file}: {error}.", DAMAGED) from None
        if tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
            raise UserError(
                f"{name} in {self.file} is stored as {str(tensor.dtype).removeprefix('torch.')}: it was quantized.",
                "Take the model's unquantized weights.",
            )
        return tensor


def find_tensor_file(folder: Path) -> Path:
    """The folder's safetensors file, or the index of several."""
    for name in (SINGLE, INDEX):
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"{folder} has no {SINGLE}.",
        "Download the model's safetensors files; other formats may hold programs and are not read.",
    )


def _shards(file: Path) -> list[Path]:
    if file.suffix != ".json":
        return [file]
    names = sorted(set(json.loads(file.read_text(encoding="utf-8"))["weight_map"].values()))
    outside = [name for name in names if Path(name).name != name]
    if outside:  # an index may not point to other people's files
        raise ValueError(f"the index names {outside[0]!r}, which is not a file beside it")
    return [file.parent / name for name in names]
