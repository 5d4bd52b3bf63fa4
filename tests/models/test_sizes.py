"""The dial: names, names with exceptions, the control, and mistakes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from atomfield.config import load_config
from atomfield.data.errors import InputError
from atomfield.finetune.config import FinetuneConfig
from atomfield.models.config import NetworkConfig
from atomfield.models.network import AtomFieldNet
from atomfield.models.sizes import SIZES, NetworkSize, network_size
from atomfield.pretrain.config import PretrainConfig

RUN = {"from": "scratch", "train": ["a"], "target": ["energy"]}


def test_sizes_grow():
    counts = []
    for name in SIZES[:3]:
        net = AtomFieldNet(NetworkConfig(**network_size(name).hyperparameters(), levels=("a",)))
        counts.append(sum(p.numel() for p in net.parameters()))
    assert counts == sorted(counts)
    assert network_size("l").layers >= network_size("m").layers >= network_size("s").layers


def test_s_is_the_default():
    assert network_size("s") == NetworkSize()
    assert NetworkConfig(**NetworkSize().hyperparameters()) == NetworkConfig()


@pytest.mark.parametrize("given", ["m", {"size": "m"}, {"size": "m", "channels": 64}])
def test_a_name_stands_for_its_numbers(given):
    assert FinetuneConfig.model_validate({**RUN, "network": given}).network == network_size("m")


def test_what_is_given_wins_and_survives_a_round_trip():
    size = NetworkSize.model_validate({"size": "m", "channels": 48})
    assert (size.channels, size.layers) == (48, network_size("m").layers)
    assert NetworkSize.model_validate(size.model_dump()) == size


def test_the_control_has_scalars_only():
    size = NetworkSize.model_validate({"size": "m", "symmetry": "none"})
    assert (size.lmax, size.channels_unnatural, size.channels) == (0, 0, network_size("m").channels)
    with pytest.raises(ValidationError, match="leave out lmax"):
        NetworkSize.model_validate({"symmetry": "none", "lmax": 2})
    with pytest.raises(ValidationError, match="expected 0 and 0"):
        NetworkConfig(symmetry="none")


@pytest.mark.parametrize(
    ("text", "said"),
    [("xl", "'xs', 's', 'm' or 'l' (found 'xl')"), ("{size: s, chanels: 4}", "did you mean 'channels'?")],
)
def test_mistakes_are_named(tmp_path, text, said):
    file = tmp_path / "run.yaml"
    file.write_text(f"streams:\n  - source: starter/molecules\nnetwork: {text}\n")
    with pytest.raises(InputError) as caught:
        load_config(PretrainConfig, file)
    assert said in str(caught.value) and f"{file}:3" in str(caught.value)


def test_options_set_it():
    config = load_config(FinetuneConfig, None, ["network.symmetry=none"], {**{k: (k, v) for k, v in RUN.items()},
                                                                            "network.size": ("--size", "m")})  # fmt: skip
    assert (config.network.size, config.network.lmax, config.network.layers) == (
        "m",
        0,
        network_size("m").layers,
    )
