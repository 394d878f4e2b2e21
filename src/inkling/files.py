"""Files that are there whole or not at all.

A file is written beside its final name, flushed to the disk, and renamed. Renaming within a folder is one
step for the file system, so a crash, a full disk or Ctrl-C leaves the old file or the new one, never half.
"""

import contextlib
import hashlib
import os
import shutil
from pathlib import Path


def part_of(final: Path) -> Path:
    """The name that a file bears while it is being written."""
    return final.with_name(final.name + ".part")


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` (text as UTF-8, newlines as they are) to `path`, whole or not at all."""
    part = part_of(path)
    try:
        part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        replace_file(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def replace_file(part: Path, final: Path) -> None:
    """Give the finished file `part` its name `final`, after its bytes have reached the disk."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(final)
    sync_folder(final.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and deletions in `folder` last through a power cut, where the system can promise that."""
    with contextlib.suppress(OSError):  # Windows cannot open a folder, and some network disks refuse
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file of any size, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_space(folder: Path) -> int:
    """Bytes free on the disk of a folder that may not be there yet."""
    return shutil.disk_usage(_first_there(folder)).free


def on_one_disk(one: Path, other: Path) -> bool:
    """Whether two folders, which may not be there yet, share their free space."""
    return _first_there(one).stat().st_dev == _first_there(other).stat().st_dev


def _first_there(folder: Path) -> Path:
    folder = folder.absolute()
    return folder if folder.exists() else _first_there(folder.parent)
