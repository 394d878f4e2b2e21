"""Where and how to compute: device, precision, threads and ranks, decided once, frozen, passed in.

Each `auto` is resolved by looking at the machine, and the reason is kept so that it can be printed.
What was chosen is stored with a run and reused on resume, never decided again.
"""

import gc
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import psutil

from inkling.errors import UserError

Dtype = Literal["auto", "float32", "bfloat16", "float16", "float64"]


@dataclass(frozen=True)
class RuntimeSettings:
    """system"""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps; auto takes the first of CUDA, MPS and CPU that is there"""
    dtype: Dtype = "auto"
    """numbers of the forward pass; weights stay float32. auto takes bfloat16 where the hardware is fast in it"""
    compile: bool | Literal["auto"] = "auto"
    """torch.compile the model; auto compiles on CUDA, and on a CPU what repays it: long work of narrow models"""
    threads: int = 0
    """CPU threads for each process; 0 takes the physical cores, shared between the ranks of this machine"""
    seed: int = 1337
    """the key of every random choice"""


@dataclass(frozen=True)
class Runtime:
    """The decisions. `reasons` says in words why each was taken."""

    device: str
    dtype: str
    compile: bool
    threads: int
    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    reasons: tuple[str, ...] = ()

    @property
    def device_type(self) -> str:
        return self.device.partition(":")[0]

    @property
    def is_main(self) -> bool:
        """Rank 0 alone logs and saves."""
        return self.rank == 0

    @property
    def torch_dtype(self) -> Any:
        import torch

        return getattr(torch, self.dtype)


def decide(settings: RuntimeSettings, cpu_seconds: float = 0.0, width: int = 0) -> Runtime:
    """Resolve every `auto`. For the question of compiling: `cpu_seconds`, a rough length of the work, and the model's
    `width`."""
    rank = int(os.environ.get("RANK", "0"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))

    if settings.threads < 0:
        raise UserError(f"threads={settings.threads} cannot be negative.", "0 takes the physical cores.", status=2)
    device, why_device = _device(settings.device, local_rank)
    dtype, why_dtype = _dtype(settings.dtype, device)
    compiled, why_compile = _compile(settings.compile, device, dtype, cpu_seconds, width)
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    threads = settings.threads or max(1, cores // local_world)
    reasons = (f"device {device}: {why_device}", f"dtype {dtype}: {why_dtype}", f"compile: {why_compile}")
    return Runtime(device, dtype, compiled, threads, rank, local_rank, world_size, reasons)


def start(runtime: Runtime) -> None:
    """Apply the decisions to this process. Called once, by a stage, before any tensor is made."""
    import torch

    torch.set_num_threads(runtime.threads)
    if runtime.device_type == "cpu":
        # Without this, the compiled backward of an embedding adds in whatever order the threads arrive,
        # and two runs differ in the last bit. Measured cost on the models here: within the noise.
        torch.use_deterministic_algorithms(True)
        # The mode above also fills every empty tensor with NaN, which helps debugging and costs time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    elif runtime.device_type == "cuda":
        torch.cuda.set_device(runtime.device)
        torch.set_float32_matmul_precision("high")  # TF32 where float32 products remain
    if runtime.world_size > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if runtime.device_type == "cuda" else "gloo")


def stop(runtime: Runtime) -> None:
    """Leave the process group, so that torchrun ends quietly."""
    import torch

    if runtime.world_size > 1 and torch.distributed.is_initialized():
        # A model wrapped for several processes holds the group, and if it outlives it, the group is torn down
        # under Python's lock while its own thread waits for that lock: seen as a rank that never ends.
        gc.collect()
        torch.distributed.destroy_process_group()


@contextmanager
def running(runtime: Runtime) -> Iterator[None]:
    """`start` on the way in and `stop` on the way out, whatever happens between.

    What is made inside must be local to a function that is called inside, so that it is gone before `stop`.
    """
    start(runtime)
    try:
        yield
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # else the locals of the failed functions live on in it
        raise
    finally:
        stop(runtime)


def describe_machine() -> dict[str, Any]:
    """Hardware and versions, for environment.json."""
    import platform

    import torch

    from inkling.version import __version__

    facts: dict[str, Any] = {
        "system": platform.platform(),
        "python": platform.python_version(),
        "inkling": __version__,
        "commit": _commit(),
        "torch": torch.__version__,
        "cpu": _cpu_name(),
        "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "amx": _has_amx(),
    }
    if torch.cuda.is_available():
        facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return facts


def seconds_since_start() -> float:
    """Seconds since this process began, the loading of Python and torch included: what the person waits."""
    return time.time() - psutil.Process().create_time()


def peak_memory_bytes(runtime: Runtime) -> int:
    """The most memory this process has held: of the GPU where there is one, else of the machine."""
    if runtime.device_type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource  # not on Windows, hence here

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kibibytes


def free_memory_bytes(runtime: Runtime) -> int:
    """Memory that this process could still take where it computes."""
    if runtime.device_type == "cuda":
        import torch

        return torch.cuda.mem_get_info(runtime.device)[0]
    return psutil.virtual_memory().available


def _device(asked: str, local_rank: int) -> tuple[str, str]:
    import torch

    if asked == "auto":
        if torch.cuda.is_available():
            return f"cuda:{local_rank}", torch.cuda.get_device_name(local_rank)
        if torch.backends.mps.is_available():
            return "mps", "Apple GPU found"
        return "cpu", f"no GPU found; {_cpu_name()}"
    kind = asked.partition(":")[0]
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError("--device=cuda was asked for, but PyTorch sees no CUDA GPU.", "Use --device=cpu.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("--device=mps was asked for, but PyTorch sees no Apple GPU.", "Use --device=cpu.")
    if kind not in ("cpu", "cuda", "mps"):
        raise UserError(f"--device={asked} is not a device.", "Use auto, cpu, cuda, cuda:1 or mps.", status=2)
    if asked == "cuda":
        asked = f"cuda:{local_rank}"
    if kind == "cuda" and asked not in [f"cuda:{i}" for i in range(torch.cuda.device_count())]:
        raise UserError(
            f"--device={asked}, but this machine has {torch.cuda.device_count()} GPU(s), counted from cuda:0."
        )
    return asked, "asked for"


def _dtype(asked: str, device: str) -> tuple[str, str]:
    import torch

    if asked != "auto":
        if asked == "float64" and device == "mps":
            raise UserError("Apple GPUs have no float64.", "Use --device=cpu or --dtype=float32.", status=2)
        return asked, "asked for"
    if device.startswith("cuda"):
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bfloat16", "this GPU multiplies it in hardware"
        return "float16", "this GPU has no bfloat16; the loss is scaled to keep small gradients"
    if device == "mps":
        return "float32", "the safe choice on Apple GPUs"
    if _has_amx():
        return "bfloat16", "this CPU has AMX tiles, which multiply it about 5 to 15 times faster than float32"
    if _has_avx512_bf16():
        return "bfloat16", "this CPU has AVX512-BF16"
    return "float32", "this CPU has no fast bfloat16 (neither AMX nor AVX512-BF16)"


# A first compilation of a small GPT, forward and backward, takes about this long on two cores.
CPU_COMPILE_SECONDS = 40.0
# In float32 a step of a wider model is nearly all matrix products, and compiling loses: 1.23 and 1.15 times as fast at
# widths of 128 and 256, 0.96 and 0.90 at 384 and 768 (benchmarks/learning/compiling.md).
WIDEST_COMPILED = 256


def _compile(asked: bool | str, device: str, dtype: str, cpu_seconds: float, width: int) -> tuple[bool, str]:
    if asked is False:
        return False, "off, asked for"
    has_compiler = bool(os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++"))
    has_compiler = has_compiler or bool(shutil.which("clang++") or shutil.which("cl"))
    if asked is True:
        if not device.startswith("cuda") and not has_compiler:
            raise UserError(
                "--compile=True needs a C++ compiler, and none was found.",
                "Install g++ or clang (or Xcode's command line tools), or use --compile=False.",
            )
        return True, "on, asked for"
    if device == "mps":
        return False, "off, not dependable on Apple GPUs"
    if device.startswith("cuda"):
        return True, "on, the GPU runs it faster"
    if not has_compiler:
        return False, "off, no C++ compiler found"
    if cpu_seconds < 20 * CPU_COMPILE_SECONDS:
        return False, "off, the job is too short to repay the compilation on a CPU"
    if dtype == "float32" and width > WIDEST_COMPILED:
        return False, f"off, at a width above {WIDEST_COMPILED} it gains nothing in float32 on a CPU"
    return True, "on, the job is long enough to repay the compilation"


def _has_amx() -> bool:
    import torch

    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe and probe())


def _has_avx512_bf16() -> bool:
    import torch

    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())


def _cpu_name() -> str:
    import platform

    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - not a file of ours
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of this source tree, or None when inkling was installed from a wheel."""
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
