"""Step 5 holds: answers end, the calculator is asked and safe, old turns make room. With a model made by hand."""

import chat
import torch
from data import BOT, render
from tokenizer import Tokenizer
from tools import calculate

assert calculate("12*34") == "408" and calculate("7 / 2") == "3.5" and calculate("9-12") == "-3"
for bad in ("", "1/0", "9**9**9", "__import__('os')", "1+1;2", "99999999999*2"):
    assert calculate(bad) == "error"

tokenizer = Tokenizer.load(BOT / "tokenizer.json")
mark = tokenizer.special


class Script(torch.nn.Module):
    """A model that says what is written, and notes what it read."""

    class config:
        block_size = 96

    def __init__(self, *ids: int) -> None:
        super().__init__()
        self.ids, self.read = list(ids), []

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        self.read.append(ids[0].tolist())
        return torch.nn.functional.one_hot(torch.tensor([[self.ids.pop(0)]]), tokenizer.vocab_size).float()


question = [{"role": "user", "content": "12*34?"}]
words = tokenizer.encode
script = Script(mark["<|call|>"], *words("12*34"), mark["<|result|>"], *words("It is 408 🐈."), mark["<|end|>"])
pieces = list(chat.reply(script, tokenizer, question))
assert "".join(pieces) == "It is 408 🐈." and not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)
assert tokenizer.decode(script.read[-1]).endswith("12*34408It is 408 🐈."), "the result was read"
assert not script.ids, "nothing is asked after the end"

endless = Script(*words("a") * 100)
assert len("".join(chat.reply(endless, tokenizer, question))) == chat.LONGEST

long = [{"role": role, "content": "Where is France?"} for _ in range(9) for role in ("user", "assistant")][:-1]
room = 40
ids = chat.context(tokenizer, long, room)
assert len(ids) <= room and ids == render(tokenizer, long)[0][-len(ids) :] and ids[0] == mark["<|user|>"]
try:
    chat.context(tokenizer, [{"role": "user", "content": "x" * 500}], room)
    raise AssertionError("a question that cannot fit was taken")
except ValueError as error:
    assert "too long" in str(error)
print("chat: ok")
