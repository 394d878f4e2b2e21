"""Numbers that stand where a token id would, and are none."""

IGNORE = -1
"""a target that is not counted in the loss"""
