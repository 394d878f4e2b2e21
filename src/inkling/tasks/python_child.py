"""The child of python_runner.py: limits itself, then runs a program as `python FILE` would. Standard library only.

It is told what to do in a line of JSON on its standard input, and says how the program ended in a file that it opened
before the program began. What the kernel can limit (memory, time, sizes of files) is asked of the kernel. The rest is
an audit hook, which Python calls before it opens a file, starts a process or connects. The hook and the program share
one process, so a program that sets its mind to it gets around the hook: it stops mistakes and simple mischief.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# Events that change files: how many of their first arguments are paths, and which arguments are those paths' `dir_fd`.
_CHANGES: dict[str, tuple[int, tuple[int, ...]]] = {
    "os.mkdir": (1, (2,)),
    "os.rmdir": (1, (1,)),
    "os.remove": (1, (1,)),
    "os.rename": (2, (2, 3)),
    "os.link": (2, (2, 3)),
    "os.symlink": (2, (2, 2)),
    "os.truncate": (1, ()),
    "os.chmod": (1, (2,)),
    "os.chown": (1, (3,)),
    "os.chflags": (1, ()),
    "os.utime": (1, (3,)),
    "os.setxattr": (1, ()),
    "os.removexattr": (1, ()),
    "os.chdir": (1, ()),
    "sqlite3.connect": (1, ()),
}
_LOOKS = ("os.listdir", "os.scandir")

# Whole families that are refused, and what of them is harmless.
_REFUSED = (
    *("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system"),
    *("subprocess.", "pty.", "ctypes.", "socket.", "resource.setrlimit", "resource.prlimit", "webbrowser."),
    *("winreg.", "syslog.", "_winapi.CreateProcess", "_winapi.OpenProcess", "_winapi.TerminateProcess"),
)
_HARMLESS = ("socket.__new__", "socket.gethostname")  # asyncio makes a pair of sockets for itself

# Functions of which Python's audit says nothing.
_UNHEARD = {"os": ("mknod", "mkfifo", "chroot", "setsid", "setpgid", "setpgrp"), "_posixsubprocess": ("fork_exec",)}


class Refused(PermissionError):
    """The program asked for something that it may not do."""


def main() -> None:
    """Read the job, take the limits upon oneself, run the program, and report."""
    job = json.loads(sys.stdin.readline())
    report = Path(job["report"]).open("w", encoding="utf-8")  # noqa: SIM115 - open until the end
    _close_standard_input()
    _limit(job)
    _say(report, job, "began")
    sys.orig_argv[:] = sys.argv[:] = [job["program"]]
    sys.path[:] = [path for path in sys.path if path]
    hook = _Hook(job)
    if job["guarded"]:
        _quieten_the_unheard()
        sys.addaudithook(hook)
    ended, problem = _run(job["program"])
    if ended != "exit" and hook.first:
        problem = problem or hook.first
    _say(report, job, ended, problem)


def _run(program: str) -> tuple[str, str]:
    """How the program ended, and what it fell over."""
    import runpy

    try:
        runpy.run_path(program, run_name="__main__")
        _flush()
    except SystemExit as end:
        return "exit", f"it called sys.exit({'' if end.code is None else repr(end.code)})"
    except Refused as error:
        return "refused", str(error)
    except MemoryError:
        return "memory", "it ran out of memory"
    except BaseException as error:  # whatever a stranger's program raises
        _print_error(error, program)
        return "error", f"{type(error).__name__}: {error}"[:500]
    return "ok", ""


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()


def _print_error(error: BaseException, program: str) -> None:
    """The traceback from the program's own first line on."""
    import traceback

    step = error.__traceback__
    while step is not None and step.tb_frame.f_code.co_filename != program:
        step = step.tb_next
    try:
        traceback.print_exception(type(error), error, step, limit=-20)
    except Exception:  # it has closed sys.stderr, or its error cannot be printed
        return


def _say(report: TextIO, job: dict[str, Any], ended: str, problem: str = "") -> None:
    """A line for the parent. It knows the key, which only the standard input has said, so others cannot write it."""
    line = {"key": job["key"], "ended": ended, "problem": problem}
    report.write(json.dumps(line) + "\n")
    report.flush()


# --- limits ----------------------------------------------------------------------------------------------


