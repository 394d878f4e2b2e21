"""Models on the Hugging Face hub: what counts as a name there, and how its files come here."""

import re
from pathlib import Path

from inkling.data.sources.opening import import_extra
from inkling.errors import UserError

NICKNAMES = {name: f"openai-community/{name}" for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")}

# Weights as safetensors and what is said about them; never a pickle, never code. Nothing from subfolders, where some
# keep the same model in other formats.
WANTED = [
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
]


def is_hub_name(where: str) -> bool:
    """Whether `where` can be a model on the hub: owner/model, or one of GPT-2's four; and is nothing on this disk."""
    if where in NICKNAMES:
        return not Path(where).exists()
    match = re.fullmatch(r"([\w-][\w.-]*)/[\w-][\w.-]*", where)
    return match is not None and match[1] not in ("runs", "data") and not Path(match[1]).exists()


def fetch(name: str) -> Path:
    """The folder in huggingface_hub's cache with the model's files, downloaded if they are not there yet."""
    repo = NICKNAMES.get(name, name)
    hub = import_extra("huggingface_hub")
    try:
        return Path(hub.snapshot_download(repo, allow_patterns=WANTED, ignore_patterns=["*/*"]))
    except Exception as error:  # its own, or of the HTTP library behind it, whose name changes with its version
        raise _problem(repo, error) from None


def _problem(repo: str, error: Exception) -> UserError:
    kind = type(error).__name__
    if kind == "GatedRepoError":
        return UserError(
            f"{repo} is given only to those who accept its terms.",
            f"Accept them at https://huggingface.co/{repo}, run `hf auth login`, and try again.",
        )
    if kind in ("RepositoryNotFoundError", "HFValidationError"):
        return UserError(
            f"There is no folder or run {repo!r} here, and no public model of that name on the hub.", "Check the name."
        )
    return UserError(
        f"{repo} is no folder or run here, and could not be fetched from the hub ({kind}).",
        f"With a network, try again. Without one, run `hf download {repo} --local-dir FOLDER --include "
        "'*.json' '*.safetensors' '*.jinja'` where there is one, bring the folder here, and give its path.",
    )
