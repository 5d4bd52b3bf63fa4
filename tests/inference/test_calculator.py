from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

from atomfield.data.errors import InputError
from atomfield.data.graph import GraphBatch
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.pair_list import PairList
from atomfield.inference.predict import embed_graphs, predict_graphs
from atomfield.inference.rollout import rollout
from atomfield.inference.together import relax_many
from atomfield.models.denormals import are_flushed
from atomfield.models.network import AtomFieldNet
from tests.physics.subjects import chiral_molecule, crystal, flow


def test_results_are_those_of_prediction(net: AtomFieldNet, molecule: Atoms, solid: Atoms) -> None:
    for atoms, graph in ((molecule, chiral_molecule()), (solid, crystal())):
        atoms.calc = AtomFieldCalculator(net)
        (expected,) = predict_graphs(net, [graph])
        assert atoms.get_potential_energy() == pytest.approx(float(expected["energy"]), rel=1e-12)
        assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
        np.testing.assert_allclose(atoms.get_forces(), expected["forces"], atol=1e-12)
        np.testing.assert_allclose(atoms.get_charges(), expected["charges"], atol=1e-12)
        assert atoms.calc.user_properties["gap"] == pytest.approx(float(expected["gap"]))
    np.testing.assert_allclose(solid.get_stress(voigt=False), expected["stress"], atol=1e-12)
    np.testing.assert_allclose(
        molecule.get_dipole_moment(), predict_graphs(net, [chiral_molecule()])[0]["dipole"]
    )
    assert "stress" not in molecule.calc.results
    assert "dipole" not in solid.calc.results


def test_forces_and_stress_are_derivatives_by_ase(net: AtomFieldNet, molecule: Atoms, solid: Atoms) -> None:
    """ASE's own second-order differences, whose error at these steps is near 1e-7 of the largest entry."""
    molecule.calc = AtomFieldCalculator(net)
    forces = molecule.get_forces()
    numerical = calculate_numerical_forces(molecule, eps=1e-4)
    assert np.abs(forces - numerical).max() < 1e-6 * np.abs(forces).max()
    solid.calc = AtomFieldCalculator(net)
    stress = solid.get_stress()
    numerical = calculate_numerical_stress(solid, eps=1e-5)
    assert np.abs(stress - numerical).max() < 1e-6 * np.abs(stress).max()


@pytest.mark.parametrize("which", ["molecule", "solid"])
def test_kept_pairs_change_nothing(net: AtomFieldNet, which: str, request: pytest.FixtureRequest) -> None:
    """A random walk with pairs kept (skin 0.6) and with those of a fresh calculator gives the same bits."""
    atoms = request.getfixturevalue(which)
    kept = AtomFieldCalculator(net, skin=0.6)
    random = np.random.default_rng(0)
    for _ in range(30):
        atoms.positions += 0.06 * random.standard_normal(atoms.positions.shape)
        atoms.calc = kept
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = AtomFieldCalculator(net, skin=0.0)
        assert energy == atoms.get_potential_energy()
        np.testing.assert_array_equal(forces, atoms.get_forces())
    # a molecule all of whose pairs are kept is searched once, however it moves
    assert kept.pairs.searches == 1 if which == "molecule" else 2 <= kept.pairs.searches < 15


def test_pairs_that_stay_the_same_keep_their_tensors(net: AtomFieldNet, solid: Atoms) -> None:
    atoms = solid * (3, 3, 3)
    pairs = AtomFieldCalculator(net).pairs
    first = pairs.batch(atoms, "")
    assert pairs.batch(atoms, "").num_edges < pairs.kept.batch.num_edges  # many are in the skin
    atoms.positions[0] += 1e-4
    again = pairs.batch(atoms, "")
    assert again.edge_index is first.edge_index
    assert not torch.equal(again.positions, first.positions)
    atoms.positions += np.random.default_rng(0).uniform(-0.12, 0.12, atoms.positions.shape)
    other = pairs.batch(atoms, "")
    assert other.num_edges != first.num_edges
    assert pairs.searches == 1


