"""The house rules of the design, checked on the source."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator

import inkling
from conftest import ROOT, clean_environment

SOURCE = ROOT / "src" / "inkling"
# Imports go down only; rooms on one level do not import each other.
LEVELS = [
    {"errors", "version", "keyed", "files", "ids"},
    {"settings", "runtime", "peak"},
    {"text", "recipes"},
    {"data", "model"},
    {"train", "infer"},
    {"tasks"},
    {"hub"},
    {"serve", "evals", "learn"},
    {"stages"},
    {"cli", "__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}


def sources():
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in sorted(SOURCE.rglob("*.py"))]


def room_of(path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def test_imports_go_down_only():
    wrong = []
    for path, tree in sources():
        room = room_of(path)
        if room == "__init__":  # the package's front door opens later rooms when they are asked for
            continue
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                parts = name.split(".")
                if parts[0] != "inkling" or len(parts) < 2:
                    continue
                target = parts[1]
                ok = target == room or LEVEL[target] < LEVEL[room]
                ok = ok or room == "__main__"
                ok = ok or (LEVEL[room] == 1 and LEVEL[target] <= 1)
                if not ok:
                    wrong.append(f"{path.relative_to(SOURCE)}:{node.lineno} imports {name}")
    assert not wrong


def test_no_pickle_exec_eval():
    forbidden = {"eval", "exec", "compile", "__import__"}
    wrong = []
    for path, tree in sources():
        for node in ast.walk(tree):
            where = f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
                wrong += [where for m in modules if m.split(".")[0] in ("pickle", "dill", "shelve", "marshal")]
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in forbidden or name in ("torch.save", "os.system") or "_object" in name:
                    wrong.append(f"{where} {name}")
                if name == "torch.load" and "weights_only=True" not in ast.unparse(node):
                    wrong.append(f"{where} {name}")
                if "allow_pickle" in ast.unparse(node) or "shell=True" in ast.unparse(node):
                    wrong.append(f"{where} {name}")
    assert not wrong


def test_text_files_are_opened_with_an_encoding():
    wrong = []
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                text = ast.unparse(node)
                binary = any(
                    isinstance(a, ast.Constant) and isinstance(a.value, str) and "b" in a.value for a in node.args
                )
                on_os = ast.unparse(node.func).startswith(("os.", "Image."))
                if name in ("open", "read_text", "write_text") and not binary and "encoding" not in text and not on_os:
                    wrong.append(f"{path.relative_to(SOURCE)}:{node.lineno} {text[:60]}")
    assert not wrong


def definitions(tree: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef]:
    """Classes, functions and methods; not functions within functions, which nobody else can call."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            yield node
        if isinstance(node, ast.ClassDef):
            yield from definitions(node)


def test_every_module_has_a_docstring_and_every_public_thing_too():
    bare = []
    for path, tree in sources():
        if not ast.get_docstring(tree):
            bare.append(str(path.relative_to(SOURCE)))
        for node in definitions(tree):
            if not node.name.startswith("_") and not ast.get_docstring(node):
                if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno < 8:
                    continue
                if node.name == "forward":
                    continue
                bare.append(f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}")
    assert not bare


def test_importing_does_nothing(tmp_path):
    modules = [m.name for m in pkgutil.walk_packages(inkling.__path__, "inkling.") if not m.name.endswith("__main__")]
    code = f"""
import importlib, sys, os
sys.argv = ["x", "--bogus"]
import inkling
assert "torch" not in sys.modules, "importing inkling loads torch"
for name in {modules!r}:
    importlib.import_module(name)
import torch
assert not torch.cuda.is_initialized()
assert not torch.are_deterministic_algorithms_enabled()
assert os.listdir(".") == []
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=clean_environment()
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_the_command_line_starts_without_torch():
    code = "import sys; from inkling import cli; cli.run(['--version']); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("inkling ")


def test_every_verb_has_a_stage():
    from inkling.cli import VERBS, module_of

    for verb in VERBS:
        stage = importlib.import_module(module_of(verb))
        assert f"inkling {verb}" in stage.DESCRIPTION, "an example"
        assert callable(stage.command) and callable(stage.main) and stage.SETTINGS