def _close_standard_input() -> None:
    """Whoever reads from it finds its end."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115


def _limit(job: dict[str, Any]) -> None:
    """Ask the kernel. Windows has no such limits; there the parent watches time and memory."""
    threading.stack_size(1 << 20)  # of threads to come: eight times smaller than usual
    if sys.platform == "win32":
        return
    os.nice(10)  # so that the parent, which watches, runs first, however many there are
    import resource

    for kind, most in {
        resource.RLIMIT_CPU: job["cpu_seconds"],  # soft and hard alike: SIGKILL, which nobody ignores
        resource.RLIMIT_FSIZE: job["file_bytes"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: job["memory"],
    }.items():
        try:
            _, hard = resource.getrlimit(kind)
            least = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (least, least))
        except (OSError, ValueError):  # macOS takes no RLIMIT_AS: there, too, the parent watches
            continue


def _quieten_the_unheard() -> None:
    """Put a refusal in place of what can do harm and raises no audit event."""
    import importlib

    for module, names in _UNHEARD.items():
        for home in (module, "posix") if module == "os" else (module,):
            try:
                found = importlib.import_module(home)
            except ImportError:  # Windows
                continue
            for name in names:
                if hasattr(found, name):
                    setattr(found, name, _refusal(f"{module}.{name}"))


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(*arguments: object, **named: object) -> NoReturn:
        raise Refused(f"{name} is not allowed here")

    return refuse


# --- the audit hook --------------------------------------------------------------------------------------


class _Hook:
    """Looks at every audit event, and raises Refused for what is not allowed."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.folder = os.path.realpath(job["folder"])
        # What `import` reads: the standard library, and the program itself.
        self.library = [os.path.realpath(path) for path in (*sys.path, job["program"]) if path]
        self.files = job["files"]
        self.first = ""
        """what was refused first"""

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python's: called before what `event` names is done."""
        try:
            self._look(event, arguments)
        except Refused as error:
            self.first = self.first or str(error)
            raise

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if not isinstance(path, int):  # else it is open already
                self._opened(os.fsdecode(path), mode, flags or 0)
        elif event in _LOOKS:
            if not isinstance(arguments[0], int):
                self._may_read(os.fsdecode(arguments[0] or "."))
        elif event in _CHANGES:
            for path in _paths(event, arguments):
                self._may_write(path, event)
            self.files -= event in ("os.mkdir", "os.link", "os.symlink")
        elif event in ("os.kill", "os.killpg"):
            if arguments[0] != os.getpid():
                raise Refused(f"{event} of another process is not allowed here")
        elif event.startswith(_REFUSED) and event not in _HARMLESS:
            raise Refused(f"{event} is not allowed here")

    def _opened(self, path: str, mode: str | None, flags: int) -> None:
        if flags & _WRITES or any(letter in (mode or "") for letter in "wax+"):
            self._may_write(path, "writing")
            self.files -= 1
        elif mode is None:  # os.open, which can open a folder, and what is in it would have no name to judge by
            self._may_write(path, "os.open")
        else:
            self._may_read(path)

    def _may_write(self, path: str, what: str) -> None:
        if self.files <= 0:
            raise Refused("so many files are not allowed here")
        if path not in (os.devnull, ":memory:") and not _is_within(path, [self.folder]):
            raise Refused(f"{what} outside of the working folder is not allowed here: {path}")

    def _may_read(self, path: str) -> None:
        if path != os.devnull and not _is_within(path, [self.folder, *self.library]):
            raise Refused(f"reading outside of the working folder is not allowed here: {path}")


def _paths(event: str, arguments: tuple[Any, ...]) -> Iterator[str]:
    """The paths that an event changes. One may count from a folder that was opened before, its `dir_fd`."""
    paths, folders = _CHANGES[event]
    for place, path in enumerate(arguments[:paths]):
        if isinstance(path, int):
            continue
        name = os.fsdecode(path)
        folder = arguments[folders[place]] if place < len(folders) and folders[place] < len(arguments) else None
        if folder not in (None, -1) and not os.path.isabs(name):  # noqa: PTH117
            name = os.path.join(_folder_of(folder), name)  # noqa: PTH118
        yield name


def _folder_of(number: int) -> str:
    """The path of a folder that is open as this number."""
    if sys.platform == "darwin":
        import fcntl

        return os.fsdecode(fcntl.fcntl(number, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115


def _is_within(path: str, folders: list[str]) -> bool:
    real = os.path.realpath(path)  # links followed
    return any(real == folder or real.startswith(folder + os.sep) for folder in folders)


if __name__ == "__main__":
    main()