@pytest.mark.parametrize(("pace", "slow"), [(0.002, True), (0.05, False)])
def test_a_margin_of_pairs_changes_nothing(net: AtomFieldNet, solid: Atoms, pace: float, slow: bool) -> None:
    """Slow atoms keep the pairs of a thin margin, so that steps share their tensors; for fast ones it is not worth it. The same
    bits as with the pairs of a fresh search, of which none is missing."""
    atoms, random = solid * (3, 3, 3), np.random.default_rng(0)
    atoms.positions += random.normal(0, 0.1, atoms.positions.shape)
    kept, fresh = AtomFieldCalculator(net), PairList(net.config.cutoff, 0.0)
    shared, more, before = 0, [], None
    for step in range(24):
        batch, exact = kept.pairs.batch(atoms, "quantum"), fresh.batch(atoms, "quantum")
        assert pairs_of(batch) >= pairs_of(exact)
        shared += batch.edge_index is before
        more.append(batch.num_edges - exact.num_edges)
        before = batch.edge_index
        if step % 8 == 4:
            atoms.calc = kept
            energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
            atoms.calc = AtomFieldCalculator(net, skin=0.0)
            assert energy == atoms.get_potential_energy()
            np.testing.assert_array_equal(forces, atoms.get_forces())
            np.testing.assert_array_equal(stress, atoms.get_stress())
        atoms.positions += pace * random.uniform(-1, 1, atoms.positions.shape)
    assert more[0] == 0, "a structure that is asked for once has no margin"
    assert (shared >= 20 and min(more[2:]) > 0) if slow else (shared == 0 and max(more) == 0)


def pairs_of(batch: GraphBatch) -> set[tuple[int, ...]]:
    return {
        (*ends, *shift)
        for ends, shift in zip(batch.edge_index.T.tolist(), batch.edge_shift.int().tolist(), strict=True)
    }


