"""Checkpoints are there whole or not at all, and damage is noticed."""

import errno
import json

import pytest
import torch

from inkling.errors import UserError
from inkling.train import checkpoint
from inkling.train.checkpoint import (
    clear_unfinished,
    discard_after,
    load_best,
    load_latest,
    read_index,
    save_checkpoint,
    save_snapshot,
    verify,
)


def save(run, step, val_loss=None, keep_last=2):
    weights = {"w": torch.full((3, 4), float(step))}
    state = {"step": step} | ({} if val_loss is None else {"val_loss": val_loss})
    return save_checkpoint(run, state, weights, {"w/exp_avg": torch.ones(3, 4)}, keep_last)


def test_round_trip_and_index(tmp_path):
    path = save(tmp_path, 5, 1.5)
    found = load_latest(tmp_path)
    assert found.step == 5 and torch.equal(found.model_tensors()["w"], torch.full((3, 4), 5.0))
    assert torch.equal(found.optimizer_tensors()["w/exp_avg"], torch.ones(3, 4))
    assert sorted(p.name for p in path.iterdir()) == [
        "manifest.json",
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]
    index = json.loads((tmp_path / "checkpoints" / "index.json").read_text(encoding="utf-8"))
    assert index["last"] == index["best"] == 5 and index["kept"] == [5]


def test_the_best_is_never_overwritten_by_worse(tmp_path):
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 2.5), (5, 2.2), (6, None)):
        save(tmp_path, step, loss)
    assert read_index(tmp_path) == {"last": 6, "best": 2, "best_val_loss": 1.0, "kept": [2, 5, 6], "snapshots": []}
    assert load_best(tmp_path).step == 2 and load_latest(tmp_path).step == 6


def test_a_loss_that_is_no_number_is_not_the_best(tmp_path):
    save(tmp_path, 1, float("nan"))
    assert read_index(tmp_path)["best"] is None
    save(tmp_path, 2, 3.0)
    assert read_index(tmp_path)["best"] == 2 and read_index(tmp_path)["best_val_loss"] == 3.0


def test_snapshots_stay_beside_checkpoints(tmp_path):
    for step in range(1, 6):
        save_snapshot(tmp_path, {"step": step}, {"w": torch.zeros(2)})
        save(tmp_path, step, 1.0 / step)
    assert read_index(tmp_path)["snapshots"] == [1, 2, 3, 4, 5] and read_index(tmp_path)["kept"] == [4, 5]
    assert verify(tmp_path / "checkpoints" / "weights-000003").step == 3


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["cut", "alter", "remove"])
def test_damage_is_named_and_the_one_before_is_used(tmp_path, file, harm):
    save(tmp_path, 5)
    victim = save(tmp_path, 10) / file
    content = victim.read_bytes()
    if harm == "cut":
        victim.write_bytes(content[:-7])
    elif harm == "alter":
        victim.write_bytes(content[:10] + bytes([content[10] ^ 1]) + content[11:])
    else:
        victim.unlink()
    said = []
    assert load_latest(tmp_path, said.append).step == 5
    assert "step-000010" in said[0] and "damaged" in said[0]
    discard_after(tmp_path, 5)
    assert read_index(tmp_path)["kept"] == [5]


def test_all_damaged_is_an_error_and_none_is_none(tmp_path):
    assert load_latest(tmp_path) is None
    (save(tmp_path, 5) / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="Every checkpoint"):
        load_latest(tmp_path, lambda _: None)


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    save(tmp_path, 5)

    def refuse(tensors, path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", refuse)
    with pytest.raises(
        UserError, match=r"no space left on the disk.\nThe last good checkpoint is step 5. Free some space"
    ):
        save(tmp_path, 10)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir() if p.is_dir()] == ["step-000005"]
    assert load_latest(tmp_path).step == 5


def test_leftovers_of_a_kill_are_ignored_and_cleared(tmp_path):
    save(tmp_path, 5)
    half = tmp_path / "checkpoints" / ".step-000010"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert load_latest(tmp_path).step == 5
    clear_unfinished(tmp_path)
    assert not half.exists()


def test_saving_a_step_again_replaces_it(tmp_path):
    save(tmp_path, 5, 2.0)
    save(tmp_path, 5, 1.0)
    assert read_index(tmp_path)["best_val_loss"] == 1.0
