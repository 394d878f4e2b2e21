"""Where a long text may be cut so that the ids of the pieces are the ids of the whole.

BPE merges bytes only within pre-tokens (roughly: words, each with the space before it). So a cut is safe
where one pre-token ends and the next begins for sure, whatever follows: after a newline that stands alone
between two visible characters, or before such a space.
"""

import re
from collections.abc import Iterable, Iterator

# A text that has neither kind of place in this many characters is cut all the same: memory has an end.
NO_SAFE_CUT = 4 << 20

_SAFE = re.compile(r"(?<=\S)(?:\n(?=\S)|(?= \S))")


def cut_safely(texts: Iterable[str], size: int) -> Iterator[str]:
    """The concatenation of `texts`, in pieces of about `size` characters, none of them empty."""
    waiting = ""
    for text in texts:
        waiting += text
        start = 0
        while len(waiting) - start > size:
            cut = _last_cut(waiting, start, start + size) or _last_cut(waiting, start, len(waiting))
            if not cut and len(waiting) - start < NO_SAFE_CUT:
                break
            cut = cut or start + NO_SAFE_CUT
            yield waiting[start:cut]
            start = cut
        waiting = waiting[start:]
    if waiting:
        yield waiting


def _last_cut(text: str, start: int, stop: int) -> int:
    """The last safe cut whose two neighbours lie in text[start:stop]; 0 when there is none."""
    for reach in (1 << 10, 1 << 13, stop - start):  # mostly there is one near the end
        if cuts := [found.end() for found in _SAFE.finditer(text, max(start + 1, stop - reach), stop)]:
            return cuts[-1]
    return 0
