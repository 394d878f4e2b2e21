"""Markdown as code hosts read it → Markdown as the site's parser reads it: lists and tables.

A code host lets a list or a table follow a paragraph at once and nests a list by two spaces. Python-Markdown, on which
the site's generator stands, wants a blank line first and four spaces. Writers need not know.
A `<details>` block, too, has to be told that it holds Markdown.
"""

import re

_ITEM = re.compile(r"(?P<indent> *)(?P<mark>[-*+]|\d+[.)]) +(?P<text>.*)$")


def for_site(text: str) -> str:
    """Prose with lists four spaces deep a level, and a blank line before every list and table."""
    result: list[str] = []
    depths: list[int] = []  # where the text of each open list item begins, outermost first
    for line in text.split("\n"):
        line = re.sub(r"^<details(?! markdown)", '<details markdown="1"', line)  # answers hold Markdown
        item = _ITEM.match(line)
        before = result[-1] if result else ""
        indent = len(line) - len(line.lstrip(" "))
        if item:
            while depths and indent < depths[-1]:
                depths.pop()
            if not depths and before.strip() and not _ITEM.match(before) and not before.startswith(" "):
                result.append("")
            mark = item["mark"].replace(")", ".")
            result.append(f"{'    ' * len(depths)}{mark} {item['text']}")
            depths.append(item.start("text"))
            continue
        if line.strip() and depths:
            if not before.strip():  # a paragraph: of the item whose text is above it, or of none
                while depths and indent < depths[-1]:
                    depths.pop()
            if depths:
                line = "    " * len(depths) + line.strip()
        elif line.startswith("|") and before.strip() and not before.startswith("|"):
            result.append("")
        result.append(line)
    return "\n".join(result)
