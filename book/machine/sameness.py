"""When two outputs of a snippet count as the same, though a clock or another machine wrote them.

The rule: words and whole numbers are equal; a number with a unit of time, speed, memory or a share in percent may
be any; another number with a decimal point may differ by one in a hundred. What is shown is always a real output.
"""

import re

_UNITS = r"(?:ms|µs|s|min|h|(?:M )?tok(?:ens)?/s|[KMGT]?FLOP/s|[kKMGT]i?B(?:/s)?|MB/s|%)"
_VOLATILE = re.compile(rf"\d[\d,]*(?:\.\d+)?(?= ?{_UNITS}(?![\w/]))")
_DECIMAL = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?")
CLOSE = 0.01


def same_output(one: str, other: str) -> bool:
    """Whether `other` says what `one` says."""
    one, other = (re.sub(r" +", " ", _VOLATILE.sub("#", text)) for text in (one, other))
    if _DECIMAL.sub("#", one) != _DECIMAL.sub("#", other):
        return False
    pairs = zip(_DECIMAL.findall(one), _DECIMAL.findall(other), strict=True)
    return all(abs(float(a) - float(b)) <= CLOSE * max(abs(float(a)), abs(float(b))) for a, b in pairs)
