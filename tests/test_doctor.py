"""The verb `doctor`: a report that never fails because of what it looks for."""

import json
import sys

import pytest
import torch

from inkling.stages import checkup, doctor


def look(inkling, *words: str) -> tuple[int, str, dict]:
    """Exit status, output and JSON of `inkling doctor`."""
    status, out, err = inkling("doctor", "--json", *words)
    assert "Traceback" not in err
    return status, out, json.loads(out.splitlines()[-1])


def finding(found: dict, what: str) -> dict:
    return next(check for check in found["checks"] if check["what"] == what)


@pytest.fixture
def quickly(monkeypatch):
    """Without the optional packages, whose loading takes seconds."""
    monkeypatch.setattr(checkup, "OPTIONAL", {})


def test_a_healthy_machine(inkling, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, found = look(inkling)
    assert status == 0 and found["ok"]
    for title in ("this machine", "what inkling chooses", "what there is to know"):
        assert title in out
    assert found["machine"]["torch"] == torch.__version__ and found["machine"]["memory_bytes"] > 1e8
    assert any(choice.startswith("dtype ") for choice in found["choices"])
    assert set(found["speed"]) == {"float32", "bfloat16"} and min(found["speed"].values()) > 0
    assert "bfloat16 is" in finding(found, "dtype")["says"]
    assert finding(found, "packages")["state"] == "ok"
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


def test_optional_packages_may_be_absent_or_broken(inkling, tmp_path, monkeypatch):
    for name, source in {
        "broken_one": "raise RuntimeError('built for another Python')",
        "broken_two": "import a_part_that_is_missing",
        "broken_three": "import sys; print('noise'); sys.exit(3)",
    }.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ("absent_one", "broken_one", "broken_two", "broken_three")
    monkeypatch.setattr(checkup, "OPTIONAL", dict.fromkeys(names, ("a picture", "pip install it")))
    status, out, found = look(inkling)
    assert status == 0 and "noise" not in out
    assert "is not installed; it is for a picture" in finding(found, "absent_one")["says"]
    assert "built for another Python" in finding(found, "broken_one")["says"]
    assert "a_part_that_is_missing" in finding(found, "broken_two")["says"]
    assert all(finding(found, name)["state"] == "note" for name in names)


def test_a_broken_core_package_is_an_error(inkling, monkeypatch, quickly):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    status, _, found = look(inkling)
    assert status == 1 and not found["ok"]
    assert finding(found, "safetensors")["state"] == "broken"


def test_without_torch_it_still_reports(inkling, monkeypatch, quickly):
    monkeypatch.setitem(sys.modules, "torch", None)
    status, out, found = look(inkling)
    assert status == 1 and finding(found, "torch")["state"] == "broken"
    assert found["choices"] == [] and "cannot be used" in out


def test_a_folder_that_cannot_be_written(inkling, monkeypatch, quickly):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checkup.tempfile, "TemporaryFile", refuse)
    status, _, found = look(inkling)
    assert status == 1 and "Permission denied" in finding(found, "folder")["says"]


def test_a_device_that_fails_in_use(inkling, monkeypatch, quickly):
    def fail(runtime):
        raise RuntimeError("CUDA error: no kernel image is available\nmore lines")

    monkeypatch.setattr(doctor, "quick_speed", fail)
    status, _, found = look(inkling)
    assert status == 1 and finding(found, "device")["says"].endswith("no kernel image is available")


def test_no_compiler_means_eager(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    check = checkup.check_compiler()
    assert check.state == "note" and "eager" in check.says and "Install g++" in check.remedy


def test_a_gpu_that_torch_cannot_use(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(checkup.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "cannot use this machine's driver" in checkup.check_cuda().says
    monkeypatch.setattr(torch.version, "cuda", None)
    check = checkup.check_cuda()
    assert check.state == "note" and "without CUDA" in check.says


def test_the_gpt2_vocabulary(monkeypatch, tmp_path):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert checkup.check_vocabulary().state == "note"
    # The names that tiktoken gives to the two files in its cache.
    for name in ("6d1cbeee0f20b3d9449abfede4726ed8212e3aee", "6c7ea1a7e38e3a7f062df639a5b80947f075ffe6"):
        (tmp_path / name).touch()
    assert checkup.check_vocabulary().state == "ok"


def test_cores_and_dtype(monkeypatch):
    monkeypatch.setattr(checkup, "allowed_cores", lambda: 2)
    assert checkup.check_threads(8).remedy == "Use --threads=2."
    assert checkup.check_threads(2).state == "ok"
    assert checkup.check_dtype("float32", {"float32": 1e11, "bfloat16": 5e11}).state == "note"
    assert checkup.check_dtype("bfloat16", {"float32": 1e11, "bfloat16": 5e11}).state == "ok"
    assert checkup.check_dtype("bfloat16", {"float32": 5e11, "bfloat16": 1e11}).state == "note"
    assert checkup.check_dtype("float32", {"float32": 1e11, "bfloat16": 1.6e11}).state == "ok", "too close to say"


def test_little_disk_is_a_note(monkeypatch):
    monkeypatch.setattr(checkup, "free_disk", lambda: 1_000_000)
    assert checkup.check_disk().state == "note"


def test_doctor_takes_no_name(inkling):
    status, _, err = inkling("doctor", "me")
    assert status == 2 and "no name" in err
