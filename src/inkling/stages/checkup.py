"""What may be wrong with a machine, one function for each finding. `inkling doctor` asks them all.

Modules are imported where they are used: a check-up must start where one of them is what is broken.
"""

import hashlib
import importlib
import io
import os
import shutil
import tempfile
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inkling.errors import UserError


@dataclass(frozen=True)
class Check:
    """One finding. `note` is what one can live with; `broken` is what inkling cannot work without."""

    what: str
    state: Literal["ok", "note", "broken"]
    says: str
    remedy: str = ""


# What `pip install inkling-lm` brings, and what each is for. torch is looked at apart.
CORE = {
    "numpy": "data",
    "safetensors": "checkpoints",
    "tokenizers": "BPE",
    "tiktoken": "GPT-2's vocabulary",
    "requests": "downloads",
    "tyro": "the command line",
    "tomli_w": "run folders",
    "rich": "progress bars",
    "psutil": "memory and cores",
    "filelock": "one training in a folder at a time",
}
OPTIONAL = {
    "matplotlib": ("plots", "pip install 'inkling-lm[plot]'"),
    "tensorboard": ("--tensorboard", "pip install 'inkling-lm[logging]'"),
    "wandb": ("--wandb_log", "pip install 'inkling-lm[logging]'"),
    "pyarrow": ("data sets and exams in parquet", "pip install 'inkling-lm[data]'"),
    "fastapi": ("inkling serve", "pip install 'inkling-lm[serve]'"),
    "yaml": ("evaluate --tasks=core", "pip install 'inkling-lm[eval]'"),
    "lm_eval": ("evaluate --tasks=harness:NAME", "pip install 'inkling-lm[harness]'"),
    "transformers": ("the tests, which compare with it", "pip install 'inkling-lm[dev]'"),
}
LITTLE_DISK = 2e9  # a checkpoint of GPT-2's smallest size takes 1.5 GB


def check_core() -> list[Check]:
    """Every package that inkling always needs."""
    found = [_try_import("torch", "everything", "broken", "pip install torch")]
    found += [_try_import(name, use, "broken", "pip install inkling-lm") for name, use in CORE.items()]
    fine = [check for check in found if check.state == "ok"]
    summary = Check("packages", "ok", "all that inkling needs: " + ", ".join(check.what for check in fine))
    return [check for check in found if check.state != "ok"] or [summary]


def check_optional() -> list[Check]:
    """Packages that some switch needs."""
    return [_try_import(name, use, "note", remedy) for name, (use, remedy) in OPTIONAL.items()]


def _try_import(name: str, use: str, otherwise: Literal["note", "broken"], remedy: str) -> Check:
    """Import a package, because one that is installed may still be broken, and keep what it prints to itself."""
    quiet = io.StringIO()
    try:
        with redirect_stdout(quiet), redirect_stderr(quiet), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            return Check(name, otherwise, f"is not installed; it is for {use}", remedy)
        return Check(name, otherwise, f"is installed and broken: {first_line(error)}; it is for {use}", remedy)
    except (Exception, SystemExit) as error:
        return Check(name, otherwise, f"is installed and broken: {first_line(error)}; it is for {use}", remedy)
    return Check(name, "ok", f"{getattr(module, '__version__', 'installed')}, for {use}")


def check_cuda() -> Check:
    """Whether PyTorch can use the NVIDIA GPU that there may be."""
    import torch

    has_driver = bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if available:
        return Check("GPU", "ok", f"CUDA {torch.version.cuda}, {torch.cuda.device_count()} GPU(s)")
    if torch.version.cuda and has_driver:
        why = f" ({first_line(said[0].message)})" if said else ""
        return Check(
            "GPU",
            "note",
            f"PyTorch was built for CUDA {torch.version.cuda} and cannot use this machine's driver{why}",
            "Update the NVIDIA driver, or install a PyTorch built for an older CUDA.",
        )
    if has_driver:
        return Check(
            "GPU",
            "note",
            "there is an NVIDIA driver, but this PyTorch was built without CUDA",
            "Install PyTorch's CUDA build: https://pytorch.org/get-started/locally",
        )
    if torch.backends.mps.is_available():
        return Check("GPU", "ok", "Apple's, through MPS")
    return Check("GPU", "ok", "none, and none is needed")


def check_compiler() -> Check:
    """torch.compile on a CPU writes C++."""
    from inkling.runtime import RuntimeSettings, decide

    try:
        decide(RuntimeSettings(device="cpu", compile=True))
    except UserError as error:
        return Check("compiler", "note", "no C++ compiler, so CPU runs are eager and slower", error.remedy)
    return Check("compiler", "ok", "C++, for torch.compile")


def check_vocabulary() -> Check:
    """Whether tiktoken has GPT-2's two files already, where it keeps what it has fetched."""
    from inkling.text.gpt2 import SHA256, URL

    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    cache = Path(folder) if folder else Path(tempfile.gettempdir()) / "data-gym-cache"
    files = [cache / hashlib.sha1((URL + name).encode("utf-8")).hexdigest() for name in SHA256]
    if folder != "" and all(file.is_file() for file in files):
        return Check("GPT-2 vocabulary", "ok", f"in {cache}")
    return Check(
        "GPT-2 vocabulary",
        "note",
        f"is not in {cache}; the first use of GPT-2's tokens fetches it (1.5 MB)",
        "Without a network, bring vocab.bpe and encoder.json and give their folder with --tokenizer=FOLDER.",
    )


def check_folder() -> Check:
    """Data sets and runs are written below the current folder."""
    try:
        with tempfile.TemporaryFile(dir="."):
            pass
    except OSError as error:
        return Check(
            "folder", "broken", f"{Path.cwd()} cannot be written: {error.strerror}", "Go to a folder of yours."
        )
    return Check("folder", "ok", f"{Path.cwd()} can be written")


def check_disk() -> Check:
    free = free_disk()
    if free < LITTLE_DISK:
        return Check("disk", "note", f"only {gigabytes(free)} free here", "Checkpoints need room; see --keep_last.")
    return Check("disk", "ok", f"{gigabytes(free)} free here")


def check_threads(threads: int) -> Check:
    """In a container a process may use fewer cores than the machine has, and more threads than cores are slow."""
    allowed = allowed_cores()
    if threads > allowed:
        return Check("threads", "note", f"{threads}, but only {allowed} cores are allowed", f"Use --threads={allowed}.")
    return Check("threads", "ok", f"{threads}, on {allowed} allowed cores")


def check_dtype(chosen: str, speed: dict[str, float]) -> Check:
    """Whether what was measured agrees with the choice of dtype."""
    ratio = speed["bfloat16"] / speed["float32"]
    better = "bfloat16" if ratio > 1.3 else "float32"
    verdict = f"bfloat16 is {'fast' if ratio > 1.3 else 'not fast'} here, {ratio:.1f} times float32"
    # Half or twice is no doubt; between them a quick measurement proves nothing.
    if chosen in speed and chosen != better and not 0.5 < ratio < 2:
        remedy = f"Compare --dtype={better} with inkling bench."
        return Check("dtype", "note", f"{verdict}, yet {chosen} was chosen", remedy)
    return Check("dtype", "ok", verdict)


def allowed_cores() -> int:
    """Logical cores that this process may use: by its affinity, and by the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores


def free_disk() -> int:
    """Bytes that are free where data sets and runs are written."""
    return shutil.disk_usage(".").free


def gigabytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB"


def first_line(error: object) -> str:
    """What an error says, without the pages that some say."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
