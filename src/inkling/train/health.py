"""The health of a network, part by part: how large its gradients, its weights and its updates are.

An update about a thousandth of the weights it changes is usual for AdamW; a part whose gradient fades to
nothing, or whose update dwarfs the others', is where to look first when a loss does not fall.
"""

from collections import defaultdict

import torch
from torch import Tensor, nn


class HealthProbe:
    """Norms around one optimizer step: `before` it, then `after` it. Keeps a copy of the weights between."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def before(self) -> None:
        """Gradients are complete and not clipped yet; weights are still the old ones."""
        self.gradients = norms({name: p.grad for name, p in self.model.named_parameters() if p.grad is not None})
        self.old = {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def after(self) -> dict[str, Tensor]:
        """`grad_norm/PART`, `weight_norm/PART` and `update_norm/PART`, still on the device."""
        new = {name: p.detach() for name, p in self.model.named_parameters()}
        found = {
            "grad_norm": self.gradients,
            "weight_norm": norms(self.old),
            "update_norm": norms({name: new[name] - self.old[name] for name in new}),
        }
        self.old = {}
        return {f"{what}/{part}": norm for what, parts in found.items() for part, norm in parts.items()}


@torch.no_grad()
def norms(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Parameter names and tensors → the Euclidean norm of each part of the network, all layers together."""
    parts: dict[str, list[Tensor]] = defaultdict(list)
    for name, tensor in tensors.items():
        parts[part_of(name)].append(tensor.float().norm())
    return {part: torch.stack(found).norm() for part, found in parts.items()}


def part_of(name: str) -> str:
    """The part that a parameter belongs to, with the names of model/cost.py."""
    words = name.split(".")
    if "value_embedding" in words or "value_gate" in words:
        return "value embeddings"
    if "wte" in words:
        return "token embedding"
    if "wpe" in words:
        return "position embedding"
    if "attn" in words:
        return "attention"
    if "mlp" in words:
        return "mlp"
    if "lm_head" in words:
        return "head"
    return "norms" if any(word.startswith("ln_") for word in words) else "residual scalars"
