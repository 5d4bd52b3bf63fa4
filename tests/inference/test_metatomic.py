"""The metatomic model gives the network's numbers in metatomic's own calculator."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from atomfield.data.errors import InputError
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.metatomic import export_metatomic
from atomfield.models.network import AtomFieldNet
from tests.small import small_network

pytest.importorskip("metatomic.torch")
pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # torch says of TorchScript that it grows old; metatomic is made of it


@pytest.fixture(scope="module")
def net() -> AtomFieldNet:
    net = small_network(
        layers=2, lmax=2, channels=4, channels_unnatural=2, cutoff=4.0, priors=("zbl",)
    ).double()
    net.atom_head.reference[0, [1, 6, 8]] = torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64)
    return net


@pytest.fixture(scope="module")
def file(net: AtomFieldNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_metatomic(net, tmp_path_factory.mktemp("metatomic") / "model.pt")


def calculator(file: Path):
    from metatomic_ase import MetatomicCalculator

    return MetatomicCalculator(file, check_consistency=True, device="cpu")


def structures() -> list[Atoms]:
    """A molecule, a skewed crystal, a slab, atoms too far apart for pairs, and one atom whose neighbours are its images."""
    random = np.random.default_rng(3)
    cell = np.array([[4.0, 0, 0], [1.0, 4.5, 0], [0.3, -0.4, 5.0]])
    return [
        Atoms("CH3O", random.uniform(0, 3.0, (5, 3))),
        Atoms("C6O3", random.uniform(0, 1, (9, 3)) @ cell, cell=cell, pbc=True),
        Atoms(
            "C2O",
            random.uniform(0, 1, (3, 3)) @ cell,
            cell=[cell[0], cell[1], [0, 0, 0]],
            pbc=[True, True, False],
        ),
        Atoms("HO", [[0, 0, 0], [0, 0, 30.0]]),
        Atoms("C", cell=cell, pbc=True),
    ]


@pytest.mark.parametrize("which", range(5))
def test_it_gives_the_networks_numbers(net: AtomFieldNet, file: Path, which: int) -> None:
    atoms = structures()[which]
    theirs, ours = atoms.copy(), atoms.copy()
    theirs.calc, ours.calc = calculator(file), AtomFieldCalculator(net)
    assert theirs.get_potential_energy() == pytest.approx(ours.get_potential_energy(), abs=1e-10)
    np.testing.assert_allclose(theirs.get_forces(), ours.get_forces(), atol=1e-10)
    assert theirs.get_potential_energies().sum() == pytest.approx(ours.get_potential_energy(), abs=1e-10)
    if atoms.pbc.all():
        np.testing.assert_allclose(theirs.get_stress(), ours.get_stress(), atol=1e-10)


def test_single_precision_weights(net: AtomFieldNet, tmp_path: Path) -> None:
    file = export_metatomic(net, tmp_path / "single.pt", dtype=torch.float32)
    for atoms in structures()[:2]:
        theirs, ours = atoms.copy(), atoms.copy()
        theirs.calc, ours.calc = calculator(file), AtomFieldCalculator(net, dtype="float32")
        scale = np.abs(ours.get_forces()).max()
        np.testing.assert_allclose(theirs.get_forces(), ours.get_forces(), atol=1e-5 * scale)


def test_several_systems_at_once_and_some_of_the_atoms(net: AtomFieldNet, file: Path) -> None:
    from metatensor.torch import Labels
    from metatomic.torch import ModelOutput

    found = calculator(file).compute_energy(structures(), compute_forces_and_stresses=True)
    for atoms, energy, forces in zip(structures(), found["energy"], found["forces"], strict=True):
        atoms.calc = AtomFieldCalculator(net)
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-10)
    whole = calculator(file)
    atoms = structures()[1]
    atoms.calc = whole
    each = atoms.get_potential_energies()
    own = Labels(["system", "atom"], torch.tensor([[0, 2], [0, 7]], dtype=torch.int32))
    answer = whole.run_model(atoms, {"energy": ModelOutput(unit="eV", sample_kind="system")}, own)
    assert float(answer["energy"].block().values) == pytest.approx(each[[2, 7]].sum(), abs=1e-10)


def test_a_path_is_that_of_our_calculator(net: AtomFieldNet, file: Path) -> None:
    paths = []
    for calc in (calculator(file), AtomFieldCalculator(net)):
        atoms = structures()[1]
        atoms.calc = calc
        VelocityVerlet(atoms, 0.1 * units.fs).run(100)
        paths.append((atoms.positions, atoms.get_total_energy()))
    np.testing.assert_allclose(paths[0][0], paths[1][0], atol=1e-6)
    assert paths[0][1] == pytest.approx(paths[1][1], abs=1e-6)


def test_what_is_pickled_is_what_the_format_asks_for(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        names = {Path(n).name for n in archive.namelist() if n.endswith((".pkl", ".pickle"))}
        assert names == {"data.pkl", "constants.pkl"}


def test_what_it_refuses(net: AtomFieldNet, file: Path, tmp_path: Path) -> None:
    strange = Atoms("XeH", [[0, 0, 0], [0, 0, 2]])
    strange.calc = calculator(file)
    with pytest.raises(ValueError, match="does not support the atomic type '54'"):
        strange.get_potential_energy()
    crystals = small_network(levels=("gas", "solid"), cutoff=4.0, layers=1, correlation=1).double()
    crystals.config = crystals.config.model_copy(update={"crystal_levels": ("solid",)})
    crystals.atom_head.reference[:, [1, 6, 8]] = -1.0
    molecule, crystal = structures()[:2]
    for level, answers in (("", False), ("solid", True)):
        calc = calculator(export_metatomic(crystals, tmp_path / "model.pt", level=level))
        molecule.calc = crystal.calc = calc
        molecule.get_potential_energy()
        if answers:
            crystal.get_potential_energy()
        else:
            with pytest.raises(Exception, match="level gas, which is for molecules"):
                crystal.get_potential_energy()
    with pytest.raises(InputError, match="expected a name ending in .pt"):
        export_metatomic(net, tmp_path / "model.bin")
    with pytest.raises(InputError, match="long-range"):
        export_metatomic(small_network(long_range="filter"), tmp_path / "model.pt")
    with pytest.raises(InputError, match="level 'none' is unknown to this model"):
        export_metatomic(net, tmp_path / "model.pt", level="none")
