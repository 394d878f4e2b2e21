"""Which lines of a source file a directive means: by symbol, by text within a symbol, never by number.

train                       a function, class, constant, with the decorators and comments above it
Block.forward               a method, or a field of a class
Block:head                  a class or function down to the end of its docstring
docstring, imports          the beginning of a module; __main__ is its last `if`
from A to B                 from the first line of A to the last of B, whatever is between
train from "a" to "b"       within `train`: from the line that holds "a" to the one that holds "b"
train from "a" before "b"   ... to the line above the one that holds "b"; both ends may be left out
(nothing)                   the whole file; for files that are not Python, texts may follow: from "a" to "b"
"""

import ast
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from book.machine.problem import Wrong


@dataclass(frozen=True)
class Span:
    """Lines `first` to `last` of a file, both counted from 1 and included."""

    first: int
    last: int


class SourceFile:
    """A file of the project and the lines of its symbols."""

    def __init__(self, root: Path, path: str) -> None:
        self.path = path
        file = root / path
        if not file.is_file():
            raise Wrong(f"there is no file {path}", "Give its path from the root of the repository.")
        self.lines = file.read_text(encoding="utf-8").splitlines()

    def text(self, span: Span) -> str:
        """The lines of a span as they stand."""
        return "\n".join(self.lines[span.first - 1 : span.last])

    def locate(self, where: str) -> Span:
        """The lines that `where` means; Wrong says what is not there, with the nearest names."""
        try:
            words = shlex.split(where)
        except ValueError:
            raise Wrong(f"{where!r} has a quotation mark without its partner") from None
        quoted = '"' in where
        if not words:
            return self._trim(1, len(self.lines))
        if words[0] == "from" and not quoted:
            if len(words) != 4 or words[2] != "to":
                raise Wrong(f"{where!r} is not understood", "Write: from FIRST_SYMBOL to LAST_SYMBOL")
            first, last = self._symbol(words[1]), self._symbol(words[3])
            if last.last < first.first:
                raise Wrong(f"in {self.path}, {words[3]} stands above {words[1]}", "Turn them round.")
            return Span(first.first, last.last)
        is_whole = words[0] in ("from", "to", "before")
        whole = Span(1, len(self.lines)) if is_whole else self._symbol(words[0])
        return self._within(whole, words if is_whole else words[1:], where)

    @cached_property
    def symbols(self) -> dict[str, Span]:
        """Every name of a Python file and its lines. Comments belong to what stands below them."""
        if not self.path.endswith(".py"):
            return {}
        tree = ast.parse("\n".join(self.lines))
        found: dict[str, Span] = {}
        self._add(found, tree.body, "", 0, len(self.lines))
        return found

    def _symbol(self, name: str) -> Span:
        if name in self.symbols:
            return self.symbols[name]
        raise Wrong(f"{self.path} has no {name}", f"It has: {', '.join(self.symbols) or 'no symbols'}.")

    def _add(self, found: dict[str, Span], body: list[ast.stmt], prefix: str, above: int, end: int) -> None:
        """Names in `body`, whose first statement may own the lines after line `above`."""
        previous: list[str] = []
        for i, node in enumerate(body):
            is_last = i == len(body) - 1
            last = node.end_lineno or node.lineno
            if is_last and not prefix:
                last = end  # comments at the end of a file belong to the last statement
            span = self._trim(above + 1, last)
            names = _names(node, is_first=i == 0 and not prefix)
            if not names:  # the words below a field of a dataclass, or an assert: of what stands above
                found |= {prefix + name: Span(found[prefix + name].first, span.last) for name in previous}
            previous = names or previous
            for name in names:
                full = prefix + name
                known = found.get(full)
                goes_on = known and (name == "imports" or isinstance(node, ast.AugAssign))
                found[full] = Span(known.first, span.last) if known and goes_on else known or span
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                head = self._head(node)
                found[f"{prefix}{node.name}:head"] = Span(span.first, head)
                if isinstance(node, ast.ClassDef):
                    inner = node.body[1:] if ast.get_docstring(node) else node.body
                    self._add(found, inner, f"{prefix}{node.name}.", head, last)
            above = last

    def _head(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> int:
        """The last line of the docstring, or of the signature where there is none."""
        first = node.body[0]
        if ast.get_docstring(node):
            return first.end_lineno or first.lineno
        decorators = getattr(first, "decorator_list", [])
        begin = decorators[0].lineno if decorators else first.lineno
        while begin - 1 > node.lineno and not self.lines[begin - 2].rstrip().endswith(":"):
            begin -= 1  # comments between the signature and the first statement
        return max(node.lineno, begin - 1)

    def _within(self, whole: Span, words: list[str], where: str) -> Span:
        first, last = whole.first, whole.last
        for word, text in zip(words[::2], words[1::2], strict=False):
            if word == "from":
                first = self._line_with(text, Span(first, whole.last))
            elif word in ("to", "before"):
                last = self._line_with(text, Span(first, whole.last)) - (word == "before")
            else:
                raise Wrong(f"{where!r} is not understood", 'Write: SYMBOL from "text" to "text"')
        if len(words) % 2:
            raise Wrong(f"{where!r} is not understood", 'After from, to and before stands a text in "quotes".')
        return self._trim(first, last)

    def _line_with(self, text: str, span: Span) -> int:
        """The one line of the span that holds `text`."""
        at = [n for n in range(span.first, span.last + 1) if text in self.lines[n - 1]]
        if len(at) == 1:
            return at[0]
        lines = f"lines {', '.join(map(str, at))}" if at else f"no line from {span.first} to {span.last}"
        remedy = "Give more of that line." if at else "Give a piece of the line as it stands."
        raise Wrong(f"{lines} of {self.path} hold {text!r}", remedy)

    def _trim(self, first: int, last: int) -> Span:
        """Without the blank lines at both ends."""
        while first < last and not self.lines[first - 1].strip():
            first += 1
        while last > first and not self.lines[last - 1].strip():
            last -= 1
        return Span(first, last)


def _names(node: ast.stmt, is_first: bool) -> list[str]:
    """The names under which a statement can be called up."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return ["imports"]
    if isinstance(node, ast.Assign):
        return [n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    if isinstance(node, ast.AnnAssign | ast.AugAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    if _is_text(node):
        return ["docstring"] if is_first else []
    if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
        return ["__main__"]
    return []


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
