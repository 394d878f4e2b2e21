# %% [markdown]
# # How big is a transformer, and what does it cost?
#
# Before a model is trained, almost everything about its cost can be worked out on paper: how many numbers it
# holds, how much arithmetic a token takes, how much memory a step needs, how long a run will last. This notebook
# does it for the four sizes of GPT-2, because their figures are public and can be checked.
#
# The formulas are those of `inkling.model.cost`; nothing here is typed in that could be computed. Run it as a
# script, `python notebooks/transformer_sizing.py`, or cell by cell in an editor that knows `# %%`.

# %%
from dataclasses import replace

from inkling.model.config import PRESETS, GPTConfig
from inkling.model.cost import (
    GPT2_SIZES,
    activation_bytes,
    activation_peak,
    flops_by_part,
    flops_per_token,
    kv_cache_bytes,
    model_flops_utilization,
    parameters_by_part,
    training_bytes,
)
from inkling.model.scaling import training_flops

GPT2 = {name: GPTConfig(vocab_size=50257, **PRESETS["gpt2"], **size) for name, size in GPT2_SIZES.items()}
PARAMETERS = {name: sum(parameters_by_part(config).values()) for name, config in GPT2.items()}


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    """Print columns: words to the left, figures to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    print(f"\n{title}")
    for row in [head, *rows]:
        first, *others = row
        print("  " + first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True)))


# %% [markdown]
# ## Parameters
#
# A GPT of L layers and width C has, in each layer, a matrix that makes queries, keys and values (3 C × C), one that
# mixes the heads again (C × C), and an MLP that goes up to 4 C and back (8 C × C): 12 C² in all. Around the layers
# stand the token embedding, V × C, and one learned vector for each of the 1,024 positions. GPT-2's output head is
# the token embedding turned over, so it costs nothing more. Biases and norms are crumbs.

# %%
parts = [part for part, count in parameters_by_part(GPT2["gpt2"]).items() if count]
table(
    "parameters, by part",
    ["", *GPT2],
    [[part, *(f"{parameters_by_part(config)[part]:,}" for config in GPT2.values())] for part in parts]
    + [["total", *(f"{count:,}" for count in PARAMETERS.values())]],
)
rows = []
for name, config in GPT2.items():
    by_part = parameters_by_part(config)
    blocks = by_part["attention"] + by_part["mlp"]
    rows.append(
        [name, f"{12 * config.n_layer * config.n_embd**2:,}", f"{blocks:,}", f"{blocks / PARAMETERS[name]:.0%}"]
    )
table("the rule 12 L C² against the blocks", ["", "12 L C²", "blocks", "of the whole model"], rows)

# %% [markdown]
# The small model spends three tenths of its parameters on the embedding, the largest one twentieth: V does not grow
# with the model, and 12 L C² does. Whoever compares models of different sizes should say which count is meant.
#
# ### Three numbers for one model
#
# Radford et al. 2019 list 117M, 345M, 762M and 1542M. The released files hold 124M, 355M, 774M and 1558M, which is
# what the table above says. OpenAI's repository notes that the first counts were wrong "due to an error" and does
# not say which. The arithmetic suggests one: with 40,478 tokens, the vocabulary of the first GPT, in place of
# 50,257, all four of the paper's figures come out.

# %%
PAPER = {"gpt2": 117, "gpt2-medium": 345, "gpt2-large": 762, "gpt2-xl": 1542}  # millions
with_old_vocabulary = {
    name: sum(parameters_by_part(replace(config, vocab_size=40478)).values()) for name, config in GPT2.items()
}
table(
    "the paper's counts, in millions",
    ["", "paper", "released", "with GPT-1's vocabulary"],
    [
        [name, f"{PAPER[name]}M", f"{PARAMETERS[name] / 1e6:.1f}M", f"{with_old_vocabulary[name] / 1e6:.1f}M"]
        for name in GPT2
    ],
)
assert all(round(with_old_vocabulary[name] / 1e6) == PAPER[name] for name in GPT2)

# %% [markdown]
# The small model is also met as 123.65M and as 85M. nanoGPT's start-up line leaves out the position embedding,
# and calls the rest "non-embedding" because the token embedding still works as the head. Kaplan et al. 2020 leave
# out both embeddings, since they wanted the part whose growth makes a model better. All three are right counts of
# different things.

# %%
small = parameters_by_part(GPT2["gpt2"])
without_positions = PARAMETERS["gpt2"] - small["position embedding"]
without_embeddings = without_positions - small["token embedding"]
print(f"\ngpt2: {PARAMETERS['gpt2']:,} held; {without_positions:,} without positions; ", end="")
print(f"{without_embeddings:,} without either embedding")

# %% [markdown]
# ## Arithmetic
#
# A weight in a matrix product costs a multiplication and an addition for each token, 2 FLOPs. Going back costs twice
# as much, once for the gradient of the input and once for that of the weight. So training takes about 6 FLOPs for
# each parameter and token: C ≈ 6 N D. Two things are wrong with the rule, in opposite directions:
#
# - attention also compares every token with every other. These products have no weights, so N does not know of them;
#   they add 12 · T · C FLOPs for each layer and token, and the share grows with the context T;
# - looking a row up in an embedding is no arithmetic. With a tied head the table is used as a matrix once, so its
#   6 FLOPs are earned after all; learned positions, and the embedding of an untied model, never earn theirs.

# %%
forward = {name: flops_by_part(config, training=False) for name, config in GPT2.items()}
table(
    "forward FLOPs of one token in a context of 1,024",
    ["", *GPT2],
    [[part, *(f"{costs[part] / 1e6:,.1f} M" for costs in forward.values())] for part in forward["gpt2"]]
    + [["total", *(f"{sum(costs.values()) / 1e6:,.1f} M" for costs in forward.values())]],
)
CONTEXTS = (256, 1024, 4096, 16384)


def rule_error(config: GPTConfig, block_size: int) -> float:
    """6 N over what a token of training really costs, minus 1."""
    longer = replace(config, block_size=block_size)
    total = sum(parameters_by_part(longer).values())
    return training_flops(total, 1) / flops_per_token(longer) - 1


table(
    "how far 6 N D is off, by context",
    ["", *(f"T = {block_size:,}" for block_size in CONTEXTS)],
    [[name, *(f"{rule_error(config, T):+.1%}" for T in CONTEXTS)] for name, config in GPT2.items()],
)

# %% [markdown]
# At GPT-2's own context the rule is 13 % low for the small model and 9 % for the large one. At 16 thousand tokens it
# misses most of the work. Since the matrices of a layer cost 24 C² FLOPs a token on the way forward and the scores
# 4 T C, they are even at T = 6 C: short of that, the rule is good; beyond it, reckon exactly.

# %%
for name, config in GPT2.items():
    even = replace(config, block_size=6 * config.n_embd)
    costs = flops_by_part(even, training=False)
    ratio = costs["attention scores"] / (costs["attention projections"] + costs["mlp"])
    print(f"{name}: at T = 6 C = {even.block_size:,} the scores cost {ratio:.2f} times the blocks' matrices")

# %% [markdown]
# ## Bytes
#
# A checkpoint to go on training from holds the float32 weights and the two running means of AdamW: 12 bytes for each
# parameter. To use a model, weights in bfloat16 are enough: 2 bytes. The gradients, another 4 bytes for each, live
# only in memory. What a step keeps for its backward pass depends on the batch instead, and is soon the larger part.
# The table is for one GPU in bfloat16 without compilation; recomputing the blocks buys memory for a third more
# arithmetic within them.

# %%
BF16 = 2


def step_bytes(config: GPTConfig, rows: int, recompute: bool) -> int:
    """The peak of a training step on a GPU: what is always there, and the activations."""
    fixed = sum(training_bytes(config, "adamw").values())
    return fixed + activation_peak(config, rows, BF16, recompute, "cuda")


def largest_batch(config: GPTConfig, memory: float, recompute: bool) -> int:
    """The most rows that fit into `memory` bytes, by the count alone: leave a tenth for PyTorch itself."""
    rows = 0
    while step_bytes(config, rows + 1, recompute) <= 0.9 * memory:
        rows += 1
    return rows


table(
    "gigabytes",
    ["", "to use", "checkpoint", "fixed in training", "activations of a row", "KV cache of a row"],
    [
        [
            name,
            f"{BF16 * PARAMETERS[name] / 1e9:.2f}",
            f"{12 * PARAMETERS[name] / 1e9:.2f}",
            f"{sum(training_bytes(config).values()) / 1e9:.2f}",
            f"{sum(activation_bytes(config, 1, BF16, device_type='cuda').values()) / 1e9:.2f}",
            f"{kv_cache_bytes(config) / 1e9:.3f}",
        ]
        for name, config in GPT2.items()
    ],
)
table(
    "rows of 1,024 tokens that fit",
    ["", "40 GB", "40 GB, recomputing", "80 GB", "80 GB, recomputing"],
    [
        [name, *(str(largest_batch(config, 1e9 * size, again)) for size in (40, 80) for again in (False, True))]
        for name, config in GPT2.items()
    ],
)

# %% [markdown]
# ## Time
#
# The share of a machine's peak that goes into the model's own arithmetic is its MFU, model FLOPs utilisation
# (Chowdhery et al. 2022). An A100 is sold with 312 TFLOP/s of dense bfloat16, and large, well-fed models reach about
# half of it.
#
# nanoGPT says of its GPT-2 run: eight A100, 600,000 steps of 491,520 tokens, about four days. That is enough to work
# out the MFU it had.

# %%
A100 = 312e12
steps, tokens_per_step, days = 600_000, 491_520, 4
tokens = steps * tokens_per_step
run_flops = flops_per_token(GPT2["gpt2"]) * tokens
achieved = run_flops / (days * 86400)
mfu = model_flops_utilization(achieved, 8 * A100)
each = tokens / PARAMETERS["gpt2"]
print(f"\nnanoGPT's run: {tokens / 1e9:.0f} G tokens, {run_flops:.2e} FLOPs, {each:,.0f} tokens a parameter")
print(f"in {days} days: {achieved / 1e12:,.0f} TFLOP/s of {8 * A100 / 1e12:,.0f}, MFU {mfu:.0%}")

# %% [markdown]
# The other way round, a guess of the MFU gives the time. Twenty tokens for each parameter (see `scaling_laws.py`),
# on eight A100 at 40 %:

# %%
MFU = 0.4
rows = []
for name, config in GPT2.items():
    enough = 20 * PARAMETERS[name]
    seconds = flops_per_token(config) * enough / (8 * A100 * MFU)
    rows.append([name, f"{enough / 1e9:.1f} G", f"{flops_per_token(config) * enough:.2e}", f"{seconds / 3600:.1f} h"])
table("training on 20 tokens a parameter", ["", "tokens", "FLOPs", "8 × A100"], rows)
