"""Text → arrays of ids on the disk, and the batch of a step. `python data.py` prepares everything into ./bot."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import facts
import numpy as np
import torch
from facts import Message
from tokenizer import Tokenizer, train
from torch import Tensor

BOT = Path("bot")


@dataclass(frozen=True)
class Texts:
    """All texts of one kind, end to end: ids, whether each is learned, and where each text begins."""

    ids: np.ndarray
    learned: np.ndarray
    starts: np.ndarray


def render(tokenizer: Tokenizer, messages: list[Message]) -> tuple[list[int], list[bool]]:
    """A conversation → ids, and which of them the bot has to learn: what it says itself, and nothing else.

    <|user|>12*34?<|bot|><|call|>12*34<|result|>408<|bot|>It is 408.<|end|>
    """
    ids: list[int] = []
    learned: list[bool] = []

    def add(some: list[int], is_learned: bool) -> None:
        ids.extend(some)
        learned.extend([is_learned] * len(some))

    mark = tokenizer.special
    for message in messages:
        role, text = message["role"], tokenizer.encode(message["content"])
        if role == "user":
            add([mark["<|user|>"], *text, mark["<|bot|>"]], False)
        elif role == "call":  # the bot writes the call and its end; the next one speaks
            add([mark["<|call|>"], *text, mark["<|result|>"]], True)
        elif role == "result":
            add([*text, mark["<|bot|>"]], False)
        else:
            add([*text, mark["<|end|>"]], True)
    return ids, learned


def prose(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[bool]]:
    """A document → ids with the mark of its end, all of them learned."""
    ids = [*tokenizer.encode(text), tokenizer.special["<|end|>"]]
    return ids, [True] * len(ids)


def collect(texts: Iterable[tuple[list[int], list[bool]]]) -> Texts:
    """Put texts end to end."""
    ids: list[int] = []
    learned: list[bool] = []
    starts: list[int] = []
    for some, which in texts:
        starts.append(len(ids))
        ids += some
        learned += which
    return Texts(np.array(ids, dtype=np.uint16), np.array(learned), np.array(starts))


def save(texts: Texts, file: Path) -> None:
    """To the disk, as plain arrays."""
    np.savez(file, ids=texts.ids, learned=texts.learned, starts=texts.starts)


def load(file: Path) -> Texts:
    """From the disk."""
    with np.load(file) as arrays:
        return Texts(arrays["ids"], arrays["learned"], arrays["starts"])


def get_batch(texts: Texts, block_size: int, rows: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Ids and targets of a step, both (rows, block_size). A row begins where a text begins."""
    fit = texts.starts[texts.starts < len(texts.ids) - block_size - 1]
    starts = np.random.default_rng([seed, step]).choice(fit, rows)
    places = starts[:, None] + np.arange(block_size + 1)  # (rows, T + 1)
    ids = torch.from_numpy(texts.ids[places].astype(np.int64))
    learned = torch.from_numpy(texts.learned[places])
    return ids[:, :-1], ids[:, 1:].masked_fill(~learned[:, 1:], -1)


def prepare(folder: Path, count: int, n_merges: int) -> None:
    """Write the tokenizer and four data sets: prose and talk, to learn from and to be measured on."""
    folder.mkdir(exist_ok=True)
    sample = [*facts.documents(1, 2000), *(m["content"] for c in facts.conversations(1, 2000) for m in c)]
    tokenizer = Tokenizer(train("\n".join(sample), n_merges))
    tokenizer.save(folder / "tokenizer.json")
    for stage, seed, n in (("pretrain", 2, count), ("pretrain-val", 3, 200), ("sft", 4, count), ("sft-val", 5, 200)):
        if stage.startswith("pretrain"):
            texts = collect(prose(tokenizer, text) for text in facts.documents(seed, n))
        else:
            texts = collect(render(tokenizer, talk) for talk in facts.conversations(seed, n))
        save(texts, folder / f"{stage}.npz")
        print(
            f"{stage}: {len(texts.starts)} texts, {len(texts.ids)} tokens, {texts.learned.mean():.0%} of them learned"
        )


if __name__ == "__main__":
    prepare(BOT, count=int(sys.argv[1]) if len(sys.argv) > 1 else 12_000, n_merges=500)
