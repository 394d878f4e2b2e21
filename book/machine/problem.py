"""What is wrong with a page, said so that it can be mended: the place, what is wrong, what to do."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One complaint. `page` is relative to the book's folder; `line` counts from 1, and 0 means the whole page."""

    page: str
    line: int
    says: str
    remedy: str = ""

    def __str__(self) -> str:
        place = f"book/{self.page}:{self.line}" if self.line else f"book/{self.page}"
        return f"{place}: {self.says}" + (f"\n    → {self.remedy}" if self.remedy else "")


class Wrong(Exception):
    """A directive that cannot be obeyed; whoever reads the page turns it into a Problem with its line."""

    def __init__(self, says: str, remedy: str = "") -> None:
        self.says, self.remedy = says, remedy
        super().__init__(says)
