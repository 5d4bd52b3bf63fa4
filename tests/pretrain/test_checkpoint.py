"""Training checkpoints: complete or not there, and never loaded when a byte differs."""

import json

import pytest

from atomfield.data.errors import InputError
from atomfield.pretrain import checkpoint


def make(folder, step):
    temporary = folder / f"step-{step:08d}.tmp"
    temporary.mkdir(parents=True)
    (temporary / "weights.bin").write_bytes(bytes(range(200)))
    (temporary / "trainer.json").write_text(json.dumps({"step": step}))
    checkpoint.commit(temporary, folder / f"step-{step:08d}")


def test_only_complete_folders_count(tmp_path):
    make(tmp_path, 1)
    make(tmp_path, 12)
    (tmp_path / "step-00000013.tmp").mkdir()
    (tmp_path / "step-00000014").mkdir()
    assert [p.name for p in checkpoint.complete(tmp_path)] == ["step-00000001", "step-00000012"]
    checkpoint.verify(tmp_path / "step-00000012")


@pytest.mark.parametrize("position", [0, 57, 199])
def test_one_flipped_bit_is_found(tmp_path, position):
    make(tmp_path, 1)
    file = tmp_path / "step-00000001" / "weights.bin"
    data = bytearray(file.read_bytes())
    data[position] ^= 4
    file.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"weights\.bin: sha256 is"):
        checkpoint.verify(file.parent)


def test_a_missing_file_and_a_path_outside_are_refused(tmp_path):
    make(tmp_path, 1)
    folder = tmp_path / "step-00000001"
    (folder / "weights.bin").unlink()
    with pytest.raises(InputError, match="missing"):
        checkpoint.verify(folder)
    (folder / "manifest.json").write_text(json.dumps({"../x": {"sha256": "0"}}))
    with pytest.raises(InputError, match="outside"):
        checkpoint.verify(folder)
