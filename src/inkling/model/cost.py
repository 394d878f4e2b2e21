"""What a model costs, computed from its config alone: parameters, FLOPs, bytes."""

from typing import Literal

from inkling.model.config import GPTConfig

# The four sizes that OpenAI released, by the names that their weights have.
GPT2_SIZES = {
    "gpt2": {"n_layer": 12, "n_head": 12, "n_embd": 768},
    "gpt2-medium": {"n_layer": 24, "n_head": 16, "n_embd": 1024},
    "gpt2-large": {"n_layer": 36, "n_head": 20, "n_embd": 1280},
    "gpt2-xl": {"n_layer": 48, "n_head": 25, "n_embd": 1600},
}

# --- parameters --------------------------------------------------------------------------------------------


def parameters_by_part(config: GPTConfig) -> dict[str, int]:
    """Parameters of each part, all layers together. Their sum is what the built model holds."""
    c = config.filled()
    assert c.n_kv_head and c.head_size and c.mlp_hidden
    C, L, V = c.n_embd, c.n_layer, c.padded_vocab_size
    qkv_rows = (c.n_head + 2 * c.n_kv_head) * c.head_size
    heads_width = c.n_head * c.head_size
    bias = int(c.bias)
    norm = _weights_per_channel(c)
    mlp_inputs = 2 if c.mlp == "swiglu" else 1
    value_layers = sum(_has_value_embedding(c, layer) for layer in range(L))
    qk_norms = 2 * norm * c.head_size if c.qk_norm != "none" else 0
    return {
        "token embedding": V * C,
        "position embedding": c.block_size * C if c.position == "learned" else 0,
        "attention": L * (qkv_rows * (C + bias) + C * heads_width + bias * C + qk_norms),
        "value embeddings": value_layers * (V * c.n_kv_head * c.head_size + min(32, C) * c.n_kv_head),
        "mlp": L * (mlp_inputs * c.mlp_hidden * (C + bias) + C * c.mlp_hidden + bias * C),
        "norms": norm * C * (2 * L + 1 + int(c.embed_norm)),
        "residual scalars": 2 * L if c.residual_scalars else 0,
        "head": 0 if c.tie_weights else V * C,
    }


def block_matrices(config: GPTConfig) -> dict[str, int]:
    """Elements of the matrices in one block, by part: what Muon updates, and what a token is multiplied by."""
    c = config.filled()
    assert c.n_kv_head and c.head_size and c.mlp_hidden
    qkv_rows = (c.n_head + 2 * c.n_kv_head) * c.head_size
    return {
        "attention": qkv_rows * c.n_embd + c.n_embd * c.n_head * c.head_size,
        "mlp": (3 if c.mlp == "swiglu" else 2) * c.n_embd * c.mlp_hidden,
    }


def _weights_per_channel(c: GPTConfig) -> int:
    """Learned numbers that a norm has for each channel."""
    return {"layernorm": 1 + int(c.bias), "rmsnorm": 1, "rmsnorm_weightless": 0}[c.norm]


def _has_value_embedding(c: GPTConfig, layer: int) -> bool:
    return c.value_embeddings and layer % 2 == (c.n_layer - 1) % 2


# --- FLOPs -------------------------------------------------------------------------------------------------


def flops_by_part(config: GPTConfig, training: bool = True, recompute: bool = False) -> dict[str, float]:
    """Floating-point operations for one token of a full context.

    Two for each weight of each matrix product (a multiplication and an addition), and four for each
    element of the attention scores (once for q·k, once for weights·v). The backward pass multiplies twice
    where the forward pass does once, so training costs three forward passes; with recomputation the blocks
    run forward twice and cost four. Chowdhery et al. 2022, "PaLM", appendix B. The causal half is not
    subtracted, as there.
    """
    c = config.filled()
    assert c.n_kv_head and c.head_size
    block = block_matrices(c)
    gates = sum(_has_value_embedding(c, layer) for layer in range(c.n_layer)) * min(32, c.n_embd) * c.n_kv_head
    seen = sum(min(c.layer_window(i) or c.block_size, c.block_size) for i in range(c.n_layer))
    of_blocks = (4 if recompute else 3) if training else 1
    return {
        "attention projections": float(of_blocks * 2 * (c.n_layer * block["attention"] + gates)),
        "attention scores": float(of_blocks * 4 * seen * c.n_head * c.head_size),
        "mlp": float(of_blocks * 2 * c.n_layer * block["mlp"]),
        # The head multiplies by its matrix; the embedding only looks rows up.
        "head": float((3 if training else 1) * 2 * c.padded_vocab_size * c.n_embd),
    }


def flops_per_token(config: GPTConfig, training: bool = True, recompute: bool = False) -> float:
    """The sum of `flops_by_part`. Without `recompute` it is what MFU counts: work that the model itself needs."""
    return sum(flops_by_part(config, training, recompute).values())


