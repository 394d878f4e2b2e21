"""What other processes have left: how to end all of them, and how much disk a folder takes. For python_runner.py."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import psutil


def size_of(folder: Path, enough: int) -> int:
    """Bytes in a folder and below; not counted further than `enough`."""
    total, folders = 0, [folder]
    while folders and total <= enough:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:  # it is being changed
            continue
    return total


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """All of the group that `process` heads, in one step of the kernel: none can start another meanwhile.

    Windows has no groups; there one after the other.
    """
    if os.name == "posix":
        with contextlib.suppress(
            ProcessLookupError, PermissionError
        ):  # the latter macOS says of a group that has ended
            os.killpg(process.pid, signal.SIGKILL)
        return
    with contextlib.suppress(psutil.Error):
        for each in psutil.Process(process.pid).children(recursive=True):
            kill(each)
    process.kill()


def strays(home: str) -> list[psutil.Process]:
    """Processes that have left the group, wherever they went. They inherit HOME, which each program has for itself."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") == home and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):  # another user's, or just ending
            continue
    return found


def kill(process: psutil.Process) -> None:
    """End it, if it is still there."""
    with contextlib.suppress(psutil.Error):
        process.kill()
