"""The machine of the book: it writes what can be generated, and fails when a page is not true any more.

It stands beside the pages and outside `src`, so that it is not in the wheel: it is for those who develop
inkling. `python -m book.machine` works from the root of the repository, `book` being a namespace package.
"""