def model_flops_utilization(flops_per_second: float, peak_flops: float | None) -> float | None:
    """Share of the peak that goes into the model's own arithmetic; None where no peak is known."""
    return flops_per_second / peak_flops if peak_flops else None


# --- bytes that do not depend on the batch -----------------------------------------------------------------


def training_bytes(
    config: GPTConfig, optimizer: Literal["adamw", "muon"] = "adamw", bytes_per_weight: int = 4
) -> dict[str, int]:
    """Memory that does not depend on the batch: master weights, gradients, and what the optimizer remembers.

    AdamW remembers two numbers for each weight; Muon one for those of the block matrices, and leaves the rest to
    AdamW. What either needs for a moment while it updates comes when the activations are gone.
    """
    total = sum(parameters_by_part(config).values())
    remembered = 2 * total
    if optimizer == "muon":
        remembered -= config.n_layer * sum(block_matrices(config).values())
    names = {"weights": total, "gradients": total, "optimizer": remembered}
    return {name: bytes_per_weight * count for name, count in names.items()}


def kv_cache_bytes(config: GPTConfig, rows: int = 1, tokens: int | None = None, bytes_per_number: int = 2) -> int:
    """Keys and values of `tokens` tokens (None: the whole context) in `rows` texts, all layers together."""
    c = config.filled()
    assert c.n_kv_head and c.head_size
    tokens = c.block_size if tokens is None else tokens
    return 2 * c.n_layer * rows * c.n_kv_head * tokens * c.head_size * bytes_per_number


# --- activations -------------------------------------------------------------------------------------------


def activation_bytes(
    config: GPTConfig, rows: int, bytes_per_number: int, recompute: bool = False, device_type: str = "cpu"
) -> dict[str, int]:
    """Bytes that autograd keeps between the forward and the backward pass of a micro-batch of `rows` full rows.

    `bytes_per_number` is that of the compute dtype: 2, 4 or 8. The count follows the eager forward pass; a
    compiled one keeps less. What each operation keeps is what its derivative needs: a matrix product its input
    (and the copy of its weight, where the compute dtype is not float32's), a norm its input, a nonlinearity its
    input, dropout its mask, the loss its log-probabilities.

    With `recompute` each block keeps its input alone, and one block at a time is computed again ("one block
    again"), after the loss has gone back and released what it kept.

    Measured on CPUs, within 0.1 %. For "cuda" it is derived, not measured: fused attention with dropout as well, one
    byte for each number of a dropout mask, RMSNorm in one kernel.
    """
    c = config.filled()
    assert c.head_size
    s, wide = bytes_per_number, max(4, bytes_per_number)
    N, C = rows * c.block_size, c.n_embd  # N tokens in the micro-batch
    table = 8 if c.position == "learned" else c.head_size * s  # for each position: its number, or cosines and sines
    outer_norms = 1 + int(c.embed_norm)
    parts = {
        "embedding": N * 8 + c.block_size * table + _dropout_bytes(c, N * C, s, device_type),
        "residual scalars": c.n_layer * N * C * s if c.residual_scalars else 0,
        "norms": outer_norms * _norm_bytes(c, N, C, s, device_type),
    }
    # The input of the head; its weight; tanh of the softcap; the log-probabilities, never below float32; targets.
    head = N * C * s + _cast_bytes(c.padded_vocab_size * C, s) + (N * c.vocab_size * s if c.softcap else 0)
    head += N * c.vocab_size * wide + N * 8
    blocks = [_block_bytes(c, N, s, device_type, layer) for layer in range(c.n_layer)]
    if recompute:
        parts["block inputs"] = c.n_layer * N * C * s
        parts["one block again"] = max(sum(block.values()) for block in blocks)
    else:
        parts["norms"] += sum(block["norms"] for block in blocks)
        parts["attention"] = sum(block["attention"] for block in blocks)
        parts["mlp"] = sum(block["mlp"] for block in blocks)
    return parts | {"head and loss": head}


def activation_peak(
    config: GPTConfig, rows: int, bytes_per_number: int, recompute: bool = False, device_type: str = "cpu"
) -> int:
    """The most that activations and their gradients take at one time of a micro-batch, eager.

    Either when the loss goes back, which for a moment holds two more tensors as large as the log-probabilities,
    or within a block, when the loss is done with: then two more as wide as the MLP. Measured on CPUs, the first is
    exact within 1 %, the second, which rules with recomputation and a small vocabulary, within 20 %.
    """
    c = config.filled()
    assert c.mlp_hidden
    kept = activation_bytes(c, rows, bytes_per_number, recompute, device_type)
    tokens = rows * c.block_size
    head = kept.pop("head and loss") + 2 * tokens * c.vocab_size * max(4, bytes_per_number)
    block = kept.pop("one block again", 0) + 2 * tokens * c.mlp_hidden * bytes_per_number
    return sum(kept.values()) + max(head, block)


