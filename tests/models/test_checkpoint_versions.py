"""Checkpoints of every format version that ever was load and answer as they did when they were written."""

import json
from pathlib import Path

import numpy as np
import pytest

from atomfield.models import checkpoint
from atomfield.models.config import FORMAT_VERSION
from atomfield.models.network import graphs_to_batch
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
        atoms = net(graphs_to_batch(net.config, morse_clusters(2)))
        field = net(graphs_to_batch(net.config, [waves(1)[0].snapshot(0)]))
        for name, expected in written.items():
            found = (atoms[name] if name in atoms else field[name][:8]).detach().double().numpy()
            np.testing.assert_allclose(found, np.array(expected), rtol=1e-4, atol=1e-6, err_msg=name)
    saved = json.loads((tmp_path / "config.json").read_text())["network"]
    assert saved["format_version"] == FORMAT_VERSION
