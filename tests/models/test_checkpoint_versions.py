"""Checkpoints of every format version that ever was load and answer as they did when they were written."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from atomfield.models import checkpoint
from atomfield.models.config import FORMAT_VERSION, WITHOUT_TREES
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from tests.small import morse_clusters, waves

FOLDER = Path(__file__).parent.parent / "checkpoints"
VERSIONS = sorted(p.name for p in FOLDER.glob("v*"))


def test_there_is_one_of_each_version():
    assert f"v{FORMAT_VERSION}" in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_checkpoint_answers_as_it_did(version, tmp_path):
    folder = FOLDER / version
    assert sum(f.stat().st_size for f in folder.iterdir()) < 50_000
    written = json.loads((folder / "answers.json").read_text())
    for net in (
        checkpoint.load(folder),
        checkpoint.load(checkpoint.save(checkpoint.load(folder), tmp_path)),
    ):
        clusters = [replace(g, conditions={"charge": 0.0}) for g in morse_clusters(2)]
        batch = graphs_to_batch(net.config, clusters)
        atoms = net(batch, features=True)
        if net.uncertainty is not None:
            atoms |= net.uncertainty(atoms, batch, net.level_index(batch))
        field = net(graphs_to_batch(net.config, [waves(1)[0].snapshot(0)]))
        for name, expected in written.items():
            found = (atoms[name] if name in atoms else field[name][:8]).detach().double().numpy()
            np.testing.assert_allclose(found, np.array(expected), rtol=1e-4, atol=1e-6, err_msg=name)
    saved = json.loads((tmp_path / "config.json").read_text())["network"]
    assert saved["format_version"] == max(int(version[1:]), WITHOUT_TREES)


def test_the_layout_of_the_present_version_is_the_file_s():
    """Tensors that are renamed, added or reshaped need a new format version, and the old ones a way to be read."""
    folder = FOLDER / f"v{FORMAT_VERSION}"
    written = {
        n.removeprefix("net."): list(t.shape) for n, t in load_file(folder / "model.safetensors").items()
    }
    built = AtomFieldNet(checkpoint.read_config(folder)).state_dict()
    assert {name: list(tensor.shape) for name, tensor in built.items()} == written
