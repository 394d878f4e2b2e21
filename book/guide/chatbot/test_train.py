"""Step 4 holds: a model that cannot learn one batch by heart cannot learn at all."""

import math

import torch
from data import BOT, get_batch, load
from model import GPT, Config
from tokenizer import Tokenizer
from train import optimizer_for, rate_at, update

torch.manual_seed(1)
V = Tokenizer.load(BOT / "tokenizer.json").vocab_size
model = GPT(Config(V, n_layer=2, n_embd=64))
batch = get_batch(load(BOT / "sft.npz"), 48, 4, seed=1, step=0)
optimizer = optimizer_for(model)
losses = [update(model, optimizer, batch, rate=3e-3) for _ in range(120)]
print(f"one batch: {losses[0]:.2f} at first (ln V = {math.log(V):.2f}), {losses[-1]:.3f} after 120 steps")
assert abs(losses[0] - math.log(V)) < 0.3
assert losses[-1] < 0.05, "it cannot learn one batch by heart: look for a bug, not for a better learning rate"

rates = [rate_at(step, 1.0, 100) for step in range(101)]
assert rates[0] > 0 and max(rates) == rates[20] == 1.0 and rates[100] < 0.02
print("train: ok")
