"""Named settings, as TOML. A recipe is found by its name here, or by the path of a file, nanoGPT's among them."""

import os
import sys
from importlib import resources
from pathlib import Path
from typing import Any

from inkling.errors import UserError
from inkling.recipes.nanogpt import read_nanogpt
from inkling.settings import Layer, read_toml

# Where nanoGPT's name for a recipe is more than `train_` and ours.
NANOGPT_NAMES = {"train_gpt2": "gpt2_124m"}


def recipe_names() -> list[str]:
    """The recipes that ship with inkling."""
    files = resources.files(__package__).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_recipe(name: str) -> tuple[str, Layer]:
    """A recipe's name, or the path of a TOML file or of nanoGPT's config/*.py → (its name, its settings).

    nanoGPT's names are understood: `train_X` finds `X`, and `train_gpt2` finds `gpt2_124m`.
    """
    path = Path(name)
    if path.suffix in (".toml", ".py"):
        if not path.is_file():
            raise UserError(f"There is no recipe file {name}.", _remedy(path.stem), status=2)
        return path.stem, Layer(f"recipe {name}", _read(path))
    plain = _shipped(name)
    if plain is None:
        raise UserError(f"There is no recipe {name!r}.", _remedy(), status=2)
    with resources.as_file(resources.files(__package__) / f"{plain}.toml") as file:
        return plain, Layer(f"recipe {plain}", read_toml(file))


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".toml":
        return read_toml(path)
    values, notes = read_nanogpt(path)
    if os.environ.get("RANK", "0") == "0":  # of several processes, one speaks
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
    return values


def _shipped(name: str) -> str | None:
    """The recipe here that `name` means, in our words or nanoGPT's."""
    plain = NANOGPT_NAMES.get(name, name.removeprefix("train_"))
    return plain if plain in recipe_names() else None


def _remedy(wanted: str = "") -> str:
    if _shipped(wanted):
        return f"The recipe of that name is here; give the name alone: {wanted}"
    return f"Recipes: {', '.join(recipe_names())}; or give the path of a .toml file, or of nanoGPT's config/NAME.py."
