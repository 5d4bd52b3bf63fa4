"""Training checkpoints: complete or not there, never loaded when a byte differs, and the last good one outlives a full disk."""

import errno
import json
import random
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError

from atomfield.data.errors import InputError, RunError
from atomfield.pretrain import checkpoint
from atomfield.pretrain.ema import Ema


def make(folder, step, score=None):
    temporary = folder / f"step-{step:08d}.tmp"
    temporary.mkdir(parents=True)
    (temporary / "weights.bin").write_bytes(bytes(range(200)))
    (temporary / "trainer.json").write_text(json.dumps({"step": step, "score": score}))
    checkpoint.commit(temporary, folder / f"step-{step:08d}")
    return folder / f"step-{step:08d}"


def names(folder):
    return [p.name for p in checkpoint.complete(folder)]


def test_only_renamed_folders_count(tmp_path):
    make(tmp_path, 1)
    make(tmp_path, 12)
    (tmp_path / "step-00000013.tmp").mkdir()
    assert names(tmp_path) == ["step-00000001", "step-00000012"]
    checkpoint.verify(tmp_path / "step-00000012")
    checkpoint.remove_unfinished(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_any_flipped_bit_and_any_cut_is_found_and_the_file_is_named(tmp_path):
    make(tmp_path, 1)
    folder = make(tmp_path, 2)
    rng = random.Random(0)
    for file in sorted(folder.iterdir()):
        whole = file.read_bytes()
        for _ in range(40):
            data = bytearray(whole)
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            file.write_bytes(bytes(data))
            with pytest.raises(InputError, match=f"{file.name}: .*damaged") as caught:
                checkpoint.verify(folder)
            assert f"remove the folder {folder} to go on from {tmp_path / 'step-00000001'}" in str(
                caught.value
            )
        for size in rng.sample(range(len(whole)), 16):
            file.write_bytes(whole[:size])
            with pytest.raises(InputError, match=f"{file.name}: .*damaged"):
                checkpoint.verify(folder)
        file.unlink()
        with pytest.raises(InputError, match=f"{file.name}: the file is missing"):
            checkpoint.verify(folder)
        file.write_bytes(whole)
    checkpoint.verify(folder)


def test_a_path_outside_is_refused(tmp_path):
    folder = make(tmp_path, 1)
    (folder / "manifest.json").write_bytes(checkpoint._manifest({"../x": {"sha256": "0", "bytes": 1}}))
    with pytest.raises(InputError, match="outside"):
        checkpoint.verify(folder)


def test_the_best_stays_beside_the_last(tmp_path):
    for step, score in enumerate([3.0, 1.0, None, 2.0, 5.0, 4.0], 1):
        make(tmp_path, step, score)
        checkpoint.prune(tmp_path, keep_last=2, keep_best=1)
    assert names(tmp_path) == ["step-00000002", "step-00000005", "step-00000006"]
    checkpoint.prune(tmp_path, keep_last=1, keep_best=0)
    assert names(tmp_path) == ["step-00000006"]


def test_what_is_drawn_goes_on(tmp_path, monkeypatch):
    """Dropout in the heads of properties draws from torch's generator."""
    net = torch.nn.Linear(3, 2)
    ema = Ema(net, 0.9)
    monkeypatch.setattr(checkpoint, "whole_state", lambda engine: ({"a": torch.zeros(1)}, {}))
    monkeypatch.setattr(checkpoint, "load_whole_state", lambda *given: None)
    engine = SimpleNamespace(module=net)
    checkpoint.save(tmp_path, engine, ema, {"step": 1}, keep_last=1)
    drawn = torch.rand(4)
    folder = tmp_path / "step-00000001"
    checkpoint.load(folder, checkpoint.opened(folder), engine, ema)
    assert torch.equal(torch.rand(4), drawn)
    (folder / "random.safetensors").unlink()  # of an older version
    state = json.loads((folder / "trainer.json").read_text())
    checkpoint.load(folder, state, engine, ema)
    assert not torch.equal(torch.rand(4), drawn)


FULL = OSError(errno.ENOSPC, "No space left on device")
FULL_INSIDE = SafetensorError("I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("failure", [FULL, FULL_INSIDE, "checked before"])
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch, failure):
    net = torch.nn.Linear(3, 2)
    ema = Ema(net, 0.9)
    monkeypatch.setattr(
        checkpoint, "whole_state", lambda engine: ({f"{k}.weight": v for k, v in net.named_parameters()}, {})
    )
    checkpoint.save(tmp_path, None, ema, {"step": 1}, keep_last=1)
    if failure == "checked before":
        usage = type("Usage", (), {"free": 10})
        monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: usage)
    else:

        def full(tensors, path):
            path.write_bytes(b"half")
            raise failure

        monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(
        RunError, match=r"step-00000002: the disk is full .* the last good checkpoint is .*step-00000001"
    ):
        checkpoint.save(tmp_path, None, ema, {"step": 2}, keep_last=1)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    checkpoint.verify(tmp_path / "step-00000001")
