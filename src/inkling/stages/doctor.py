"""`inkling doctor`: what this machine has, what inkling will use of it and why, and what is missing."""

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from inkling.errors import UserError
from inkling.peak import measure_peak
from inkling.settings import Layer, build
from inkling.stages.checkup import (
    Check,
    check_compiler,
    check_core,
    check_cuda,
    check_disk,
    check_dtype,
    check_folder,
    check_optional,
    check_threads,
    check_vocabulary,
    first_line,
    free_disk,
    gigabytes,
)

if TYPE_CHECKING:  # a doctor must start where psutil or torch is what is broken
    from inkling.runtime import Runtime


@dataclass(frozen=True)
class DoctorSettings:
    """doctor"""

    json: bool = False
    """end with everything as one JSON object, on a line of its own"""


SETTINGS = DoctorSettings
DESCRIPTION = """Look at this machine: inkling doctor [--json]

What it has, what inkling will choose and why, what is missing, and a measurement of a few milliseconds whether
bfloat16 is fast here. The exit status is 0 unless something that inkling cannot work without is broken."""

QUICK_SIZE = 1024


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if positional:
        raise UserError(f"doctor takes no name, not {positional[0]!r}.", "Say only: inkling doctor", status=2)
    settings, _ = build(DoctorSettings, [Layer("flag", flags)])
    main(settings)


def main(settings: DoctorSettings) -> dict[str, Any]:
    """Look, print, and return what was found. Raises UserError, after printing, when something is broken."""
    checks = [*check_core(), *check_optional(), check_vocabulary(), check_folder(), check_disk()]
    found: dict[str, Any] = {"machine": look_at_machine(), "choices": [], "speed": {}}
    say_machine(found["machine"])
    if not any(check.state == "broken" and check.what in ("torch", "psutil") for check in checks):
        checks += [check_cuda(), check_compiler()]
        try:
            runtime = choose()
            found |= {"choices": reasons(runtime), "speed": quick_speed(runtime)}
            checks += [check_threads(runtime.threads), check_dtype(runtime.dtype, found["speed"])]
        except Exception as error:  # a driver or a kernel that fails, in whatever way it does
            checks.append(Check("device", "broken", f"using it failed: {first_line(error)}", "Try --device=cpu."))
    say_choices(found["choices"], found["speed"])
    say_checks(checks)
    found["checks"] = [asdict(check) for check in checks]
    broken = [check.what for check in checks if check.state == "broken"]
    found["ok"] = not broken
    if settings.json:
        print(json.dumps(found))
    if broken:
        raise UserError(f"inkling cannot work here: {', '.join(broken)}.", "The lines marked broken say what to do.")
    return found


# --- what the machine has ------------------------------------------------------------------------------------


def look_at_machine() -> dict[str, Any]:
    """Hardware and versions, as far as they can be found out."""
    facts: dict[str, Any] = {"system": platform.platform(), "python": platform.python_version()}
    facts["disk_free_bytes"] = free_disk()
    try:
        import torch

        from inkling.runtime import describe_machine

        facts |= describe_machine()
        facts["torch_cuda"] = torch.version.cuda
        facts["avx512_bf16"] = bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())
        facts["gpus"] = [
            {"name": properties.name, "memory_bytes": properties.total_memory}
            for properties in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        ]
    except Exception as error:
        facts["torch"] = f"cannot be used: {first_line(error)}"
    return facts


def choose() -> "Runtime":
    """What inkling would decide for a long run that says nothing."""
    from inkling.runtime import RuntimeSettings, decide

    return decide(RuntimeSettings(), cpu_seconds=float("inf"))


def reasons(runtime: "Runtime") -> list[str]:
    """The decisions, each with why."""
    return [*runtime.reasons, f"threads {runtime.threads}: the physical cores"]


def quick_speed(runtime: "Runtime") -> dict[str, float]:
    """Operations a second of square products, in float32 and bfloat16: quick, so rough."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(runtime.threads)
    speeds = {dtype: measure_peak(runtime.device, dtype, (QUICK_SIZE,), 0.05) for dtype in ("float32", "bfloat16")}
    torch.set_num_threads(threads)
    return speeds


# --- what is shown -------------------------------------------------------------------------------------------

STYLES = {"ok": "green", "note": "yellow", "broken": "bold red"}


def say_machine(facts: dict[str, Any]) -> None:
    """What there is."""
    _title("this machine")
    _say("system", facts["system"])
    _say("Python", facts["python"])
    build = facts.get("torch_cuda")
    _say("PyTorch", str(facts.get("torch")) + (f", built for CUDA {build}" if build else ""))
    if "cpu" in facts:
        fast = [name for name, there in (("AMX", facts["amx"]), ("AVX512-BF16", facts.get("avx512_bf16"))) if there]
        _say("CPU", f"{facts['cpu']}, {facts['cores']} cores, {facts['cpu_capability']}")
        _say("bfloat16", f"in hardware: {', '.join(fast)}" if fast else "not in this CPU's hardware")
        _say("memory", gigabytes(facts["memory_bytes"]))
    for gpu in facts.get("gpus", []):
        _say("GPU", f"{gpu['name']}, {gigabytes(gpu['memory_bytes'])}")


def say_choices(why: list[str], speed: dict[str, float]) -> None:
    """What will be used."""
    if not why:
        return
    _title("what inkling chooses for a long run")
    for reason in why:  # "dtype float32: because ..." and "compile: on, because ..."
        decision, _, because = reason.partition(": ")
        name, _, value = decision.partition(" ")
        _say(name, f"{value}: {because}" if value else because)
    measured = ", ".join(f"{name} {flops / 1e9:,.0f} GFLOP/s" for name, flops in speed.items())
    _say("measured", f"{measured} (a product of {QUICK_SIZE} × {QUICK_SIZE}; quick and rough)")


def say_checks(checks: list[Check]) -> None:
    """What is well, what is missing, and what to do."""
    _title("what there is to know")
    for check in checks:
        remedy = f". {check.remedy}" if check.remedy else ""
        _say(check.state, f"{check.what}: {check.says}{remedy}", STYLES[check.state])


def _title(text: str) -> None:
    _print(text, "bold")


def _say(label: str, text: str, style: str = "cyan") -> None:
    _print(f"  {label:<10}", style, text)


def _print(label: str, style: str, text: str = "") -> None:
    """A line whose beginning has a colour, where there are colours and rich is there to make them."""
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        print(label + text)
        return
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:
        print(label + text)
        return
    Console(highlight=False, soft_wrap=True).print(Text.assemble((label, style), text))
