"""A public checkpoint gives the same bits in a fresh process, through our loader and through transformers."""

import json
import subprocess
import sys

import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.models import checkpoint
from atomfield.models.network import graphs_to_batch
from tests.small import morse_clusters, small_network, waves

FRESH = """
import sys, torch, warnings
warnings.simplefilter("ignore")
from atomfield.models import checkpoint
from atomfield.models.network import graphs_to_batch
import atomfield.models.hub
from transformers import AutoModel
from tests.small import morse_clusters, waves
for net in (checkpoint.load(sys.argv[1]), AutoModel.from_pretrained(sys.argv[1]).net.eval()):
    atoms = net(graphs_to_batch(net.config, morse_clusters(2)))
    field = net(graphs_to_batch(net.config, [waves(1)[0].snapshot(0)]))
    values = [*atoms["energy"], *atoms["forces"].flatten(), *atoms["gap"], *field["concentration"]]
    print(" ".join(float(v.detach()).hex() for v in values))
"""


def outputs(net):
    atoms = net(graphs_to_batch(net.config, morse_clusters(2)))
    field = net(graphs_to_batch(net.config, [waves(1)[0].snapshot(0)]))
    values = [
        *atoms["energy"].detach(),
        *atoms["forces"].detach().flatten(),
        *atoms["gap"].detach(),
        *field["concentration"].detach(),
    ]
    return " ".join(float(v).hex() for v in values)


def test_a_fresh_process_computes_the_same_bits(tmp_path):
    net = small_network().eval()
    checkpoint.save(net, tmp_path / "model", "# card")
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(tmp_path / "model")], capture_output=True, text=True, check=True
    )
    ours, theirs = done.stdout.strip().splitlines()
    assert ours == outputs(net)
    assert theirs == ours


def test_every_constant_is_a_persistent_buffer():
    net = small_network(lmax=2)
    for name, module in net.named_modules():
        assert not module._non_persistent_buffers_set, name
        loose = [k for k, v in vars(module).items() if isinstance(v, torch.Tensor)]
        assert not loose, f"{name}: {loose} are plain attributes, which transformers leaves uninitialised"


def test_float64_is_exact_and_close_to_float32(tmp_path):
    net = small_network().eval()
    checkpoint.save(net, tmp_path / "model")
    double = checkpoint.load(tmp_path / "model", dtype=torch.float64)
    batch = graphs_to_batch(net.config, morse_clusters(1))
    assert double.dtype == torch.float64
    assert torch.allclose(net(batch)["energy"], double(batch)["energy"], rtol=1e-5)


@pytest.mark.parametrize(
    "damage", ["no folder", "no config", "bad json", "newer", "truncated weights", "other shapes"]
)
def test_damage_is_named(tmp_path, damage):
    folder = checkpoint.save(small_network(), tmp_path / "model")
    match damage:
        case "no folder":
            folder = tmp_path / "nothing"
        case "no config":
            (folder / "config.json").unlink()
        case "bad json":
            (folder / "config.json").write_text("{")
        case "newer":
            content = json.loads((folder / "config.json").read_text())
            content["network"]["format_version"] = 99
            (folder / "config.json").write_text(json.dumps(content))
        case "truncated weights":
            data = (folder / "model.safetensors").read_bytes()
            (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
        case "other shapes":
            content = json.loads((folder / "config.json").read_text())
            content["network"]["channels"] = 12
            (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        checkpoint.load(folder)
    assert str(folder.name) in str(caught.value) and "\n" not in str(caught.value)


def test_transformers_may_choose_a_precision_that_keeps_the_symmetries(tmp_path):
    from atomfield.models.hub import AtomFieldModel

    folder = checkpoint.save(small_network(), tmp_path / "model")
    model = AtomFieldModel.from_pretrained(folder, dtype=torch.float64)
    assert outputs(model.net) == outputs(checkpoint.load(folder, dtype=torch.float64))
    with pytest.raises(InputError, match="dtype is torch.bfloat16, expected float32 or float64"):
        AtomFieldModel.from_pretrained(folder, dtype=torch.bfloat16)
