"""Random words that depend on a key and on nothing else.

Every random choice in inkling (which window is row 17 of step 4000, which weights a new matrix starts
with, which token request 3 draws at position 90) is a pure function of a key such as
`("order", seed, epoch)`. There is no generator whose state could be lost, shared or advanced by a
neighbour, and that is what makes a resumed run equal to one that was never interrupted.

The words are the raw 64-bit output of Philox 4x64, a counter-based generator (Salmon et al. 2011,
"Parallel Random Numbers: As Easy as 1, 2, 3"). Raw words, because the methods that NumPy builds upon
them (`normal`, `permutation`, ...) may change between its versions.
"""

import hashlib

import numpy as np


def words(count: int, *key: str | int) -> np.ndarray:
    """`count` uint64 words for `key`: the same on every machine, today and in ten years."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    philox = np.random.Philox(key=np.frombuffer(digest, dtype="<u8"))
    return philox.random_raw(count)


def seed_for(*key: str | int) -> int:
    """A 63-bit seed for `torch.manual_seed`, which takes no more."""
    return int(words(1, *key)[0] >> np.uint64(1))


def uniform(*key: str | int) -> float:
    """One number in [0, 1) with the 53 bits that a double holds."""
    return int(words(1, *key)[0] >> np.uint64(11)) * 2.0**-53
