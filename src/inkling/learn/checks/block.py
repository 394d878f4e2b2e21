"""Exercise 3: against PyTorch's functions, and against inkling's GPT with the same weights."""

import math
from types import ModuleType

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from inkling.learn.compare import same
from inkling.learn.numbers import random_ids, random_tensor
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT

SIZES = {"vocab_size": 11, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 8}


def check_layer_norm(mine: ModuleType) -> None:
    """layer_norm: equal to PyTorch's"""
    x, weight, bias = 4 + 3 * random_tensor(2, 3, 6, seed=1), random_tensor(6, seed=2), random_tensor(6, seed=3)
    centred = x - x.mean(-1, keepdim=True)
    root = (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    mistakes = {
        "The variance was divided by C − 1. Tensor.var does that by itself; use the mean of the squares.": centred
        / (x.var(-1, keepdim=True) + 1e-5).sqrt()
        * weight
        + bias,
        "The mean was not taken off.": x / root * weight + bias,
        "Divide by the root of the variance, not by the variance.": centred / root.square() * weight + bias,
        "The learned weight and bias are missing.": centred / root,
        "Mean and variance run over the last axis only, not over all numbers.": (x - x.mean())
        / (x.var(unbiased=False) + 1e-5).sqrt()
        * weight
        + bias,
    }
    same("layer_norm of (2, 3, 6)", mine.layer_norm(x, weight, bias), F.layer_norm(x, (6,), weight, bias), mistakes)


def check_layer_norm_of_equal_numbers(mine: ModuleType) -> None:
    """layer_norm: equal numbers give the bias and not a division by zero"""
    ones, bias = torch.ones(2, 4), torch.arange(4.0)
    nothing = {"Divided by zero: add 1e-5 to the variance.": torch.full((2, 4), math.nan)}
    same("layer_norm of ones", mine.layer_norm(ones, torch.ones(4), bias), bias.expand(2, 4), nothing)


def check_gelu(mine: ModuleType) -> None:
    """gelu: equal to PyTorch's exact form"""
    x = torch.linspace(-4, 4, 33)
    mistakes = {
        "This is the tanh approximation; the exercise asks for the exact form with erf.": F.gelu(x, approximate="tanh"),
        "The factor x is missing.": 0.5 * (1 + torch.erf(x / math.sqrt(2))),
        "erf takes x / √2.": x * 0.5 * (1 + torch.erf(x)),
        "This is ReLU.": F.relu(x),
    }
    same("gelu from −4 to 4", mine.gelu(x), F.gelu(x), mistakes)


def check_mlp(mine: ModuleType) -> None:
    """MLP: widen, bend, narrow"""
    torch.manual_seed(3)
    mlp = mine.MLP(6)
    x = random_tensor(2, 3, 6, seed=4)
    flat = {"Nothing bends between the two matrices: gelu is missing.": mlp.c_proj(mlp.c_fc(x))}
    same("MLP of (2, 3, 6)", mlp(x), mlp.c_proj(F.gelu(mlp.c_fc(x))), flat)


def check_block(mine: ModuleType) -> None:
    """Block: pre-norm, with both residual connections"""
    torch.manual_seed(4)
    block = mine.Block(8, 2)
    shake(block)
    x = random_tensor(2, 5, 8, seed=5)
    attn, mlp = block.attn, block.mlp

    def one(x: Tensor) -> Tensor:
        return F.layer_norm(x, (8,), block.ln_1.weight, block.ln_1.bias)

    def two(x: Tensor) -> Tensor:
        return F.layer_norm(x, (8,), block.ln_2.weight, block.ln_2.bias)

    middle = x + attn(one(x))
    mistakes = {
        "No residual connection: each part's output is added to the stream, it does not replace it.": mlp(
            two(attn(one(x)))
        ),
        "The residual connection around the MLP is missing.": mlp(two(middle)),
        "The residual connection around the attention is missing.": attn(one(x)) + mlp(two(attn(one(x)))),
        "Post-norm: here the norm stands before each part, and the stream itself is never normalised.": two(
            one(x + attn(x)) + mlp(one(x + attn(x)))
        ),
        "The stream itself was normalised: x + attn(ln_1(x)), not ln_1(x) + attn(ln_1(x)).": (
            two(one(x) + attn(one(x))) + mlp(two(one(x) + attn(one(x))))
        ),
        "Both parts read the same stream: the MLP reads it after the attention has added to it.": middle + mlp(two(x)),
        "The norms are missing.": x + attn(x) + mlp(x + attn(x)),
        "The MLP has a norm of its own, ln_2.": middle + mlp(one(middle)),
    }
    same("a block's output for (2, 5, 8)", block(x), middle + mlp(two(middle)), mistakes)


def check_gpt(mine: ModuleType) -> None:
    """GPT: equal to inkling's GPT with the same weights"""
    gpt = mine.GPT(**SIZES)
    shake(gpt)
    reference = GPT(GPTConfig(**SIZES))  # type: ignore[arg-type]
    weights = {f"transformer.{name}": value for name, value in gpt.state_dict().items()}
    reference.load_state_dict(weights | {"lm_head.weight": gpt.wte.weight})
    ids = random_ids(2, 6, below=11, seed=6)
    stream = gpt.wte(ids) + gpt.wpe.weight[:6]
    unplaced = gpt.wte(ids)
    for block in gpt.h:
        stream, unplaced = block(stream), block(unplaced)
    mistakes = {
        "The position embeddings wpe are missing: the model cannot know in which order the tokens came.": gpt.ln_f(
            unplaced
        )
        @ gpt.wte.weight.T,
        "The last norm, ln_f, is missing.": stream @ gpt.wte.weight.T,
        "The blocks were left out.": gpt.ln_f(gpt.wte(ids) + gpt.wpe.weight[:6]) @ gpt.wte.weight.T,
        "These are probabilities. A model gives logits; the loss makes the softmax.": reference(ids).softmax(-1),
    }
    same("logits of (2, 6) ids", gpt(ids), reference(ids), mistakes)


def shake(module: nn.Module) -> None:
    """Weights so large that a part that is left out shows, and norms that are not the plain ones."""
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.copy_(random_tensor(*parameter.shape, seed=100 + i) / 2)
