"""Which documents of OpenWebText nanoGPT keeps for validation, so that the counts of tokens can be compared.

nanoGPT calls `train_test_split(test_size=0.0005, seed=2357, shuffle=True)` of the `datasets` library, which takes the
first numbers of a permutation by NumPy. Of all 8,013,769 documents that leaves 9,035,582,198 tokens for training and
4,434,897 for validation. (nanoGPT also writes them in the order of the permutation; here they keep their own, and
training shuffles.)
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inkling.data.sources.parquet import row_groups

VAL_FRACTION = 0.0005
_SEED = 2357


def validation_rows(files: Sequence[Path], column: str) -> tuple[int, ...]:
    """The rows, counted through all files, that are for validation; ascending."""
    rows = sum(group.rows for file in files for group in row_groups(file, column))
    chosen = np.random.default_rng(_SEED).permutation(rows)[: math.ceil(VAL_FRACTION * rows)]
    return tuple(sorted(chosen.tolist()))
