"""What each exercise is asked: functions `check_…(mine)` in order, where `mine` is the person's module.

A check returns when all is well and raises `Wrong` otherwise. The first line of its docstring is what the person reads.
"""