def _block_bytes(c: GPTConfig, N: int, s: int, device_type: str, layer: int) -> dict[str, int]:
    """What block `layer` keeps of N tokens."""
    assert c.mlp_hidden
    C = c.n_embd
    matrices = block_matrices(c)
    # Of the width inside: the input of the nonlinearity and the input of c_proj; SwiGLU keeps both factors besides.
    widened = (4 if c.mlp == "swiglu" else 2) * N * c.mlp_hidden * s
    mlp = N * C * s + widened + _cast_bytes(matrices["mlp"], s) + _dropout_bytes(c, N * C, s, device_type)
    attention = N * C * s + _attention_bytes(c, N, s, device_type, layer)
    attention += _cast_bytes(matrices["attention"], s) + _dropout_bytes(c, N * C, s, device_type)
    return {"norms": 2 * _norm_bytes(c, N, C, s, device_type), "attention": attention, "mlp": mlp}


def _attention_bytes(c: GPTConfig, N: int, s: int, device_type: str, layer: int) -> int:
    """What attention keeps between c_attn and c_proj, the input of c_proj included."""
    assert c.n_kv_head and c.head_size
    T, H, K, D = c.block_size, c.n_head, c.n_kv_head, c.head_size
    q, k = N * H * D * s, N * K * D * s
    moved = c.position == "rotary" or c.qk_norm != "none"  # then q and k are new tensors, in heads-first order
    gated = _has_value_embedding(c, layer)  # then v is one too
    kept = k + 2 * N * K * s if gated else 0  # the embedded values, the gate and its sigmoid

    is_view = False  # whether something looks at c_attn's output itself, and at no copy
    if c.qk_norm != "none":
        sees_output = c.qk_norm == "before" or c.position == "learned"  # nothing was rotated before it
        is_view = sees_output and not _norm_copies(c, s, device_type)
        kept += _norm_bytes(c, N * (H + K), D, s, device_type, keeps_input=not is_view)

    # PyTorch's fused kernel for CPUs has no dropout; there the scores are written out, in float32 at least.
    by_hand = c.attention == "by_hand"
    if by_hand or (device_type == "cpu" and c.dropout):
        e = s if by_hand else max(4, s)
        kept += 3 * N * H * D * e  # q, and k and v repeated for all heads
        kept += N * H * T * e  # the weights
        if c.dropout:  # the weights that are left
            kept += N * H * T * e + _dropout_bytes(c, N * H * T, e, device_type)
        kept += T * T if by_hand else 0  # the mask
        is_new_layout = True
    else:
        kept += q + N * H * max(4, s)  # the result, and the logarithm of each row's sum of exponentials
        kept += T * T * s if c.layer_window(layer) else 0  # the mask
        kept += q + k if moved else 0
        kept += k if gated else 0
        is_view = is_view or not (moved and gated)
        is_new_layout = moved
    if is_view:  # one view keeps c_attn's whole output alive
        kept += q + 2 * k
    return kept + (q if is_new_layout else 0)  # heads side by side again: a copy, if they were not so in memory


def _norm_bytes(c: GPTConfig, vectors: int, width: int, s: int, device_type: str, keeps_input: bool = True) -> int:
    """What a norm of `vectors` vectors keeps: its input, and mean or scale of each. Its output is its user's."""
    wide = max(4, s)
    is_layernorm, on_cpu = c.norm == "layernorm", device_type == "cpu"
    kept = _cast_bytes(_weights_per_channel(c) * width, s)
    kept += vectors * 2 * (s if on_cpu else wide) if is_layernorm else vectors * wide
    if _norm_copies(c, s, device_type):
        kept += vectors * width * wide
    elif keeps_input:
        kept += vectors * width * s
    if c.norm == "rmsnorm" and on_cpu:  # not one kernel there: the normalised input, before the weight
        kept += vectors * width * wide
    return kept


def _norm_copies(c: GPTConfig, s: int, device_type: str) -> bool:
    """Whether the norm keeps a float32 copy of its input: RMSNorm does on a CPU, where it is not one kernel."""
    return c.norm != "layernorm" and device_type == "cpu" and s < 4


def _dropout_bytes(c: GPTConfig, count: int, s: int, device_type: str) -> int:
    """The mask: of the input's dtype on a CPU, one byte a number elsewhere."""
    return 0 if not c.dropout else count * (s if device_type == "cpu" else 1)


def _cast_bytes(count: int, s: int) -> int:
    """The copy of float32 weights in a narrower compute dtype. float64 has master weights of its own."""
    return count * s if s < 4 else 0
