"""What a server serves: one model, and what its parts need to know of it."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

from inkling.model.gpt import GPT
from inkling.text.tokenizer import Tokenizer


@dataclass
class Served:
    """One model behind one address. The engine's thread and the page's endpoints share it."""

    name: str
    """what /v1/models lists"""
    model: GPT
    """in evaluation mode, and never changed while it is served"""
    tokenizer: Tokenizer
    run: Path | None
    """the run's folder; None for a folder of published weights"""
    can_chat: bool
    """whether it was taught to chat"""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """whoever runs the model outside the engine's thread holds it; the engine holds it for one step at a time"""
