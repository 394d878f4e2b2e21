"""Step 2 holds: the mask is where it should be, and a batch is a function of its step."""

import facts
import numpy as np
from data import BOT, get_batch, load, prose, render
from tokenizer import Tokenizer

tokenizer = Tokenizer.load(BOT / "tokenizer.json")
talk = [
    {"role": "user", "content": "What is 12 times 34?"},
    {"role": "call", "content": "12*34"},
    {"role": "result", "content": "408"},
    {"role": "assistant", "content": "It is 408."},
]
ids, learned = render(tokenizer, talk)
mark = {i: name for name, i in tokenizer.special.items()}
shown = [mark.get(i) or tokenizer.decode([i]) for i in ids]
assert "".join(shown) == "<|user|>What is 12 times 34?<|bot|><|call|>12*34<|result|>408<|bot|>It is 408.<|end|>"
said = "".join(word for word, is_learned in zip(shown, learned, strict=True) if is_learned)
assert said == "<|call|>12*34<|result|>It is 408.<|end|>", "it learns what it says, and nothing else"
assert all(prose(tokenizer, "A cat.")[1])

texts = load(BOT / "sft.npz")
x, y = get_batch(texts, 32, 4, seed=1, step=7)
assert (get_batch(texts, 32, 4, seed=1, step=7)[0] == x).all()
assert (get_batch(texts, 32, 4, seed=1, step=8)[0] != x).any()
assert ((y[:, :-1] == x[:, 1:]) | (y[:, :-1] == -1)).all(), "a target is the next token, or none"
assert 0.2 < (y != -1).float().mean() < 0.8
assert (x[:, 0] == tokenizer.special["<|user|>"]).all(), "a row begins with a text"

held_out = {fact.subject + fact.relation for i, fact in enumerate(facts.FACTS) if facts.is_held_out(i)}
asked = " ".join(m["content"] for talk in facts.conversations(4, 3000) for m in talk if m["role"] == "user")
for i, fact in enumerate(facts.FACTS):
    if facts.is_held_out(i):
        assert not any(ask.format(s=fact.subject) in asked for ask in facts.ASK[fact.relation]), "the exam leaked"
assert held_out and np.all(texts.ids < tokenizer.vocab_size)
print("data: ok")
