"""What a model costs, computed from its config alone: parameters, FLOPs, bytes."""

from inkling.model.config import GPTConfig


def parameters_by_part(config: GPTConfig) -> dict[str, int]:
    """Parameters of each part, all layers together. Their sum is what the built model holds."""
    c = config.filled()
    assert c.n_kv_head and c.head_size and c.mlp_hidden
    C, L, V = c.n_embd, c.n_layer, c.padded_vocab_size
    qkv_rows = (c.n_head + 2 * c.n_kv_head) * c.head_size
    heads_width = c.n_head * c.head_size
    bias = int(c.bias)
    norm = {"layernorm": 1 + bias, "rmsnorm": 1, "rmsnorm_weightless": 0}[c.norm]
    mlp_inputs = 2 if c.mlp == "swiglu" else 1
    value_layers = (L + 1) // 2 if c.value_embeddings else 0
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


def flops_per_token(config: GPTConfig, training: bool = True) -> float:
    """Floating-point operations for one token of a full context.

    Two for each weight of each matrix product (a multiplication and an addition), and four for each
    element of the attention scores (once for q·k, once for weights·v); training costs three forward passes.
    Chowdhery et al. 2022, "PaLM", appendix B. The causal half is not subtracted, as there.
    """
    c = config.filled()
    assert c.n_kv_head and c.head_size and c.mlp_hidden
    qkv = (c.n_head + 2 * c.n_kv_head) * c.head_size * c.n_embd
    attention = qkv + c.n_embd * c.n_head * c.head_size
    mlp = (3 if c.mlp == "swiglu" else 2) * c.n_embd * c.mlp_hidden
    # The head multiplies by its matrix; the embedding only looks rows up.
    weights = c.n_layer * (attention + mlp) + c.padded_vocab_size * c.n_embd
    seen = sum(min(c.layer_window(i) or c.block_size, c.block_size) for i in range(c.n_layer))
    forward = 2 * weights + 4 * seen * c.n_head * c.head_size
    return float(forward * (3 if training else 1))


def training_bytes(config: GPTConfig) -> dict[str, int]:
    """Memory that does not depend on the batch: float32 weights, gradients and two optimizer moments."""
    total = sum(parameters_by_part(config).values())
    return {"weights": 4 * total, "gradients": 4 * total, "optimizer": 8 * total}


def model_flops_utilization(flops_per_second: float, peak_flops: float | None) -> float | None:
    """Share of the peak that goes into the model's own arithmetic; None where no peak is known."""
    return flops_per_second / peak_flops if peak_flops else None
