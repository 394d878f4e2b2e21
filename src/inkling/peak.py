"""What this machine could do at best: what a share of the peak is a share of.

The measured peak is the best speed of square matrix products, which is what a transformer mostly does. The
published one is the maker's figure for dense products. No figure is guessed: what is not known is None.
"""

import time
from collections.abc import Sequence

# Dense products, in operations a second: name (a part of what the driver says, the longer name first) →
# 16-bit numbers. From NVIDIA's and AMD's data sheets, without sparsity.
PUBLISHED_16_BIT = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "T4": 65e12,
    "V100": 125e12,
    "MI300X": 1307e12,
}

SIZES = (1024, 2048, 4096)


def published_peak(gpu_name: str, dtype: str) -> float | None:
    """Operations a second that the maker states for this GPU, or None where no figure is known."""
    if dtype not in ("bfloat16", "float16"):
        return None
    words = gpu_name.replace("-", " ").split()
    for name, peak in PUBLISHED_16_BIT.items():
        wanted = name.split()
        if any(words[i : i + len(wanted)] == wanted for i in range(len(words))):
            return peak
    return None


def measure_peak(device: str, dtype: str, sizes: Sequence[int] = SIZES, seconds: float = 0.5) -> float:
    """Operations a second in the best of several square products of each size, with the threads now set.

    Each size gets about `seconds`, and three tries at least. Reckons 2 n³ operations to a product.
    """
    import torch

    kind = getattr(torch, dtype)
    best = 0.0
    for n in sizes:
        a = torch.randn(n, n, device=device).to(kind)
        b = torch.randn(n, n, device=device).to(kind)
        a @ b  # the first one also sets up
        synchronize(device)
        tries, end = 0, time.perf_counter() + seconds
        while tries < 3 or time.perf_counter() < end:
            began = time.perf_counter()
            a @ b
            synchronize(device)
            best = max(best, 2 * n**3 / (time.perf_counter() - began))
            tries += 1
    return best


def synchronize(device: str) -> None:
    """Wait until the device has done what it was asked; a CPU always has."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()
    elif device.startswith("mps"):
        torch.mps.synchronize()
