"""Named settings, as TOML. A recipe is found by its name here, or by the path of a file."""

from importlib import resources
from pathlib import Path
from typing import Any

from inkling.errors import UserError
from inkling.settings import Layer, read_toml


def recipe_names() -> list[str]:
    """The recipes that ship with inkling."""
    files = resources.files(__package__).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_recipe(name: str) -> tuple[str, Layer]:
    """A recipe's name, or the path of a TOML file → (its name, its settings). `train_X` finds `X`."""
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise UserError(f"There is no recipe file {name}.", _remedy(), status=2)
        return path.stem, Layer(f"recipe {name}", read_toml(path))
    plain = name.removeprefix("train_")
    if plain not in recipe_names():
        raise UserError(f"There is no recipe {name!r}.", _remedy(), status=2)
    with resources.as_file(resources.files(__package__) / f"{plain}.toml") as file:
        values: dict[str, Any] = read_toml(file)
    return plain, Layer(f"recipe {plain}", values)


def _remedy() -> str:
    return f"Recipes: {', '.join(recipe_names())}; or give the path of a .toml file."
