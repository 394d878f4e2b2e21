"""inkling turns raw text into a language model that you can talk to.

    import inkling
    model, tokenizer = inkling.load("runs/demo")
    print(inkling.generate(model, tokenizer, "Once upon a time"))

Importing this package does nothing else: no device is touched and torch is not loaded before it is used.
"""

from typing import Any

from inkling.version import __version__

__all__ = ["__version__", "generate", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from inkling.hub.load import load

        return load
    if name == "generate":
        from inkling.infer.engine import generate

        return generate
    raise AttributeError(f"module 'inkling' has no attribute '{name}'")
