"""Runs a Python program that a model wrote, in a child process with limits on what it can use up.

These are limits, and not a safe box. They bound what a wrong or careless program costs: time, memory, processes,
output, disk. A program that is written to break out can: it runs as the same user on the same kernel, and what guards
files and the network is a hook inside its own process (python_child.py). Where strangers choose what the model writes,
put the whole of inkling into a container or a virtual machine. So nothing runs here unless somebody asked for it.

                            Linux                 macOS                 Windows
    time of clock           yes                   yes                   yes
    time of processor       kernel                kernel                clock only
    memory                  kernel and watching   watching              watching
    size of a file          kernel                kernel                watching
    output, disk in all     watching              watching              watching
    processes               hook and watching     hook and watching     hook and watching
    threads                 watching              watching              watching
    other files, network    hook                  hook                  hook
"""

import ast
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from inkling.errors import UserError
from inkling.infer.tools import ToolError
from inkling.tasks.processes import kill, kill_group, size_of, strays

Ended = Literal["ok", "error", "exit", "time", "memory", "output", "disk", "processes", "refused", "killed"]

WARNING = (
    "what the model writes as Python is run here, with limits on time, memory, output and files. "
    "That bounds mistakes; it is no safe box against a program that means harm."
)

_STARTING = 30.0  # seconds that Python itself may take to start, on a machine that does much else


@dataclass(frozen=True)
class Limits:
    """What a program may use up. RLIMIT_NPROC is not among them: it counts all processes of a user, and not root's."""

    seconds: float = 10.0
    """by the clock, from when the program begins"""
    cpu_seconds: int = 5
    """of the processor, so that a busy machine does not decide what passes"""
    memory: int = 512 << 20
    """bytes"""
    output: int = 64 << 10
    """bytes of stdout, and of stderr; what is beyond is cut off, and ends the program"""
    file_bytes: int = 16 << 20
    """in one file"""
    disk_bytes: int = 64 << 20
    """in all files"""
    files: int = 500
    """that are opened to write, and folders"""
    threads: int = 32
    processes: int = 2
    """below the program's own. It may start none; but on Windows Python itself is one below its launcher"""


@dataclass(frozen=True)
class PythonRun:
    """How a program ended.

    ok: it ran to its last line · error: an exception · exit: it left by sys.exit or os._exit, before its last line ·
    refused: it asked for something that is not allowed, and did not catch that · killed: it crashed, or was ended from
    outside · the others: the limit that it met.
    """

    ended: Ended
    problem: str
    """why, in a line; "" where all went well"""
    stdout: str
    stderr: str
    seconds: float

    @property
    def is_ok(self) -> bool:
        return self.ended == "ok"


def run_python(program: str, limits: Limits = Limits()) -> PythonRun:
    """Run `program` in a folder of its own that is removed afterwards, with an empty environment and nothing to read.

    Raises UserError where no process can be started; whatever the program does is in what is returned.
    """
    return _run(program, limits)


def python_tool(code: str) -> str:
    """The runner as a tool (infer/tools.py): what the code prints, and the value of its last line.

    Raises ToolError where it does not end well.
    """
    done = run_python(_with_last_value(code))
    if not done.is_ok:
        raise ToolError(done.problem)
    return done.stdout.strip()


def _with_last_value(code: str) -> str:
    """The code with its last line's value printed, as at Python's prompt. What is no code is left as it is."""
    try:
        tree = ast.parse(code)
        if not tree.body or not isinstance(tree.body[-1], ast.Expr):
            return code
        value = ast.unparse(tree.body[-1])
        before = ast.unparse(ast.Module(tree.body[:-1], []))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code
    return f"{before}\n_ = {value}\nif _ is not None:\n    print(_)\n"


# --- a run -----------------------------------------------------------------------------------------------


def _run(program: str, limits: Limits, guarded: bool = True) -> PythonRun:
    """`guarded=False` leaves the hook out, so that a test can see what the other limits do alone."""
    with tempfile.TemporaryDirectory(prefix="inkling-", ignore_cleanup_errors=True) as name:
        place = Path(os.path.realpath(name))  # on macOS the name leads over a link
        (place / "work").mkdir()
        (place / "program.py").write_bytes(program.encode("utf-8", "surrogatepass"))
        child = _Child(place, limits, guarded)
        try:
            child.start()
            stopped_by = child.watch()
        finally:
            child.end()
        return child.result(stopped_by)


