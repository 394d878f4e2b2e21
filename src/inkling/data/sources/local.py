"""Which of your own files `--input` means: a file, a folder, a glob, or standard input."""

import glob
import sys
from pathlib import Path

from inkling.data.sources.opening import COMPRESSED, is_compressed
from inkling.errors import UserError

SUFFIXES = (".txt", ".jsonl", ".parquet")
READS = ".txt, .jsonl, .parquet, and the first two with .gz or .zst"


def kind_of(path: Path) -> str:
    """txt, jsonl or parquet, by the file's name; "" for any other."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
        if suffixes[-1:] == [".parquet"]:
            return ""
    return suffixes[-1][1:] if suffixes and suffixes[-1] in SUFFIXES else ""


def files_of(where: str) -> list[Path]:
    """The text files that `where` means: a file, a folder (searched to the bottom), or a glob; in a fixed order."""
    path = Path(where)
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file()]
    elif path.exists():
        if not kind_of(path):
            raise _wrong_kind(path)
        return [path]
    else:
        found = [file for name in _matches(where) if (file := Path(name)).is_file()]
        if not found:
            raise UserError(f"There is no file, folder or match for {where}.", "Check --input.")
    texts = sorted((file for file in found if kind_of(file)), key=Path.as_posix)
    if not texts:
        raise UserError(
            f"{where} has no file that inkling reads: {READS}.",
            "--input wants text: a file, a folder or a glob of them.",
        )
    return texts


def keep_standard_input(folder: Path, kind: str) -> Path:
    """Copy what comes in at standard input to a file in `folder`, because it is read more than once."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"input.{kind}"
    with file.open("wb") as copy:
        while block := sys.stdin.buffer.read(1 << 20):
            copy.write(block)
    return file


def _matches(pattern: str) -> list[str]:
    return glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns


def _wrong_kind(path: Path) -> UserError:
    if is_compressed(path) and path.with_suffix("").suffix.lower() == ".parquet":
        return UserError(f"{path} is compressed twice; inkling reads .parquet as it is.", "Decompress it.")
    return UserError(
        f"{path} ends in {path.suffix or 'nothing'}; inkling reads {READS}.",
        "If it is plain UTF-8 text, rename it to end in .txt.",
    )
