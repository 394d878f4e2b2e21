"""Where text comes from: one module for each kind of file, one for each text that has a name.

A document is a string, or, where a text may be larger than memory, a `TextFile` that yields it in pieces.
"""
