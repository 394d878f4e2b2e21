"""The ways on GPUs, seen from a machine without one: what they would run, download and cost, and what they refuse."""

from dataclasses import replace
from pathlib import Path

import pytest

from inkling.model.cost import flops_per_token
from inkling.peak import published_peak
from inkling.stages.pipelines import gpu, outlook
from inkling.stages.pipelines.settings import SpeedrunSettings, settled
from inkling.stages.train_settings import compose

H100 = replace(gpu.IMAGINED, is_here=True)


@pytest.fixture
def no_gpu(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


def gpu_settings(machine="gpu", **given) -> SpeedrunSettings:
    return settled(SpeedrunSettings(**given), machine)


def test_a_dry_run_needs_no_gpu(no_gpu, inkling):
    status, out, err = inkling("speedrun", "gpu", "--dry_run", "--price_per_hour=3")
    assert status == 0, err
    assert "1 × NVIDIA H100 80GB, which is not here" in out
    assert "web text (FineWeb-Edu)" in out and "free" in out and "money, at 3 an hour" in out and "an estimate" in out
    assert "$ inkling train gpu --depth=12 --dataset=data/chatbot-gpu/fineweb_edu" in out
    assert "$ inkling evaluate runs/chatbot-gpu-base --tasks=bpb,core" in out
    assert not list(Path().iterdir()), "and nothing was made"
    status, out, err = inkling("speedrun", "8xh100", "--dry_run")
    assert status == 0, err
    assert "$ torchrun --standalone --nproc_per_node=8 -m inkling train gpu --depth=20" in out
    assert "$ torchrun --standalone --nproc_per_node=8 -m inkling sft runs/chatbot-8xh100-base" in out
    assert "money" not in out


def test_without_gpus_it_is_refused(no_gpu, inkling, monkeypatch):
    status, _, err = inkling("speedrun", "gpu", "--yes")
    assert status == 1 and "needs 1 GPU that PyTorch can use; it sees 0" in err and "--dry_run" in err
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    status, _, err = inkling("speedrun", "8xh100", "--yes")
    assert status == 1 and "needs 8 GPUs that PyTorch can use; it sees 2" in err and "or speedrun gpu" in err


def test_it_asks_before_it_downloads(no_gpu, inkling, monkeypatch):
    monkeypatch.setattr(gpu, "find_machine", lambda count: H100)
    monkeypatch.setattr(outlook, "free_space", lambda folder: 10**12)
    followed = []
    monkeypatch.setattr("inkling.stages.speedrun.follow", lambda pipeline: followed.append(pipeline) or [])
    status, _, err = inkling("speedrun", "gpu")
    assert status == 1 and "Add --yes" in err and not followed
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    status, _, err = inkling("speedrun", "gpu")
    assert status == 1 and "Not begun" in err and not followed
    monkeypatch.setattr("inkling.stages.speedrun.converse", lambda settings: None)
    monkeypatch.setattr("inkling.stages.speedrun.report.main", lambda run, settings: None)
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert inkling("speedrun", "gpu")[0] == 0 and len(followed) == 1
    monkeypatch.setattr(outlook, "free_space", lambda folder: 10**9)
    status, _, err = inkling("speedrun", "gpu", "--yes")
    assert status == 1 and "of disk; 1.0 GB are free" in err and len(followed) == 1


def test_every_stage_says_what_it_reads_and_makes():
    for machine, count in (("gpu", 1), ("8xh100", 8)):
        settings = gpu_settings(machine)
        plan = gpu.plan(settings, replace(H100, count=count), machine)
        made = set()
        for stage in plan.stages:
            assert set(stage.reads) <= made, stage.title
            made.add(stage.makes)
            assert stage.processes == (count if stage.is_training else 1)
        assert plan.stages[-1].makes.parts[:2] == ("runs", settings.name)
        assert plan.again == f"inkling speedrun {machine}"
    assert sum(gpu.MIXTURE.values()) == pytest.approx(1)


def test_the_words_of_trainings_are_understood():
    stages = gpu.plan(gpu_settings(), H100, "gpu").stages
    train = next(stage for stage in stages if stage.words[0] == "train")
    given = dict(word[2:].split("=", 1) for word in train.words[2:])
    settings, origins, _ = compose([train.words[1]], given)
    assert settings.model.n_layer == 12 and settings.model.n_embd == 768 and origins["n_layer"].startswith("dial")


def test_time_is_flops_by_the_peak_and_the_share():
    settings = gpu_settings(price_per_hour=2.0)
    wanted = gpu.pretraining(settings, H100)
    found = outlook.reckon(settings, wanted, H100)
    tokens = wanted.loop.max_iters * wanted.data.tokens_per_step
    peak = published_peak("NVIDIA H100 80GB", "bfloat16")
    assert peak == 989e12
    expected = tokens * flops_per_token(wanted.model.filled()) / peak / outlook.MFU
    assert found.seconds["reading (GPU)"] == pytest.approx(expected)
    eight = outlook.reckon(settings, wanted, replace(H100, count=8))
    assert eight.seconds["reading (GPU)"] == pytest.approx(expected / 8)
    assert found.tokens == pytest.approx(20 * (12 * 12 * 768**2 + 32768 * 768), rel=0.01)


def test_an_unknown_gpu_has_no_time(capsys):
    settings = gpu_settings(price_per_hour=2.0)
    machine = replace(H100, name="Graphics 9000")
    found = outlook.reckon(settings, gpu.pretraining(settings, machine), machine)
    assert found.seconds is None and found.hours is None
    outlook.show(found, settings, machine)
    out = capsys.readouterr().out
    assert "time: cannot be said, because the peak of Graphics 9000" in out and "money" not in out


def test_rows_fit_the_memory():
    wanted = compose([gpu.RECIPE], {"depth": "12", "vocab_size": "32768"})[0]
    rows = [gpu.rows_that_fit(wanted, gigabytes * 10**9) for gigabytes in (1, 16, 24, 80, 141)]
    assert rows == sorted(rows) and rows[0] == 1 and 4 <= rows[3] <= 32
    assert gpu.pretraining(gpu_settings(batch_size=4), H100).data.batch_size == 4


def test_programs_of_the_model_run_only_when_asked():
    words = {allow: gpu.plan(gpu_settings(allow_python=allow), H100, "gpu").stages[-1].words for allow in (False, True)}
    assert "--allow_python" not in words[False] and "humaneval" not in str(words[False])
    assert words[True][2:4] == ("--tasks=chatcore", "--allow_python")
