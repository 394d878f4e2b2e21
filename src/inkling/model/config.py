"""GPTConfig: every choice that makes one transformer differ from another, and the named presets.

GPT-2, nanochat, Llama and Qwen3 are the same skeleton with other parts. A preset is therefore data, a
dictionary of choices, and not a class.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

from inkling.errors import UserError


@dataclass(frozen=True)
class GPTConfig:
    """model"""

    preset: Literal["gpt2", "nanochat", "llama", "qwen3"] = "gpt2"
    """the family whose parts fill what neither recipe nor flag sets"""
    block_size: int = 1024
    """T, the context: the most tokens the model sees at once"""
    vocab_size: int = 0
    """V, the number of token ids; 0 takes the data set's"""
    pad_vocab_to: int = 1
    """round the embedding's rows up to a multiple of this (64 suits GPUs); the extra ids never occur"""
    n_layer: int = 12
    """L, the number of blocks"""
    n_head: int = 12
    """H, the number of query heads"""
    n_kv_head: int | None = None
    """key and value heads; None: one for each query head. Fewer is GQA, one is MQA"""
    n_embd: int = 768
    """C, the width of the residual stream"""
    head_size: int | None = None
    """D, the width of one head; None: n_embd / n_head"""
    mlp_hidden: int | None = None
    """width inside the MLP; None: 4 C, and for swiglu 8/3 C rounded up to a multiple of 64"""
    norm: Literal["layernorm", "rmsnorm", "rmsnorm_weightless"] = "layernorm"
    """what keeps the residual stream in range before each part"""
    norm_eps: float = 1e-5
    """added to the variance, so that nothing is divided by 0"""
    position: Literal["learned", "rotary"] = "learned"
    """learned vectors added to the token embeddings, or a rotation of queries and keys"""
    rope_theta: float = 10000.0
    """the base of the rotary wavelengths"""
    rope_direction: Literal[1, -1] = 1
    """-1 turns the other way, as nanochat's published weights expect"""
    rope_factor: float = 1.0
    """stretches slow rotary wavelengths for a longer context, as Llama 3.1 and its successors do; 1: off"""
    rope_low: float = 1.0
    """with rope_factor: what turns less often than this in rope_original tokens is slow, and stretched in full"""
    rope_high: float = 4.0
    """with rope_factor: what turns more often than this stays as it is; between the two, the change is gradual"""
    rope_original: int = 8192
    """with rope_factor: the context before it was stretched"""
    mlp: Literal["gelu", "gelu_tanh", "relu2", "swiglu"] = "gelu"
    """the nonlinearity of the MLP; swiglu has a third matrix, the gate"""
    qk_norm: Literal["none", "before", "after"] = "none"
    """normalise queries and keys before or after the rotation"""
    window: int = 0
    """tokens that a sliding-window layer looks back, itself included; 0: every layer sees the whole context"""
    window_pattern: str = "SSSL"
    """which layers slide (S) and which see all (L), repeated over the depth; the last layer is always L, unless the
    pattern names every layer"""
    bias: bool = True
    """biases in Linear and LayerNorm; False is a bit better and faster"""
    tie_weights: bool = True
    """the output head shares the token embedding's matrix"""
    embed_norm: bool = False
    """normalise after the embedding"""
    softcap: float = 0.0
    """logits → softcap * tanh(logits / softcap), which bounds them; 0: off"""
    value_embeddings: bool = False
    """every second layer adds a second embedding of the token to its values, through a learned gate"""
    residual_scalars: bool = False
    """learned weights on the stream and on the embedding, mixed in again before each block"""
    init: Literal["gpt2", "nanochat"] = "gpt2"
    """gpt2: N(0, 0.02); nanochat: scaled by width, with residual projections at zero"""
    dropout: float = 0.0
    """share of activations dropped in training: embeddings, attention, residuals. 0.1 and more for finetuning"""
    attention: Literal["sdpa", "by_hand"] = "sdpa"
    """PyTorch's fused kernel, or the readable twin that must equal it"""

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding: V rounded up to a multiple of `pad_vocab_to`."""
        return -(-self.vocab_size // self.pad_vocab_to) * self.pad_vocab_to

    def layer_window(self, layer: int) -> int:
        """How far layer `layer` looks back, in tokens; 0 means the whole context."""
        names_every_layer = len(self.window_pattern) == self.n_layer
        if not self.window or (layer == self.n_layer - 1 and not names_every_layer):
            return 0
        return self.window if self.window_pattern[layer % len(self.window_pattern)] == "S" else 0

    def filled(self) -> "GPTConfig":
        """Replace every None by the number it stands for, and refuse what cannot be built."""
        _check(self)
        mlp_hidden = self.mlp_hidden
        if mlp_hidden is None:
            mlp_hidden = -(-8 * self.n_embd // 3 // 64) * 64 if self.mlp == "swiglu" else 4 * self.n_embd
        full = replace(
            self,
            n_kv_head=self.n_kv_head if self.n_kv_head is not None else self.n_head,
            head_size=self.head_size if self.head_size is not None else self.n_embd // self.n_head,
            mlp_hidden=mlp_hidden,
        )
        assert full.n_kv_head and full.head_size
        if full.n_kv_head < 1 or full.n_head % full.n_kv_head:
            raise _refuse(f"n_head={full.n_head} is not a multiple of n_kv_head={full.n_kv_head}.")
        if full.position == "rotary" and full.head_size % 2:
            raise _refuse(f"rotary positions need an even head size, not {full.head_size}.")
        return full


def _check(config: GPTConfig) -> None:
    for name in ("block_size", "n_layer", "n_head", "n_embd", "vocab_size", "pad_vocab_to"):
        if getattr(config, name) < 1:
            raise _refuse(f"{name}={getattr(config, name)} must be at least 1.")
    for name in ("head_size", "mlp_hidden", "n_kv_head"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise _refuse(f"{name}={value} must be at least 1.")
    if config.head_size is None and config.n_embd % config.n_head:
        raise _refuse(f"n_embd={config.n_embd} is not a multiple of n_head={config.n_head}.")
    if not 0 <= config.dropout < 1:
        raise _refuse(f"dropout={config.dropout} is not in [0, 1).")
    if config.softcap < 0 or config.window < 0:
        raise _refuse("softcap and window cannot be negative; 0 switches them off.")
    if not config.rope_factor > 0 or not config.rope_high > config.rope_low:
        raise _refuse("rope_factor must be above 0, and rope_high above rope_low.")
    if not config.window_pattern or set(config.window_pattern) - set("SL"):
        raise _refuse(f"window_pattern={config.window_pattern!r} may hold only S and L.")


def _refuse(problem: str) -> UserError:
    return UserError(f"This model cannot be built: {problem}", "Change that setting.", status=2)


# A preset fills what nobody set; every key is a field of GPTConfig. The sizes are left to the recipe.
PRESETS: dict[str, dict[str, Any]] = {
    # Radford et al. 2019, "Language Models are Unsupervised Multitask Learners". GELU in its tanh form, as
    # released; nanoGPT uses the exact form, so its recipes set mlp = "gelu".
    "gpt2": {"mlp": "gelu_tanh"},
    # Karpathy's nanochat as transformers publishes it: no learned weight in any norm, ReLU², an untied head,
    # QK-norm after the rotation, a norm after the embedding and logits held within ±15.
    "nanochat": {
        "norm": "rmsnorm_weightless",
        "norm_eps": 1e-6,
        "position": "rotary",
        "rope_direction": -1,
        "mlp": "relu2",
        "qk_norm": "after",
        "bias": False,
        "tie_weights": False,
        "embed_norm": True,
        "softcap": 15.0,
        "init": "nanochat",
    },
    # Touvron et al. 2023, "LLaMA", and its successors.
    "llama": {
        "norm": "rmsnorm",
        "position": "rotary",
        "rope_theta": 500000.0,
        "mlp": "swiglu",
        "bias": False,
        "tie_weights": False,
    },
    # Yang et al. 2025, "Qwen3 Technical Report": Llama's parts, with normalised queries and keys.
    "qwen3": {
        "norm": "rmsnorm",
        "norm_eps": 1e-6,
        "position": "rotary",
        "rope_theta": 1000000.0,
        "mlp": "swiglu",
        "qk_norm": "before",
        "bias": False,
        "tie_weights": True,
    },
}
