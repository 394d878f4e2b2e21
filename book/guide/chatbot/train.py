"""Train: `python train.py pretrain`, then `python train.py sft`. A number behind it says how many steps."""

import sys
import time

import torch
import torch.nn as nn
from data import BOT, Texts, get_batch, load
from model import GPT, Config
from tokenizer import Tokenizer
from torch import Tensor

ROWS = 16
STEPS = 500
PEAK = {"pretrain": 3e-3, "sft": 1.5e-3}


def rate_at(step: int, peak: float, steps: int, warmup: int = 20) -> float:
    """A line up, then a line down, to a hundredth."""
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * max(0.01, 1 - (step - warmup) / max(1, steps - warmup))


def optimizer_for(model: GPT) -> torch.optim.Optimizer:
    """AdamW; only matrices decay."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def update(model: GPT, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, Tensor], rate: float) -> float:
    """One step; returns the mean loss of its targets."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    nats, count = model(*batch)
    loss = nats / count
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def evaluate(model: GPT, texts: Texts, batches: int = 4) -> float:
    """The mean loss over the same rows each time."""
    total, count = 0.0, 0
    for step in range(batches):
        nats, n = model(*get_batch(texts, model.config.block_size, ROWS, seed=0, step=step))
        total, count = total + nats.item(), count + int(n)
    return total / count


def train(model: GPT, texts: Texts, held_out: Texts, steps: int, peak: float, seed: int) -> None:
    """Steps, with a line now and then."""
    optimizer = optimizer_for(model)
    begin = time.monotonic()
    for step in range(steps):
        batch = get_batch(texts, model.config.block_size, ROWS, seed, step)
        loss = update(model, optimizer, batch, rate_at(step, peak, steps))
        if step % 100 == 0 or step == steps - 1:
            seconds = time.monotonic() - begin
            print(
                f"step {step:4}  loss {loss:.3f}  held out {evaluate(model, held_out):.3f}  {seconds:4.0f} s",
                flush=True,
            )


def main(stage: str, steps: int) -> None:
    """Begin anew, or with what pretraining has left."""
    torch.manual_seed(1337)
    if stage == "pretrain":
        model = GPT(Config(Tokenizer.load(BOT / "tokenizer.json").vocab_size))
    else:
        model = GPT.load(BOT)
    print(f"{stage}: {sum(parameter.numel() for parameter in model.parameters()):,} parameters, {steps} steps")
    train(model, load(BOT / f"{stage}.npz"), load(BOT / f"{stage}-val.npz"), steps, PEAK[stage], seed=1)
    model.save(BOT)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else STEPS)
