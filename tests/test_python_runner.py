"""The Python runner: programs that run wild are bounded, and what became of them is said."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from conftest import clean_environment
from inkling.infer.tools import ToolError
from inkling.tasks import python_runner
from inkling.tasks.python_runner import Limits, python_tool, run_python

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="asks for what only Linux limits or shows")
POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows does not fork")
USUAL = Limits()
SOON = Limits(seconds=1, cpu_seconds=1)

# A program must be stopped a moment after its limit; how long a moment is, a machine that does much else decides.
MOMENT = 60


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Working folders are made here, and nothing of a program is left when it has ended: no folder and no process."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []
    assert not [each for each in psutil.process_iter() if str(tmp_path) in _home(each)]


def _home(process) -> str:
    try:
        return process.environ().get("HOME", "") if process.status() != psutil.STATUS_ZOMBIE else ""
    except (psutil.Error, OSError):
        return ""


def run(program: str, limits: Limits = USUAL):
    began = time.monotonic()
    done = run_python(program, limits)
    assert time.monotonic() - began < limits.seconds + MOMENT
    return done


# --- what ends well --------------------------------------------------------------------------------------


def test_a_program_that_ends_well():
    done = run("print('Grüße → 日本 🙂')\nimport sys\nprint('oh', file=sys.stderr)")
    assert (done.ended, done.is_ok, done.problem) == ("ok", True, "")
    assert (done.stdout, done.stderr) == ("Grüße → 日本 🙂\n", "oh\n")


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("if __name__ == '__main__':\n    import sys; print(__file__, sys.argv)", "program.py ['program.py']"),
        ("open('a.txt', 'w').write('b'); import os; print(os.listdir(), open('a.txt').read())", "['a.txt'] b"),
        ("import asyncio\nasync def f(): print('awaited')\nasyncio.run(f())", "awaited"),
        ("import collections, decimal, heapq, math, random, re, typing, unittest, sqlite3; print('all')", "all"),
        ("try: open('/etc/passwd')\nexcept PermissionError: print('caught')", "caught"),
        ("import os, sys; sys.stdout.close(); os.close(1); os.close(2)", ""),
    ],
)
def test_what_a_program_may_do(program, says):
    done = run(program)
    assert (done.ended, done.stdout.strip()) == ("ok", says), done


def test_files_and_threads_within_limits():
    program = """
import os, tempfile
from concurrent.futures import ThreadPoolExecutor
with tempfile.TemporaryDirectory() as folder:
    open(folder + "/x", "w").close()
os.mkdir("a"); os.rename("a", "b"); os.rmdir("b")
with ThreadPoolExecutor(4) as pool:
    print(os.path.exists(folder), os.path.exists("b"), *pool.map(abs, [-1, -2]))
"""
    assert run(program).stdout == "False False 1 2\n"


# --- what runs wild --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "program",
    [
        "import time\ntime.sleep(1000)",
        "import signal\nfor s in signal.valid_signals() - {9, 19}:\n    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "import threading\ndef f():\n    while True: pass\nthreading.Thread(target=f).start()",
    ],
)
def test_endless_programs_are_ended(program):
    done = run(program, SOON)
    assert done.ended == "time" and "seconds" in done.problem


def test_a_clock_that_the_processor_does_not_move():
    assert run("import time\ntime.sleep(1000)", Limits(seconds=0.5)).problem == "it ran longer than 0.5 seconds"


@LINUX
def test_the_kernel_counts_the_processors_time():
    done = run("while True: pass", Limits(seconds=120, cpu_seconds=1))
    assert (done.ended, done.problem) == ("time", "it took more than 1 seconds of the processor")


@pytest.mark.parametrize(
    "program",
    ["bytearray(10 * 2**30)", "rows = []\nwhile True: rows.append(bytearray(2**22))"],
)
def test_memory_is_bounded(program):
    assert run(program, Limits(memory=200 << 20, seconds=60)).ended == "memory"


@POSIX
def test_memory_is_watched_where_the_kernel_does_not_limit_it(monkeypatch):
    """As on macOS: the child raises its own limit, which only an unguarded program may."""
    program = "import time\nrows = bytearray(b'x') * 120_000_000\ntime.sleep(60)"
    lax = Limits(memory=400 << 20)
    child = python_runner._Child

    class Watching(child):
        def _beyond_process(self):
            self.limits = Limits(memory=50 << 20)
            return super()._beyond_process()

    monkeypatch.setattr(python_runner, "_Child", Watching)
    done = run(program, lax)
    assert (done.ended, done.problem) == ("memory", "it took more than 52,428,800 bytes")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_is_bounded(stream):
    done = run(f"import sys\nwhile True: sys.{stream}.write('many words ' * 99)", Limits(output=5000))
    assert done.ended == "output" and len(getattr(done, stream)) == 5000
    once = run(f"import sys\nsys.{stream}.write('x' * 5001)", Limits(output=5000))
    assert (once.ended, len(getattr(once, stream))) == ("output", 5000)
    assert run(f"import sys\nsys.{stream}.write('x' * 5000)", Limits(output=5000)).is_ok


@POSIX
def test_a_fork_bomb_is_refused():
    done = run("import os\nwhile True: os.fork()")
    assert (done.ended, done.problem) == ("refused", "os.fork is not allowed here")


def test_processes_are_refused():
    assert run("import subprocess\nsubprocess.run(['python', '--version'])").ended == "refused"


@POSIX
def test_a_fork_bomb_that_no_hook_stops_is_stopped_by_watching():
    """As root, too, whose processes RLIMIT_NPROC would not count."""
    done = python_runner._run("import os\nwhile True: os.fork()", Limits(seconds=5), guarded=False)
    assert done.ended in ("processes", "memory"), done


@POSIX
def test_a_daemon_does_not_outlive_the_program():
    """It leaves its parent, its session and its group. The fixture looks whether it is there."""
    program = (
        "import os, time\nif not os.fork():\n    os.setsid()\n    if not os.fork(): time.sleep(1000)\n    os._exit(0)"
    )
    done = python_runner._run(program + "\nos.wait()\nprint('gone')", Limits(), guarded=False)
    assert done.ended in ("ok", "processes")


def test_threads_are_bounded():
    done = run("import threading, time\nfor i in range(60): threading.Thread(target=time.sleep, args=(60,)).start()")
    assert (done.ended, done.problem) == ("processes", "it started more than 32 threads")


def test_files_are_bounded():
    done = run("for i in range(10**5): open(str(i), 'w').close()")
    assert (done.ended, done.problem) == ("refused", "so many files are not allowed here")
    done = run("import os\nfor i in range(10**5): os.mkdir('d'); os.chdir('d')")
    assert (done.ended, done.problem) == ("refused", "so many files are not allowed here")
    bomb = """
