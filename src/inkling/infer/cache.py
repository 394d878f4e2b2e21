"""The KV cache: keys and values of the tokens already read, so that each new token is computed once.

Without it, token n costs a forward pass over all n tokens before it. Every row keeps its own length, so rows of
different lengths decode in one batch; memory grows with the rows and the longest text that takes part.
"""

import copy

import numpy as np
import torch
from torch import Tensor

from inkling.model.config import GPTConfig
from inkling.model.layers import visible

# Rows that decode together look at a multiple of so many places, so that few shapes occur: see `batch.fixed_size`.
PLACES = 32


class KVCache:
    """Room for `rows` texts of up to `size` tokens (the whole context by default).

    Satisfies `inkling.model.layers.Cache`. One forward pass calls `positions`, `mask` once for each window,
    `update` once for each layer, and `advance`.
    """

    def __init__(
        self,
        config: GPTConfig,
        rows: int,
        device: torch.device | str,
        dtype: torch.dtype,
        size: int | None = None,
    ) -> None:
        config = config.filled()
        assert config.n_kv_head and config.head_size
        shape = (config.n_layer, rows, config.n_kv_head, size or config.block_size, config.head_size)
        # Zeros, because a masked key has weight 0, and 0 times the NaN of unwritten memory is NaN.
        self.k = torch.zeros(shape, device=device, dtype=dtype)  # (L, B, K, S, D)
        self.v = torch.zeros(shape, device=device, dtype=dtype)  # (L, B, K, S, D)
        # On the host, so that asking for a length never waits for a GPU.
        self.lengths = np.zeros(rows, dtype=np.int64)
        self.now = torch.zeros(0, dtype=torch.int64, device=device)  # positions of the tokens being read

    def rows(self, start: int, stop: int) -> "KVCache":
        """Rows start..stop-1 as a cache of their own, which shares this one's memory and lengths."""
        part = copy.copy(self)
        part.k, part.v = self.k[:, start:stop], self.v[:, start:stop]
        part.lengths = self.lengths[start:stop]
        return part

    def grow(self, rows: int, size: int) -> None:
        """Have room for `rows` texts of `size` tokens at least; what was read stays."""
        old_k, old_v, (_, old_rows, _, old_size, _) = self.k, self.v, self.k.shape
        if rows <= old_rows and size <= old_size:
            return
        shape = list(self.k.shape)
        shape[1], shape[3] = max(rows, old_rows), max(-(-size // PLACES) * PLACES, old_size)
        self.k, self.v = self.k.new_zeros(shape), self.v.new_zeros(shape)
        self.k[:, :old_rows, :, :old_size], self.v[:, :old_rows, :, :old_size] = old_k, old_v
        self.lengths = np.concatenate([self.lengths, np.zeros(shape[1] - old_rows, dtype=np.int64)])

    def reset(self, row: int) -> None:
        """Forget what `row` has read."""
        self.lengths[row] = 0

    def copy(self, source: int, target: int, origin: "KVCache | None" = None) -> None:
        """Let row `target` have read what row `source` has, of this cache or of another.

        So a prompt is computed once for many samples.
        """
        origin = origin or self
        length = origin.lengths[source]
        self.k[:, target, :, :length] = origin.k[:, source, :, :length]
        self.v[:, target, :, :length] = origin.v[:, source, :, :length]
        self.lengths[target] = length

    def append(self, row: int, k: Tensor, v: Tensor) -> None:
        """Let `row` have read what made these keys and values (L, K, T, D)."""
        start = int(self.lengths[row])
        stop = start + k.size(2)
        self.k[:, row, :, start:stop], self.v[:, row, :, start:stop] = k, v
        self.lengths[row] = stop

    # --- what the model asks -----------------------------------------------------------------------------

    def positions(self, length: int) -> Tensor:
        """Where the next `length` tokens stand: (T,) if that is the same for all rows, else (B, T)."""
        assert self.lengths.max() + length <= self.k.size(3), "the text outgrew the cache"
        device = self.k.device
        if self._is_level(length):
            first = int(self.lengths[0])
            self.now = torch.arange(first, first + length, device=device)  # (T,)
        else:
            first_of_row = torch.from_numpy(self.lengths).to(device).unsqueeze(1)  # (B, 1)
            self.now = first_of_row + torch.arange(length, device=device)  # (B, T)
        return self.now

    def mask(self, length: int, window: int) -> Tensor | None:
        """(B or 1, 1, T, S) bool; None where plain causality is right, which the kernel does faster."""
        seen = self._seen(length)  # S
        if window >= seen:  # nothing is old enough to fall out of the window
            window = 0
        if self._is_level(length) and not window and length in (1, seen):
            return None
        keys = torch.arange(seen, device=self.k.device)
        return visible(self.now.view(-1, length), keys, window).unsqueeze(1)

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, K, T, D) behind what each row has; return (B, K, S, D), S at least the longest row's length.

        What stands behind a row's end is left over from others, and the mask hides it.
        """
        keys, values = self.k[layer], self.v[layer]  # (B, K, size, D)
        seen = self._seen(k.size(2))
        if self._is_level(k.size(2)):
            keys[:, :, seen - k.size(2) : seen] = k
            values[:, :, seen - k.size(2) : seen] = v
        else:
            row = torch.arange(len(self.lengths), device=k.device).unsqueeze(1)  # (B, 1)
            keys[row, :, self.now] = k.transpose(1, 2)  # (B, T, K, D)
            values[row, :, self.now] = v.transpose(1, 2)  # (B, T, K, D)
        return keys[:, :, :seen], values[:, :, :seen]

    def advance(self, length: int) -> None:
        """Every row has read `length` more tokens."""
        self.lengths += length

    def _seen(self, length: int) -> int:
        """S, the places that attention looks at."""
        seen = int(self.lengths.max()) + length
        return seen if self._is_level(length) else min(-(-seen // PLACES) * PLACES, self.k.size(3))

    def _is_level(self, length: int) -> bool:
        """Whether all rows count as equally long, which is quicker. Rows that decode together never do, so that a row's
        numbers are the same whether or not its neighbours happen to be as long."""
        return len(self.lengths) == 1 or (length > 1 and bool((self.lengths == self.lengths[0]).all()))
