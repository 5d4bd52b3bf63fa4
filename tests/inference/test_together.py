"""Many systems at once follow the paths that each follows alone with ASE."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE

from atomfield.data.errors import InputError
from atomfield.data.fragments import with_fragments
from atomfield.data.graph import Graph
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.predict import predict_graphs
from atomfield.inference.together import Bunch, Collision, nve_many, packs, relax_many
from atomfield.models.network import AtomFieldNet
from tests.physics.subjects import chiral_molecule, crystal, flow, together, water

from .conftest import atoms_of


def graphs() -> list[Graph]:
    """Molecules and a crystal; labels of one of them must not matter."""
    out = []
    for seed, make in enumerate((water, chiral_molecule, crystal, water, chiral_molecule, water)):
        graph = make()
        shift = (
            0.02 * torch.randn(graph.positions.shape, generator=torch.Generator().manual_seed(seed)).double()
        )
        out.append(replace(graph, positions=graph.positions + shift))
    return out


def test_the_paths_are_those_of_ase(net: AtomFieldNet) -> None:
    """An untrained potential has no minimum: all systems are compared after the same 12 steps, one with a looser end
    leaves before."""
    found = relax_many(net, graphs(), fmax=1e-3, steps=12)
    assert [r.steps for r in found] == [12] * 6
    for graph, one in zip(graphs(), found, strict=True):
        atoms = atoms_of(graph)
        atoms.calc = AtomFieldCalculator(net)
        FIRE(atoms, logfile=None).run(fmax=1e-3, steps=12)
        np.testing.assert_allclose(one.positions, atoms.positions, atol=1e-8)
        assert one.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        assert one.fmax == pytest.approx(np.linalg.norm(atoms.get_forces(), axis=1).max(), abs=1e-7)
        assert not one.converged


def test_those_that_are_done_leave(net: AtomFieldNet) -> None:
    """At the median of the forces half of the systems have converged before they move; the others go on alone, unchanged."""
    first = [r.fmax for r in relax_many(net, graphs(), fmax=1e9, steps=5)]
    bound = float(np.median(first))
    counted: list[int] = []
    found = relax_many(net, graphs(), fmax=bound, steps=6, done=counted.append)
    assert sum(counted) == 6
    for one, start, before in zip(found, graphs(), first, strict=True):
        if before < bound:
            assert (one.steps, one.converged) == (0, True)
            np.testing.assert_array_equal(one.positions, start.positions.numpy())
        else:
            alone = relax_many(net, [start], fmax=bound, steps=6)[0]
            np.testing.assert_allclose(one.positions, alone.positions, atol=1e-9)
            assert one.steps == alone.steps


def test_one_that_fails_leaves_the_others_alone(net: AtomFieldNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Atoms of the second system collide at its third evaluation, the fourth has no number at its second."""
    whole = relax_many(net, graphs(), fmax=1e-3, steps=6)
    compute, asked = Bunch.energies_and_forces, []

    def failing(self: Bunch, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(self.num)
        if len(asked) == 3:
            raise Collision([1])
        energy, force = compute(self, positions)
        if len(asked) == 2:
            force = torch.where(self.owner[:, None] == 3, torch.nan, force)
        return energy, force

    monkeypatch.setattr(Bunch, "energies_and_forces", failing)
    counted: list[int] = []
    found = relax_many(net, graphs(), fmax=1e-3, steps=6, done=counted.append)
    assert sum(counted) == 6
    assert [r.failure for r in found] == [
        "", "atoms have come closer than 0.1 angstrom", "", "the energy or a force is no finite number", "", "",
    ]  # fmt: skip
    assert [r.steps for r in found] == [6, 1, 6, 1, 6, 6]
    assert asked == [6, 6, 5, 4, 4, 4, 4, 4]
    for one, expected in zip(found, whole, strict=True):
        assert not one.converged
        assert np.isfinite(one.positions).all()
        if not one.failure:
            np.testing.assert_allclose(one.positions, expected.positions, atol=1e-9)
            assert one.energy == pytest.approx(expected.energy, abs=1e-8)


def test_a_collision_names_the_systems_of_the_list(net: AtomFieldNet) -> None:
    """Thrown at each other, in the last of three packs."""
    random = np.random.default_rng(0)
    speeds = [0.01 * random.standard_normal((g.num_nodes, 3)) for g in graphs()]
    third = graphs()[5].positions.numpy()
    speeds[5] = (third[0] - third) / (0.5 * units.fs)
    with pytest.raises(Collision, match=r"atoms of system 5 have come closer") as caught:
        nve_many(net, graphs(), speeds, steps=3, timestep=0.5, max_edges=60)
    assert caught.value.systems == [5]


def test_dynamics_is_that_of_ase(net: AtomFieldNet) -> None:
    random = np.random.default_rng(0)
    speeds = [0.01 * random.standard_normal((g.num_nodes, 3)) for g in graphs()]
    found = nve_many(net, graphs(), speeds, steps=10, timestep=0.5, interval=5, max_edges=60)
    assert found.potential.shape == found.kinetic.shape == (3, 6)
    assert len(packs(net, graphs(), 60)) > 1
    for k, graph in enumerate(graphs()):
        atoms = atoms_of(graph)
        atoms.calc = AtomFieldCalculator(net)
        atoms.set_velocities(speeds[k])
        VelocityVerlet(atoms, 0.5 * units.fs).run(10)
        np.testing.assert_allclose(found.positions[k], atoms.positions, atol=1e-9)
        np.testing.assert_allclose(found.velocities[k], atoms.get_velocities(), atol=1e-9)
        assert found.potential[-1, k] + found.kinetic[-1, k] == pytest.approx(
            atoms.get_total_energy(), abs=1e-8
        )


def test_pairs_are_kept(net: AtomFieldNet) -> None:
    bunch = Bunch(net, graphs(), skin=0.6)
    x = bunch.positions
    with torch.no_grad():
        for _ in range(10):
            x = x + 0.02 * torch.randn_like(x)
            energy, forces = bunch.energies_and_forces(x)
            fresh = Bunch(net, graphs(), skin=0.0).energies_and_forces(x)
            assert torch.equal(energy, fresh[0])
            assert torch.equal(forces, fresh[1])
    assert bunch.kept.searches < 6


def test_mistakes(net: AtomFieldNet) -> None:
    with pytest.raises(InputError, match="found a field"):
        relax_many(net, [flow()])
    with pytest.raises(InputError, match="fmax is 0"):
        relax_many(net, [water()], fmax=0)
    bunch = Bunch(net, [water()])
    x = bunch.positions
    x[1] = x[0] + 0.01
    with pytest.raises(InputError, match="closer than"):
        bunch.energies_and_forces(x)
    at_rest = np.zeros((3, 3))
    for speeds in ([], [at_rest, at_rest], [at_rest[:2]]):
        with pytest.raises(InputError, match=r"velocities have shapes .*the first \(3, 3\)"):
            nve_many(net, [water()], speeds, steps=1)
    with pytest.raises(InputError, match="interval is 0"):
        nve_many(net, [water()], [at_rest], steps=1, interval=0)
    assert relax_many(net, []) == []
    assert isinstance(atoms_of(water()), Atoms)


def test_charges_of_fragments_are_read(net: AtomFieldNet) -> None:
    """In a batch with a structure that states none."""
    pair = together(water(), water(), torch.tensor([0.0, 0.0, 6.0], dtype=torch.float64))
    ions = with_fragments(
        replace(pair, conditions={"charge": 0.0}), torch.tensor([0, 0, 0, 1, 1, 1]), [1.0, -1.0], [1.0, 1.0]
    )
    found = relax_many(net, [ions, water()], steps=1)
    moved = [
        replace(g, positions=torch.from_numpy(r.positions))
        for g, r in zip([ions, water()], found, strict=True)
    ]
    for one, expected in zip(found, predict_graphs(net, moved), strict=True):
        assert one.energy == pytest.approx(float(expected["energy"]), abs=1e-9)
    neutral = replace(moved[0], quantities={})
    assert abs(found[0].energy - float(predict_graphs(net, [neutral])[0]["energy"])) > 1e-6