import zipfile
with zipfile.ZipFile("bomb.zip", "w") as made:
    for i in range(2000): made.writestr(str(i), "")
with zipfile.ZipFile("bomb.zip") as read: read.extractall()
"""
    assert run(bomb, Limits(seconds=60)).ended == "refused"


def test_what_files_hold_is_bounded():
    program = "import time\nfor i in range(20): open(str(i), 'wb').write(bytes(2**20)); time.sleep(0.1)\ntime.sleep(60)"
    done = run(program, Limits(disk_bytes=5 << 20))
    assert (done.ended, done.problem) == ("disk", "its files are larger than 5,242,880 bytes")
    assert run("open('x', 'wb').write(bytes(2**20))", Limits(disk_bytes=1000)).ended == "disk", "looked at when it ends"


@LINUX
def test_one_file_is_bounded_by_the_kernel():
    done = run("f = open('x', 'wb', 0)\nwhile True: f.write(bytes(2**16))", Limits(file_bytes=2**20))
    assert done.ended == "error" and "File too large" in done.problem


# --- what is none of its business ------------------------------------------------------------------------


REFUSED = """
open(OUT, 'w').write('x')
open(OUT, 'a')
os.open(OUT, os.O_CREAT | os.O_WRONLY)
os.open('/', os.O_RDONLY)
os.mkdir(OUT)
os.rename('x', OUT)
os.rename('x', '../../x')
os.link('x', OUT)
os.symlink('/', 'root')
os.remove(HERE)
os.chmod(HERE, 0)
os.truncate(HERE, 0)
os.utime(HERE)
os.chdir('/')
os.chdir('..')
os.mkdir('../y', dir_fd=os.open('.', os.O_RDONLY))
os.listdir('/')
os.listdir('..')
os.kill(os.getppid(), 0)
os.kill(-1, 0)
os.setsid()
os.mknod('disk')
os.posix_spawn('/bin/sh', ['sh'], {})
os.system('echo oh')
os.execv('/bin/sh', ['sh'])
os.forkpty()
__import__('multiprocessing').Process(target=print).start()
open(HERE).read()
open(f'/proc/{os.getppid()}/environ').read()
__import__('pathlib').Path(OUT).touch()
__import__('shutil').rmtree(os.path.dirname(OUT))
__import__('sqlite3').connect(OUT)
__import__('ctypes')
__import__('resource').setrlimit(__import__('resource').RLIMIT_CPU, (-1, -1))
__import__('socket').create_connection(('127.0.0.1', 80))
__import__('socket').socket().bind(('127.0.0.1', 0))
__import__('_posixsubprocess').fork_exec()
"""


@POSIX
def test_what_is_refused(tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "here.txt").write_text("mine", encoding="utf-8")
    program = f"""
