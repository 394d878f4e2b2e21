"""Exercise 5: the optimizer. AdamW, which suits everything; and Muon, for matrices.

Both change the parameter in place and keep what they remember in `state`, an empty dict at the first step.
"""

import torch
from torch import Tensor


@torch.no_grad()
def adamw_step(
    parameter: Tensor,
    gradient: Tensor,
    state: dict,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.1,
) -> None:
    """One step of AdamW on `parameter`, in place.

    Mean and mean square of the gradient are running averages that begin at 0, so they are too small at first: divide
    them by 1 − beta^t at step t = 1, 2, …. The step is lr · mean / (√square + eps). The decay is apart from all
    that: the parameter is first multiplied by 1 − lr · weight_decay.
    """
    if not state:
        state |= {"t": 0, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
    state["t"] += 1
    state["mean"] = betas[0] * state["mean"] + (1 - betas[0]) * gradient
    state["square"] = betas[1] * state["square"] + (1 - betas[1]) * gradient.square()
    mean = state["mean"] / (1 - betas[0] ** state["t"])
    square = state["square"] / (1 - betas[1] ** state["t"])
    parameter.mul_(1 - lr * weight_decay)
    parameter.sub_(lr * mean / (square.sqrt() + eps))


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """Newton–Schulz: a matrix (R, C) → the same singular vectors, singular values near 1 (between 0.7 and 1.2).

    Divide by the Frobenius norm, so that no singular value exceeds 1; then repeat `steps` times with X Xᵀ = A:
    X ← a X + (b A + c A²) X, where a, b, c = 3.4445, −4.7750, 2.0315. A tall matrix (R > C) is transposed before
    and after, as the smaller A is cheaper.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.size(0) > matrix.size(1)
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


@torch.no_grad()
def muon_step(parameter: Tensor, gradient: Tensor, state: dict, lr: float, momentum: float = 0.95) -> None:
    """One step of Muon on a matrix (R, C), in place.

    The memory, 0 at first, becomes momentum · memory + (1 − momentum) · gradient. The update looks one step ahead
    (Nesterov): momentum · memory + (1 − momentum) · gradient once more, with the new memory. It is orthogonalised,
    and the step is lr · √max(1, R / C) times that.
    """
    if not state:
        state["memory"] = torch.zeros_like(parameter)
    state["memory"] = momentum * state["memory"] + (1 - momentum) * gradient
    update = orthogonalize(momentum * state["memory"] + (1 - momentum) * gradient)
    parameter.sub_(lr * max(1, parameter.size(0) / parameter.size(1)) ** 0.5 * update)