def test_pairs_that_a_gpu_looks_for_itself_are_the_same(
    solid: Atoms, molecule: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atomfield.inference.pair_list.MANY", 1)
    monkeypatch.setattr("atomfield.data.radius._on_cpu", lambda points: False)
    for atoms in (solid * (3, 3, 3), molecule):
        there, here = (PairList(4.0, 0.5) for _ in range(2))
        there.searches_there = True
        for _ in range(3):
            one, other = there.batch(atoms, "x"), here.batch(atoms, "x")
            assert torch.equal(one.edge_index, other.edge_index)
            assert torch.equal(one.edge_shift, other.edge_shift)
            assert one.levels == other.levels and one.world == other.world
            atoms.positions += np.random.default_rng(1).normal(0, 0.2, atoms.positions.shape)


def test_a_complete_list_of_pairs_follows_a_molecule_that_comes_apart(
    net: AtomFieldNet, molecule: Atoms
) -> None:
    kept = AtomFieldCalculator(net)
    forces = []
    for distance in (0.0, 3.0, 30.0, 1.0, 0.0):
        moved = molecule.copy()
        moved.positions[-1] += distance
        moved.calc = kept
        forces.append(moved.get_forces())
        moved.calc = AtomFieldCalculator(net)
        np.testing.assert_array_equal(forces[-1], moved.get_forces())
    assert kept.pairs.searches == 1
    assert not forces[2][-1].any() and forces[0][-1].any()
    moved = molecule.copy()
    moved.positions[1] = moved.positions[0] + 0.01
    moved.calc = kept
    for _ in range(2):
        with pytest.raises(InputError, match="atoms 0 and 1 are"):
            moved.get_forces()


def test_pairs_are_searched_anew_when_the_structure_changes(net: AtomFieldNet, solid: Atoms) -> None:
    calculator = AtomFieldCalculator(net)
    solid.calc = calculator
    solid.get_potential_energy()
    for change in (
        lambda a: a.set_cell(a.cell.array * 1.2),
        lambda a: a.set_atomic_numbers(a.numbers[::-1]),
        lambda a: a.info.update(charge=1),
        lambda a: a.set_pbc([True, True, False]),
        lambda a: a.pop(),
    ):
        before, count = solid.get_potential_energy(), calculator.pairs.searches
        change(solid)
        assert solid.get_potential_energy() != before
        assert calculator.pairs.searches == count + 1
        solid.calc = AtomFieldCalculator(net)
        fresh = solid.get_potential_energy()
        solid.calc = calculator
        assert solid.get_potential_energy() == fresh


def test_a_step_copies_no_atoms(net: AtomFieldNet, molecule: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    molecule.calc = AtomFieldCalculator(net)
    molecule.get_forces()
    monkeypatch.setattr(Atoms, "copy", lambda self: pytest.fail("copied"))
    before = molecule.get_forces()
    molecule.positions[0, 0] += 0.01
    assert not np.array_equal(molecule.get_forces(), before)
    np.testing.assert_array_equal(molecule.calc.atoms.positions, molecule.positions)


def test_dtypes(net: AtomFieldNet, molecule: Atoms) -> None:
    energies, forces = {}, {}
    for dtype in ("float32", "float64", torch.float64):
        molecule.calc = AtomFieldCalculator(net, dtype=dtype)
        energies[dtype], forces[dtype] = molecule.get_potential_energy(), molecule.get_forces()
    assert energies["float64"] == energies[torch.float64]
    assert energies["float32"] != energies["float64"]
    assert energies["float32"] == pytest.approx(energies["float64"], rel=1e-5)
    np.testing.assert_allclose(
        forces["float32"], forces["float64"], atol=1e-5 * np.abs(forces["float64"]).max()
    )
    assert net.dtype == torch.float64


@pytest.mark.parametrize("fused", [True, False])
def test_inference_mode_is_no_hindrance(net: AtomFieldNet, molecule: Atoms, fused: bool) -> None:
    """Where there are no kernels for processors, as on a GPU, forces are derivatives by autograd."""
    own = copy.deepcopy(net)
    for part in own.modules():
        if hasattr(part, "fused"):
            part.fused = fused
    (expected,) = predict_graphs(own, [chiral_molecule()])
    with torch.inference_mode():
        molecule.calc = AtomFieldCalculator(own)
        (found,) = predict_graphs(own, [chiral_molecule()])
        np.testing.assert_allclose(found["forces"], expected["forces"], atol=1e-12)
        np.testing.assert_allclose(molecule.get_forces(), expected["forces"], atol=1e-12)
        assert np.isfinite(molecule.calc.hessian(molecule)).all()
    molecule.rattle(1e-3)
    inside = molecule.get_forces()
    np.testing.assert_allclose(inside, AtomFieldCalculator(own).get_forces(molecule), atol=1e-12)


def test_the_network_is_copied(net: AtomFieldNet, molecule: Atoms) -> None:
    molecule.calc = AtomFieldCalculator(net)
    before = molecule.get_potential_energy()
    net.atom_head.energy_scale.mul_(2)
    molecule.positions += 1.0
    after = molecule.get_potential_energy()
    net.atom_head.energy_scale.div_(2)
    assert after == pytest.approx(before)


def test_levels_and_mistakes(net: AtomFieldNet, molecule: Atoms) -> None:
    molecule.calc = AtomFieldCalculator(net)
    first = molecule.get_potential_energy()
    molecule.calc = AtomFieldCalculator(net, level="quantum-2")
    assert molecule.get_potential_energy() != first
    with pytest.raises(InputError, match=r"level 'dft' is unknown.*quantum"):
        AtomFieldCalculator(net, level="dft")
    with pytest.raises(InputError, match="float32 or float64"):
        AtomFieldCalculator(net, dtype="bfloat16")
    with pytest.raises(InputError, match="skin"):
        AtomFieldCalculator(net, skin=-1.0)
    molecule.positions[1] = molecule.positions[0]
    with pytest.raises(InputError, match=r"<atoms \w+>: atoms 0 and 1 are 0 angstrom apart"):
        molecule.get_potential_energy()


def test_hessian_is_the_derivative_of_the_forces(net: AtomFieldNet, molecule: Atoms, solid: Atoms) -> None:
    for atoms in (molecule, solid):
        atoms.calc = AtomFieldCalculator(net)
        found = atoms.calc.hessian(atoms)
        start, step = atoms.positions.copy(), 1e-4
        for k in (0, 7):
            forces = []
            for sign in (1, -1):
                atoms.positions[:] = start
                atoms.positions[k // 3, k % 3] += sign * step
                forces.append(atoms.get_forces().ravel())
            expected = (forces[1] - forces[0]) / (2 * step)
            np.testing.assert_allclose(found[k], expected, atol=1e-5 * np.abs(found).max())
        atoms.positions[:] = start
        np.testing.assert_allclose(found.sum(axis=1), 0, atol=1e-6 * np.abs(found).max())  # of a translation


@pytest.mark.parametrize("which", ["strain", "squeeze", "shear"])
def test_kept_pairs_change_nothing_while_the_cell_moves(net: AtomFieldNet, solid: Atoms, which: str) -> None:
    """Expanded, compressed and sheared a little at each step, with the atoms rattled: the same bits as a fresh search."""
    kept, fresh = AtomFieldCalculator(net, skin=1.0), AtomFieldCalculator(net, skin=0.0)
    random = np.random.default_rng(0)
    change = {
        "strain": np.diag([1.002, 1.001, 1.003]),
        "squeeze": np.diag([0.997, 0.999, 0.998]),
        "shear": np.array([[1, 0.004, 0], [0.002, 1, 0.001], [0, -0.003, 1]]),
    }[which]
    for _ in range(12):
        solid.set_cell(solid.cell.array @ change, scale_atoms=True)
        solid.positions += 0.01 * random.standard_normal(solid.positions.shape)
        solid.calc = kept
        energy, forces, stress = solid.get_potential_energy(), solid.get_forces(), solid.get_stress()
        solid.calc = fresh
        assert energy == solid.get_potential_energy()
        np.testing.assert_array_equal(forces, solid.get_forces())
        np.testing.assert_array_equal(stress, solid.get_stress())
    assert kept.pairs.searches < 8
    assert fresh.pairs.searches == 12


def test_unseen_elements_and_worlds_are_refused(net: AtomFieldNet, molecule: Atoms) -> None:
    known = copy.deepcopy(net)
    known.atom_head.reference[0, 17] = 0.0
    molecule.calc = AtomFieldCalculator(known)
    with pytest.raises(
        InputError, match=r"has not seen Cl \(atom 3\) at level 'quantum'.*it knows 117 others"
    ):
        molecule.get_potential_energy()
    assert not molecule.calc.results
    molecule.calc = AtomFieldCalculator(known, level="quantum-2")
    molecule.get_potential_energy()
    molecule.calc = AtomFieldCalculator(known, allow_unseen=True)
    molecule.get_potential_energy()
    known.atom_head.reference[2] = 0.0
    with pytest.raises(
        InputError, match=r"level 'fluid' has no energies of atoms.*one of quantum, quantum-2"
    ):
        AtomFieldCalculator(known, level="fluid")
    known.atom_head.reference.zero_()  # properties alone: nothing is known about elements
    molecule.calc = AtomFieldCalculator(known)
    molecule.get_potential_energy()
    known.config = known.config.model_copy(update={"default_level_atoms": ""})
    with pytest.raises(InputError, match="has not seen atoms"):
        AtomFieldCalculator(known)


def test_a_failed_call_leaves_nothing_behind(net: AtomFieldNet, molecule: Atoms) -> None:
    molecule.calc = AtomFieldCalculator(net)
    before = molecule.get_potential_energy()
    molecule.positions[1] = molecule.positions[0]
    with pytest.raises(InputError):
        molecule.get_forces()
    with pytest.raises(InputError):
        molecule.get_forces()
    assert not molecule.calc.results
    molecule.positions[1] += [1.5, 0, 0]
    assert molecule.get_potential_energy() != before


def test_atoms_that_collide_between_searches(net: AtomFieldNet, molecule: Atoms) -> None:
    """Closer than any structure may be, though the kept pairs are still complete."""
    molecule.calc = AtomFieldCalculator(net, skin=6.0)
    molecule.get_potential_energy()
    towards = molecule.positions[1] - molecule.positions[0]
    molecule.positions[1] = molecule.positions[0] + 0.02 * towards / np.linalg.norm(towards)
    with pytest.raises(InputError, match=r"atoms \d+ and \d+ are 0.02 angstrom apart"):
        molecule.get_potential_energy()
    assert molecule.calc.pairs.searches == 1


@pytest.mark.parametrize("what", ["calculator", "hessian", "predict", "embed", "relax", "rollout"])
def test_denormal_numbers_are_zero_within_a_pass_alone(net: AtomFieldNet, molecule: Atoms, what: str) -> None:
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush denormals")
    seen: list[bool] = []

    def watch(one: AtomFieldNet) -> AtomFieldNet:
        one.backbone.register_forward_pre_hook(lambda *_: seen.append(are_flushed()))
        answers = one.answers

        def watched(*given: Any) -> Any:
            seen.append(are_flushed())
            return answers(*given)

        one.answers = watched  # type: ignore[method-assign]
        return one

    own = copy.deepcopy(net)
    calculator = AtomFieldCalculator(net)
    watch(calculator.net), watch(own)
    calls = {
        "calculator": lambda: calculator.get_potential_energy(molecule),
        "hessian": lambda: calculator.hessian(molecule),
        "predict": lambda: predict_graphs(own, [chiral_molecule()]),
        "embed": lambda: embed_graphs(own, [chiral_molecule()]),
        "relax": lambda: relax_many(own, [chiral_molecule()], steps=1),
        "rollout": lambda: rollout(own, flow(), 1),
    }
    for setting in (False, True):
        torch.set_flush_denormal(setting)
        try:
            calls[what]()
            calculator.reset()
            assert are_flushed() == setting
        finally:
            torch.set_flush_denormal(False)
    assert seen
    assert all(seen)