class _Child:
    """One program while it runs, in `place`: program.py, work/, and what it said in out.txt, err.txt, report.jsonl."""

    def __init__(self, place: Path, limits: Limits, guarded: bool) -> None:
        self.place, self.limits = place, limits
        self.key = secrets.token_hex(16)
        self.job = asdict(limits) | {
            "folder": str(place / "work"),
            "program": str(place / "program.py"),
            "report": str(place / "report.jsonl"),
            "key": self.key,
            "guarded": guarded,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.began: float | None = None  # when the program itself did
        self.seconds = 0.0

    def start(self) -> None:
        """A new Python, isolated from this one's settings and packages, as the head of a group of its own."""
        home = str(self.place / "work")
        environment = {"HOME": home, "TMPDIR": home, "TEMP": home, "TMP": home, "LC_ALL": "C.UTF-8"}
        environment |= {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}  # Windows needs it
        bootstrap = Path(__file__).with_name("python_child.py")
        try:
            with (self.place / "out.txt").open("wb") as out, (self.place / "err.txt").open("wb") as err:
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(bootstrap)],
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=err,
                    cwd=home,
                    env=environment,
                    start_new_session=True,
                )
            assert self.process.stdin is not None
            with self.process.stdin as pipe:
                pipe.write(json.dumps(self.job).encode() + b"\n")
        except BrokenPipeError:  # it ended at once; the report, which is missing, tells
            return
        except OSError as error:
            raise UserError(f"No process can be started: {error.strerror}.", "Close other programs.") from None

    def watch(self) -> tuple[Ended, str] | None:
        """Wait for the end; or for a limit that nobody else sees to, and which one it was."""
        assert self.process is not None
        started, pause = time.monotonic(), 0.002
        while True:
            try:
                self.process.wait(pause)
                self._note_time(started)
                return self._beyond_disk()
            except subprocess.TimeoutExpired:
                pause = min(0.05, 1.5 * pause)  # short programs are not kept waiting, long ones not looked at often
            self._note_time(started)
            if self.began is None:
                if self.seconds > _STARTING:
                    return "time", "Python did not start"
            elif self.seconds > self.limits.seconds:
                return "time", f"it ran longer than {self.limits.seconds:g} seconds"
            beyond = self._beyond_disk() or self._beyond_process()
            if beyond:
                return beyond

    def _note_time(self, started: float) -> None:
        now = time.monotonic()
        if self.began is None and any(line["ended"] == "began" for line in self._reports()):
            self.began = now
        self.seconds = now - (started if self.began is None else self.began)

    def _beyond_disk(self) -> tuple[Ended, str] | None:
        for name in ("out.txt", "err.txt"):
            if (self.place / name).stat().st_size > self.limits.output:
                return "output", f"it wrote more than {self.limits.output:,} bytes"
        if size_of(self.place / "work", self.limits.disk_bytes) > self.limits.disk_bytes:
            return "disk", f"its files are larger than {self.limits.disk_bytes:,} bytes"
        return None

    def _beyond_process(self) -> tuple[Ended, str] | None:
        assert self.process is not None
        try:
            own = psutil.Process(self.process.pid)
            below = own.children(recursive=True)
            memory = sum(each.memory_info().rss for each in (own, *below))
            threads = own.num_threads()
        except psutil.Error:  # it is just ending
            return None
        if len(below) > self.limits.processes:
            return "processes", "it started other processes"
        if threads > self.limits.threads:
            return "processes", f"it started more than {self.limits.threads} threads"
        if memory > self.limits.memory:
            return "memory", f"it took more than {self.limits.memory:,} bytes"
        return None

    # --- the end -----------------------------------------------------------------------------------------

    def end(self) -> None:
        """Leave nothing of it running: its group, what left the group, and what was started meanwhile."""
        if self.process is None:
            return
        for _ in range(100):
            kill_group(self.process)
            left = [each for each in strays(str(self.place / "work")) if each.pid != self.process.pid]
            for stray in left:
                kill(stray)
            if not left:
                break
        self.process.wait()

    def result(self, stopped_by: tuple[Ended, str] | None) -> PythonRun:
        """What is to be said of it."""
        ended, problem = stopped_by or self._own_end()
        out, err = (self._read(name) for name in ("out.txt", "err.txt"))
        return PythonRun(ended, self._without_place(problem), out, err, round(self.seconds, 3))

    def _own_end(self) -> tuple[Ended, str]:
        assert self.process is not None
        status = self.process.returncode
        reports = self._reports()
        if status < 0:
            if -status in (getattr(signal, "SIGXCPU", 0), signal.SIGKILL.value if os.name == "posix" else 0):
                return self._killed(status)
            return "killed", f"it crashed: {signal.Signals(-status).name}"
        if not reports:
            return "killed", f"Python did not start, and ended with {status}"
        if reports[-1]["ended"] == "began":
            return "exit", f"it ended itself with {status} before its last line"
        return reports[-1]["ended"], reports[-1]["problem"]

    def _killed(self, status: int) -> tuple[Ended, str]:
        """The kernel's SIGKILL is for time of the processor, or for memory of the whole machine."""
        if self.seconds >= 0.9 * self.limits.cpu_seconds:
            return "time", f"it took more than {self.limits.cpu_seconds:g} seconds of the processor"
        return "killed", f"it was ended from outside: {signal.Signals(-status).name}"

    def _reports(self) -> list[dict[str, Any]]:
        """Whole lines of the report with the right key."""
        try:
            lines = (self.place / "report.jsonl").read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                read = json.loads(line)
            except ValueError:
                continue
            if isinstance(read, dict) and read.get("key") == self.key:
                found.append(read)
        return found

    def _read(self, name: str) -> str:
        """What was written, as text of at most the size that is allowed."""
        with (self.place / name).open("rb") as file:
            text = file.read(self.limits.output).decode("utf-8", "replace")
        return self._without_place(text.replace("\r\n", "\n"))

    def _without_place(self, text: str) -> str:
        """The folder's name is another each time, and nobody's business."""
        return text.replace(f"{self.place}{os.sep}", "")
