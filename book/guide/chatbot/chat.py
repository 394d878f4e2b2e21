"""Talk: `python chat.py`, or `python chat.py "What is the capital of France?"`."""

import sys
from collections.abc import Iterator

import torch
from data import BOT, render
from facts import Message
from model import GPT
from tokenizer import Tokenizer
from tools import calculate

LONGEST = 40  # tokens of an answer


@torch.no_grad()
def next_token(model: GPT, ids: list[int], temperature: float, dice: torch.Generator) -> int:
    """The likeliest token, or a draw."""
    logits = model(torch.tensor([ids[-model.config.block_size :]]))[0, -1]  # (V,)
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=dice))


def context(tokenizer: Tokenizer, messages: list[Message], room: int) -> list[int]:
    """What the model reads: the conversation, without its oldest turns where it is too long."""
    while True:
        ids, _ = render(tokenizer, messages)
        if len(ids) <= room:
            return ids
        if len(messages) < 3:
            raise ValueError("This question is too long.")
        messages = messages[2:]  # a question and its answer


def reply(
    model: GPT, tokenizer: Tokenizer, messages: list[Message], temperature: float = 0.0, seed: int = 1
) -> Iterator[str]:
    """The answer, in pieces as they come. A sum is sent to the calculator on the way, and what it says is read."""
    mark = tokenizer.special
    dice = torch.Generator().manual_seed(seed)
    ids = context(tokenizer, messages, model.config.block_size - LONGEST)
    said: list[int] = []  # what the person sees
    shown, call = "", -1  # where the expression begins, while there is one
    for _ in range(LONGEST):
        token = next_token(model, ids, temperature, dice)
        if token == mark["<|end|>"]:
            return
        ids.append(token)
        if token == mark["<|call|>"]:
            call = len(ids)
        elif token == mark["<|result|>"] and call >= 0:
            ids += [*tokenizer.encode(calculate(tokenizer.decode(ids[call:]))), mark["<|bot|>"]]
            call = -1
        elif call < 0:
            said.append(token)
            text = tokenizer.decode(said)
            if not text.endswith("\N{REPLACEMENT CHARACTER}"):  # half a character waits for its other half
                yield text[len(shown) :]
                shown = text


def main(question: str = "") -> None:
    """One question, or a conversation until an empty line."""
    model, tokenizer = GPT.load(BOT), Tokenizer.load(BOT / "tokenizer.json")
    messages: list[Message] = []
    while line := question or input("you: ").strip():
        messages.append({"role": "user", "content": line})
        print("bot: ", end="")
        pieces = []
        for piece in reply(model, tokenizer, messages):
            print(piece, end="", flush=True)
            pieces.append(piece)
        print()
        messages.append({"role": "assistant", "content": "".join(pieces)})
        if question:
            return


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