import os
OUT, HERE = {str(elsewhere / "out")!r}, {str(elsewhere / "here.txt")!r}
open("x", "w").close()
for line in {REFUSED.strip().splitlines()!r}:
    try:
        exec(line)
        print("let through:", line)
    except PermissionError as error:
        if "not allowed here" not in str(error): print(line, error)
"""
    done = run(program, Limits(seconds=60))
    assert (done.ended, done.stdout) == ("ok", "")
    assert [file.name for file in elsewhere.iterdir()] == ["here.txt"]
    assert (elsewhere / "here.txt").read_text(encoding="utf-8") == "mine"


def test_the_first_thing_that_was_refused_is_said_of_a_program_that_went_on():
    done = run("try: open('/etc/passwd')\nexcept OSError: pass\nprint('on')")
    assert done.is_ok and done.problem == "reading outside of the working folder is not allowed here: /etc/passwd"


def test_the_environment_is_empty(monkeypatch):
    monkeypatch.setenv("MY_SECRET", "swordfish")
    done = run("import os\nprint(os.environ, os.getcwd(), os.path.expanduser('~') == os.getcwd())")
    assert done.is_ok and "MY_SECRET" not in done.stdout and "swordfish" not in done.stdout
    assert done.stdout.endswith("True\n")
    names = run("import os\nprint(*os.environ)").stdout.split()
    assert set(names) <= {"HOME", "TMPDIR", "TEMP", "TMP", "LC_ALL", "SYSTEMROOT"}


def test_packages_and_settings_of_this_python_are_not_there(monkeypatch):
    monkeypatch.setenv("PYTHONSTARTUP", "x.py")
    assert "ModuleNotFoundError" in run("import inkling").problem
    assert "ModuleNotFoundError" in run("import numpy").problem


# --- what falls over -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("assert 1 == 2, 'not so'", "AssertionError: not so"),
        ("def (", "SyntaxError: invalid syntax (program.py, line 1)"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("print('\\ud800')", "UnicodeEncodeError: "),
        ("x = '\ud800'", "SyntaxError: "),
        ("input()", "EOFError: EOF when reading a line"),
        ("class E(Exception):\n    def __str__(self): return 'x' * 9999\nraise E", "E: xxx"),
    ],
)
def test_errors_are_said(program, problem):
    done = run(program)
    assert done.ended == "error" and done.problem.startswith(problem) and len(done.problem) <= 500, done
    assert "Traceback" in done.stderr or "SyntaxError" in done.stderr
    assert "python_child" not in done.stderr and "runpy" not in done.stderr, "from its own first line on"


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("import sys; sys.exit(0)", "it called sys.exit(0)"),
        ("import os; os._exit(3)", "it ended itself with 3 before its last line"),
    ],
)
def test_who_leaves_early_has_not_passed(program, problem):
    done = run(f"{program}\nassert False")
    assert (done.ended, done.problem) == ("exit", problem)


@POSIX
def test_a_crash_is_said():
    done = run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert (done.ended, done.problem) == ("killed", "it crashed: SIGSEGV")
    assert run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)").ended == "killed"


def test_a_report_without_the_key_does_not_count():
    """The report is outside of the folder; here a program writes it all the same."""
    line = '{"ended": "ok", "problem": "", "key": "guessed"}'
    program = f"import os\nfor fd in range(3, 20):\n    try: os.write(fd, {line!r}.encode() + b'\\n')\n"
    done = run(program + "    except OSError: pass\nos._exit(0)")
    assert done.ended == "exit"


def test_an_interruption_leaves_nothing(monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(python_runner._Child, "watch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_python("while True: pass")


def test_several_at_once():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda i: run_python(f"open('x', 'w').write('{i}'); print(open('x').read())"), range(6)))
    assert [each.stdout for each in done] == [f"{i}\n" for i in range(6)]


def test_the_child_does_nothing_when_it_is_imported(tmp_path_factory):
    place = tmp_path_factory.mktemp("import")
    code = "import inkling.tasks.python_child, os; print(os.listdir('.'), len(open(os.devnull).read()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True,
                          env=clean_environment(PYTHONPATH=str(Path(python_runner.__file__).parents[2])))  # fmt: skip
    assert done.stdout == "[] 0\n", done.stderr


# --- as a tool -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("12 * 3", "36"),
        ("x = 3\nprint(x)\nx * 4", "3\n12"),
        ("for i in range(3):\n    print(i)", "0\n1\n2"),
        ("print(5)", "5"),
    ],
)
def test_the_tool_says_what_is_printed_and_the_last_value(code, result):
    assert python_tool(code) == result


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("1 / 0", "division by zero"),
        ("def (", "invalid syntax"),
        ("(" * 10_000, "Error"),
        ("open('/x', 'w')", "writing"),
    ],
)
def test_the_tool_says_what_went_wrong(code, problem):
    with pytest.raises(ToolError, match=problem):
        python_tool(code)
