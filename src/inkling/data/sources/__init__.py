"""Where text comes from.

A source yields documents. A document is its text in pieces: one string for a short text, many for a file
larger than memory. It can be iterated again and gives the same pieces, cut where that changes no ids.
"""

from collections.abc import Iterable

Document = Iterable[str]
