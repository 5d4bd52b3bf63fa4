"""Which level answers where none is named: the default for molecules, the one that knows the elements for crystals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

import atomfield
from atomfield.data.errors import InputError
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.convert import graph_from_atoms
from atomfield.inference.predict import embed_graphs, predict_graphs
from atomfield.inference.together import relax_many
from atomfield.models.network import AtomFieldNet
from tests.small import small_network

LEVELS = ("gas", "metals", "salts", "shapes", "flow")


@pytest.fixture(scope="module")
def net() -> AtomFieldNet:
    """H, C, Na, Cl at ``gas``; Cu, Au, Na at ``metals``; Na, Cl, Au at ``salts``; ``shapes`` has no energies."""
    made = small_network(levels=LEVELS).eval()
    made.config = made.config.model_copy(update={"crystal_levels": ("metals", "salts", "shapes")})
    with torch.no_grad():
        made.atom_head.reference.zero_()
        for level, known in {"gas": (1, 6, 11, 17), "metals": (29, 79, 11), "salts": (11, 17, 79)}.items():
            made.atom_head.reference[LEVELS.index(level), list(known)] = -1.0
    return made


def methane_pair() -> Atoms:
    return Atoms("CH", [[0, 0, 0], [0, 0, 1.1]])


def salt() -> Atoms:
    return bulk("NaCl", "rocksalt", a=5.6)


def answering(net: AtomFieldNet, atoms: Atoms, level: str = "") -> str:
    atoms = atoms.copy()
    atoms.calc = AtomFieldCalculator(net, level=level)
    atoms.get_potential_energy()
    return atoms.calc.answering_level


def test_molecules_are_answered_by_the_default_and_crystals_by_their_elements(net: AtomFieldNet) -> None:
    assert answering(net, methane_pair()) == "gas"
    assert answering(net, bulk("Cu")) == "metals"
    assert answering(net, salt()) == "salts"
    assert answering(net, salt(), level="gas") == "gas"
    moved = salt()
    moved.calc = AtomFieldCalculator(net)
    moved.get_potential_energy()
    moved.pbc = False
    moved.get_potential_energy()
    assert moved.calc.answering_level == "gas"


def test_several_levels_are_told_and_so_is_none(net: AtomFieldNet) -> None:
    with pytest.raises(
        InputError, match="several levels of theory know a crystal of Au: metals, salts; choose one"
    ):
        answering(net, bulk("Au"))
    with pytest.raises(
        InputError,
        match="no level of theory knows a crystal of C: metals has not seen C; salts has not seen C",
    ):
        answering(net, bulk("C"))
    with pytest.raises(
        InputError, match=r"has not seen Cu \(atom 0\).*a level that knows all elements \(metals\)"
    ):
        answering(net, Atoms("Cu"))


def test_pairs_of_elements_decide_where_they_are_known(net: AtomFieldNet) -> None:
    config = net.config
    try:
        pairs = {"metals": ("Cu", "Au", "Cu-Au"), "salts": ("Na-Cl",)}
        net.config = config.model_copy(update={"element_pairs": tuple(pairs.items())})
        assert answering(net, bulk("Au")) == "metals"  # salts know gold, but nothing pure
        assert answering(net, bulk("Na")) == "metals"  # which know other pure metals
        assert answering(net, salt()) == "salts"
        with pytest.raises(
            InputError, match="crystal of Cl: metals has not seen Cl; salts has not seen Cl alone"
        ):
            answering(net, bulk("Cl", "fcc", a=5))
        with pytest.raises(
            InputError, match="crystal of Na, Au: metals has not seen Na-Au; salts has not seen Na-Au"
        ):
            answering(net, bulk("NaAu", "rocksalt", a=6))
    finally:
        net.config = config


def test_the_default_wins_where_it_is_for_crystals(net: AtomFieldNet) -> None:
    config = net.config
    try:
        net.config = config.model_copy(update={"default_level_atoms": "salts"})
        assert answering(net, bulk("Au")) == "salts"
        net.config = config.model_copy(update={"crystal_levels": ()})
        assert answering(net, salt()) == "gas"  # a finetuned network: one level for everything
    finally:
        net.config = config


def test_every_door_chooses_alike(net: AtomFieldNet) -> None:
    unnamed, named = graph_from_atoms(salt()), graph_from_atoms(salt(), level="salts")
    expected = predict_graphs(net, [named])[0]
    atoms = salt()
    atoms.calc = AtomFieldCalculator(net)
    assert atoms.get_potential_energy() == pytest.approx(float(expected["energy"]), rel=1e-6)
    for found in (predict_graphs(net, [unnamed])[0], atomfield.Model(net).predict([salt()])[0]):
        assert float(found["energy"]) == float(expected["energy"])
    features = [embed_graphs(net, [g])[0]["invariant"] for g in (unnamed, named)]
    np.testing.assert_array_equal(*features)
    assert embed_graphs(
        net, [graph_from_atoms(bulk(name)) for name in ("Au", "C")]
    )  # several know it, none does
    assert len({relax_many(net, [g], steps=1)[0].energy for g in (unnamed, named)}) == 1
