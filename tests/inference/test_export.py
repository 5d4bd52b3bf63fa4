"""The exported file gives the network's numbers in its own runtime, for other sizes than it was traced with, without a pickle."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms

from atomfield.data.errors import InputError
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.export import ExportedCalculator, export, read_about, traced
from atomfield.models.network import AtomFieldNet
from tests.small import small_network


@pytest.fixture(scope="module")
def net() -> AtomFieldNet:
    """As small as a network gets: the compiler's time goes with the number of operations."""
    net = small_network(
        layers=1, correlation=1, lmax=1, channels=4, channels_unnatural=0, cutoff=4.0
    ).double()
    net.atom_head.reference[0, [1, 6, 8]] = torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64)
    return net


@pytest.fixture(scope="module")
def file(net: AtomFieldNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not os.environ.get("ATOMFIELD_SLOW_TESTS"):
        pytest.skip("compiles for 40 s; set ATOMFIELD_SLOW_TESTS=1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own deprecations
        return export(net, tmp_path_factory.mktemp("export") / "model.pt2")


def structures() -> list[Atoms]:
    random = np.random.default_rng(3)
    ion = Atoms("CH3O", random.uniform(0, 3.0, (5, 3))[:5] * 1.0)
    ion.info["charge"] = -1
    cell = np.array([[4.0, 0, 0], [1.0, 4.5, 0], [0.3, -0.4, 5.0]])
    crystal = Atoms("C6O3", random.uniform(0, 1, (9, 3)) @ cell, cell=cell, pbc=True)
    return [ion, Atoms("OH", [[0, 0, 0], [0, 0, 1.0]]), crystal]


def test_the_graph_that_is_compiled_gives_the_networks_numbers(net: AtomFieldNet) -> None:
    """For structures of other sizes than the traced one, a charged molecule and a skewed crystal among them."""
    graph, example = traced(copy.deepcopy(net), "")
    assert len(example[0]) == 7
    for atoms in structures():
        atoms.calc = AtomFieldCalculator(net)
        batch = atoms.calc.pairs.batch(atoms, "")
        nan = torch.full((1,), float("nan"), dtype=torch.float64)
        charge, spin = (batch.conditions.get(name, nan) for name in ("charge", "spin"))
        given = (
            batch.positions,
            batch.species,
            batch.cell[0],
            batch.edge_index,
            batch.edge_shift,
            charge,
            spin,
        )
        energy, forces, stress = graph(*given)
        assert float(energy) == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
        np.testing.assert_allclose(forces.numpy(), atoms.get_forces(), atol=1e-10)
        if atoms.pbc.all():
            np.testing.assert_allclose(stress.numpy(), atoms.get_stress(voigt=False), atol=1e-10)


def test_it_gives_the_networks_numbers(net: AtomFieldNet, file: Path, tmp_path: Path) -> None:
    """In a fresh process, whose only part of this package is the list of pairs; to 1e-6 and really to rounding."""
    wanted = structures()
    ase.io.write(tmp_path / "in.traj", wanted)
    script = (
        "import sys, ase.io, numpy as np\nfrom atomfield.inference.export import ExportedCalculator\n"
        "calc = ExportedCalculator(sys.argv[1])\nfound = {}\n"
        "for k, a in enumerate(ase.io.read(sys.argv[2], ':')):\n"
        "    a.calc = calc\n    a.get_forces()\n"
        "    found |= {f'{name}{k}': value for name, value in calc.results.items()}\n"
        "assert 'atomfield.models.network' not in sys.modules\n"
        "np.savez(sys.argv[3], **found)\n"
    )
    arguments = [
        sys.executable,
        "-c",
        script,
        str(file),
        str(tmp_path / "in.traj"),
        str(tmp_path / "out.npz"),
    ]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "out.npz")
    for k, atoms in enumerate(wanted):
        atoms.calc = AtomFieldCalculator(net)
        assert found[f"energy{k}"] == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
        np.testing.assert_allclose(found[f"forces{k}"], atoms.get_forces(), atol=1e-10)
        assert (f"stress{k}" in found) == bool(atoms.pbc.all())
        if atoms.pbc.all():
            np.testing.assert_allclose(found[f"stress{k}"], atoms.get_stress(), atol=1e-10)


def test_there_is_no_pickle_in_it(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        assert not [n for n in names if n.endswith((".pkl", ".pickle", ".pt"))]
        for name in names:
            head = archive.read(name)[:2]
            assert head not in (b"\x80\x02", b"\x80\x04", b"\x80\x05"), name  # how pickles begin
    about = read_about(file)
    assert (about["cutoff"], about["level"], about["dtype"]) == (4.0, "morse", "float64")
    assert about["elements"] == [1, 6, 8]


def test_what_the_file_refuses(file: Path) -> None:
    calculator = ExportedCalculator(file)
    for atoms, message in (
        (Atoms("XeH", [[0, 0, 0], [0, 0, 2]]), r"not seen the elements \[54\]"),
        (Atoms("H", [[0, 0, 0]]), "at least 2 of each"),
    ):
        atoms.calc = calculator
        with pytest.raises(InputError, match=message):
            atoms.get_potential_energy()


def test_mistakes(net: AtomFieldNet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ending in .pt2"):
        export(net, tmp_path / "model.bin")
    with pytest.raises(InputError, match="level 'none' is unknown to this model, expected one of"):
        export(net, tmp_path / "model.pt2", level="none")
    with (
        torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler")}),
        pytest.raises(InputError, match="needs a C.. compiler"),
    ):
        export(net, tmp_path / "model.pt2")
    with pytest.raises(InputError, match="long-range"):
        export(small_network(long_range="filter"), tmp_path / "model.pt2")
    (tmp_path / "other.pt2").write_bytes(b"nothing")
    with pytest.raises(InputError, match="not an exported model"):
        ExportedCalculator(tmp_path / "other.pt2")


@pytest.mark.parametrize("crystals", [True, False])
def test_what_the_file_cannot_know_is_refused(monkeypatch: pytest.MonkeyPatch, crystals: bool) -> None:
    """A level for molecules asked about a crystal, and charges of fragments, which are no input of the file."""
    about = {
        "cutoff": 4.0, "device": "cpu", "level": "gas", "dtype": "float64", "elements": None, "crystals": crystals,
    }  # fmt: skip

    def answer(positions, *_):
        return torch.zeros(()), torch.zeros_like(positions), torch.zeros(3, 3)

    monkeypatch.setattr("atomfield.inference.export.read_about", lambda path: about)
    monkeypatch.setattr("torch._inductor.aoti_load_package", lambda path: answer)
    ion, _, crystal = structures()
    ion.calc = crystal.calc = ExportedCalculator("model.pt2")
    assert ion.get_potential_energy() == 0
    if crystals:
        assert crystal.get_potential_energy() == 0
    else:
        with pytest.raises(InputError, match="level 'gas', which is for molecules"):
            crystal.get_potential_energy()
    ion.set_array("fragment_charge", np.full(len(ion), -1.0))
    ion.calc.reset()
    with pytest.raises(InputError, match="reads no fragment_charge"):
        ion.get_potential_energy()
