"""Text that is already here: what the running Python installation says in English about itself.

The help topics of `pydoc_data` and the docstrings of the standard library, about 2 MB. Everything is read
from source with `ast`; no module is imported. Another version of Python has slightly different text.
"""

import ast
import platform
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from inkling.errors import UserError

# Tests, other people's packages, and programs whose docstrings repeat one another.
_LEFT_OUT = {
    "__pycache__",
    "dist-packages",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "test",
    "tests",
    "turtledemo",
}


def describe() -> str:
    return f"help topics and docstrings of Python {platform.python_version()}"


def documents() -> Iterator[str]:
    """First the help topics, then one document for each module that has docstrings, by path."""
    library = Path(sysconfig.get_path("stdlib"))
    found = False
    for text in (*_topics(library), *_modules(library)):
        found = True
        yield text
    if not found:
        raise UserError(
            f"The standard library in {library} has no source text.",
            "Prepare your own text instead: inkling prepare NAME --input FILE.",
        )


def _topics(library: Path) -> Iterator[str]:
    """The dictionary `topics = {name: text}`, without the texts that several names share."""
    tree = _parse(library / "pydoc_data" / "topics.py")
    seen = set()
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            for value in statement.value.values:
                if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value not in seen:
                    seen.add(value.value)
                    yield value.value.strip() + "\n\n"


def _modules(library: Path) -> Iterator[str]:
    for path in sorted(library.rglob("*.py"), key=lambda path: path.relative_to(library).as_posix()):
        if _LEFT_OUT.intersection(path.relative_to(library).parts):
            continue
        text = "\n\n".join(_docstrings(_parse(path)))
        if text:
            yield text + "\n\n"


def _docstrings(node: ast.AST) -> Iterator[str]:
    """Those of a module and of all that is defined in it, in the order of the source."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        docstring = (ast.get_docstring(node) or "").strip()
        if docstring:
            yield docstring
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler):  # no expression holds a definition
            yield from _docstrings(child)


def _parse(path: Path) -> ast.Module:
    """The syntax tree; an empty one for what is missing or broken, as some systems ship only a part."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old modules have escapes that newer Pythons warn about
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])
