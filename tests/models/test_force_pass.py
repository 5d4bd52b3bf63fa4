"""Energy and forces without autograd are those with it."""

from __future__ import annotations

import copy
import weakref
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from atomfield.data.graph import Graph, GraphBatch
from atomfield.models import force_pass, network
from atomfield.models.config import NetworkConfig, PropertyConfig
from atomfield.models.force_pass import ForcePass, serves
from atomfield.models.fused import EdgeList, along_vectors, forces_of, library, order, vectors
from atomfield.models.layer_pass import LayerPass
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.models.radial import bessel_basis, polynomial_envelope

needs_compiler = pytest.mark.skipif(library.compiler() is None, reason="needs a C compiler")
CUTOFF = 4.0
VARIANTS: list[dict[str, object]] = [
    {},
    {"channels_unnatural": 0, "lmax": 1, "correlation": 2, "layers": 3},
    {"correlation": 1, "linear_readout": True, "layers": 1},
    {"lmax": 0, "channels_unnatural": 0},
    {"properties": (PropertyConfig(name="gap"), PropertyConfig(name="heat", pooling="sum"))},
]


def drawn(dtype: torch.dtype = torch.float64, **changes: object) -> AtomFieldNet:
    """A small network whose heads are not zero."""
    torch.manual_seed(0)
    config = NetworkConfig(
        **{
            "channels": 8, "channels_unnatural": 3, "lmax": 2, "radial_hidden": 8, "head_hidden": 8, "cutoff": CUTOFF,
            "levels": ("a", "b"), "default_level_atoms": "a", **changes,
        }
    )  # fmt: skip
    net = AtomFieldNet(config).to(dtype)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        net.atom_head.energy_scale.fill_(1.7)
    return net.eval()


def structures() -> list[Graph]:
    """A molecule, a skewed crystal whose atoms are neighbours of their own images, at two levels of theory; an atom alone; and a
    cluster large enough for kernels to share it out, with an atom far from the others."""
    generator = torch.Generator().manual_seed(1)
    apart = torch.tensor([[0.0, 0, 0], [1.4, 0, 0.2], [0.1, 1.5, 0], [2.0, 1.1, 0.8], [0.3, 0.4, 1.6]])
    moved = apart.double() + 0.1 * torch.randn(5, 3, generator=generator, dtype=torch.float64)
    cell = torch.tensor([[3.1, 0.2, 0.0], [0.4, 2.9, 0.3], [-0.2, 0.5, 3.3]], dtype=torch.float64)
    inside = torch.tensor([[0.1, 0.2, 0.3], [0.6, 0.5, 0.7]], dtype=torch.float64) @ cell
    places = torch.cartesian_prod(*[torch.arange(5.0, dtype=torch.float64)] * 3) * 2.1
    places += 0.2 * torch.randn(125, 3, generator=generator, dtype=torch.float64)
    places[60] += 50.0
    return [
        Graph(moved, torch.tensor([6, 1, 8, 1, 7]), "molecule", level="b"),
        Graph(inside, torch.tensor([11, 17]), "crystal", cell=cell, pbc=torch.ones(3).bool(), level="a"),
        Graph(torch.zeros(1, 3).double(), torch.tensor([2]), "molecule", level="a"),
        Graph(places, torch.randint(1, 20, (125,), generator=generator), "molecule", level="a"),
    ]


def recorded(
    net: AtomFieldNet, batch: GraphBatch, monkeypatch: pytest.MonkeyPatch, **options: bool
) -> dict[str, Tensor]:
    """What the graph of autograd gives."""
    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(network, "serves", lambda *_: False)
        return net(batch, **options)


@needs_compiler
@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("picked", [[0], [1], [0, 2, 1, 0], [3]])
def test_it_gives_what_autograd_gives(
    changes: dict[str, object], picked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = drawn(**changes)
    batch = graphs_to_batch(net.config, [structures()[k] for k in picked])
    assert serves(net, batch)
    expected = recorded(net, batch, monkeypatch, stress=True, features=True)
    with torch.no_grad():
        found = net(batch, stress=True, features=True)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert value.abs().max() > 0 or name in ("stress", "dipole")
        assert found[name].dtype == value.dtype
        assert not found[name].requires_grad
        torch.testing.assert_close(found[name], value, rtol=1e-11, atol=1e-12)
    if 1 in picked:
        assert expected["stress"].abs().max() > 0


@needs_compiler
def test_in_single_precision_it_is_as_close_to_double_as_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    exact, single = drawn(), drawn().to(torch.float32)
    batch = graphs_to_batch(exact.config, structures()[:2])
    with torch.no_grad():
        reference = exact(batch)["forces"]
        error = (single(batch)["forces"] - reference).abs().max()
    before = (recorded(single, batch, monkeypatch)["forces"] - reference).abs().max()
    assert error < max(2 * before, 1e-6 * reference.abs().max())


@needs_compiler
def test_what_is_kept_follows_species_levels_and_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    net = drawn()
    kept = ForcePass(net, keep=True)
    batch = graphs_to_batch(net.config, structures()[:1])
    variants = [
        batch,
        replace(batch, positions=batch.positions + 0.05),
        replace(batch, species=batch.species.flip(0)),
        replace(batch, levels=["a"]),
        replace(batch, conditions={"charge": torch.tensor([1.0], dtype=torch.float64)}),
        batch,
    ]
    energies = set()
    for variant in variants:
        expected = recorded(net, variant, monkeypatch)
        with torch.no_grad():
            found = net(variant, prepared=kept)
        torch.testing.assert_close(found["forces"], expected["forces"], rtol=1e-11, atol=1e-12)
        energies.add(round(float(expected["energy"]), 9))
    assert len(energies) == 4  # a shifted molecule is the same


@needs_compiler
def test_what_has_terms_of_its_own_is_left_to_autograd() -> None:
    batch = graphs_to_batch(drawn().config, structures())
    assert serves(drawn(), batch)
    assert not serves(drawn(), batch.to(dtype=torch.float32))
    for changes in (
        {"priors": ("zbl",)},
        {"electrostatics": True},
        {"long_range": "coarse"},
        {"symmetry": "none", "lmax": 0, "channels_unnatural": 0},
    ):
        assert not serves(drawn(**changes), batch), changes
    alone = graphs_to_batch(
        drawn().config, [Graph(torch.zeros(1, 3).double(), torch.tensor([2]), "molecule")]
    )
    net = drawn()
    assert not serves(net, alone)
    with torch.no_grad():
        assert net(alone)["forces"].tolist() == [[0.0, 0.0, 0.0]]


def loss_of(out: dict[str, Tensor], names: tuple[str, ...]) -> Tensor:
    """Nothing that could vanish by symmetry: each number has a weight of its own."""
    terms = []
    for name in names:
        value = out[name].double().flatten()
        terms.append((value.square() * torch.arange(1, len(value) + 1).cos()).sum())
    return torch.stack(terms).sum()


@needs_compiler
@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize(
    "names", [("energy",), ("forces",), ("stress",), ("energy", "forces", "stress", "charges", "dipole")]
)
def test_in_training_derivatives_are_those_of_autograd(
    changes: dict[str, object], names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = drawn(**changes)
    batch = graphs_to_batch(net.config, [structures()[k] for k in (0, 2, 1, 3)])
    names = tuple(n for n in names if n != "dipole" or net.config.lmax) + tuple(
        p.name for p in net.config.properties
    )

    def gradients() -> list[Tensor]:
        loss = loss_of(net(batch, stress="stress" in names), names)
        return list(
            torch.autograd.grad(loss, list(net.parameters()), allow_unused=True, materialize_grads=True)
        )

    with monkeypatch.context() as patch:
        patch.setattr(network, "serves", lambda *_: False)
        expected = gradients()
    largest = max(float(g.abs().max()) for g in expected if g.numel())
    assert largest > 1e-3
    for (name, _), before, found in zip(net.named_parameters(), expected, gradients(), strict=True):
        torch.testing.assert_close(
            found, before, rtol=1e-9, atol=1e-11 * largest, msg=lambda text, n=name: f"{n}: {text}"
        )


@needs_compiler
def test_in_training_fixed_weights_get_no_derivatives(monkeypatch: pytest.MonkeyPatch) -> None:
    net = drawn()
    for name, parameter in net.named_parameters():
        parameter.requires_grad_("atom_head" in name or name.endswith("conditions.level"))
    batch = graphs_to_batch(net.config, structures())
    trained = [p for p in net.parameters() if p.requires_grad]

    def gradients() -> tuple[Tensor, ...]:
        loss = loss_of(net(batch), ("energy", "forces"))
        return torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)

    with monkeypatch.context() as patch:
        patch.setattr(network, "serves", lambda *_: False)
        expected = gradients()
    for before, found in zip(expected, gradients(), strict=True):
        torch.testing.assert_close(found, before, rtol=1e-9, atol=1e-10)
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    assert not net(batch)["forces"].requires_grad


@needs_compiler
def test_positions_that_ask_for_derivatives_are_left_to_autograd() -> None:
    net = drawn()
    batch = graphs_to_batch(net.config, structures())
    moved = replace(batch, positions=batch.positions.clone().requires_grad_(True))
    assert serves(net, batch) and not serves(net, moved)
    (row,) = torch.autograd.grad(net(moved)["forces"][0, 0], moved.positions)
    assert row.abs().max() > 0
    with torch.no_grad():
        assert serves(net, moved)


@needs_compiler
def test_weights_that_changed_before_the_walk_back_are_refused() -> None:
    net = drawn()
    loss = net(graphs_to_batch(net.config, structures()))["forces"].square().sum()
    with torch.no_grad():
        net.backbone.layers[0].update.up.weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@needs_compiler
def test_the_geometry_is_that_of_the_formulas_up_to_the_cutoff() -> None:
    distance = torch.cat(
        [torch.linspace(0.05, CUTOFF, 37, dtype=torch.float64), torch.tensor([1.2 * CUTOFF]).double()]
    )
    count = len(distance)
    direction = torch.nn.functional.normalize(torch.randn(count, 3, dtype=torch.float64), dim=1)
    positions = torch.cat([torch.zeros(1, 3).double(), distance[:, None] * direction]).requires_grad_(True)
    index = torch.stack([torch.arange(1, count + 1), torch.zeros(count, dtype=torch.int64)])
    cell, graph = torch.zeros(1, 3, 3).double(), torch.zeros(count + 1, dtype=torch.int64)
    edges = EdgeList(index[0], index[1], count + 1)
    given = (positions.detach(), cell, graph, edges, torch.zeros(count, 3))
    found = vectors(*given, cutoff=CUTOFF, bases=8, dtype=torch.float64)
    vector = positions[index[0]] - positions[index[1]]
    length = vector.norm(dim=1)
    basis, envelope = bessel_basis(length, CUTOFF, 8), polynomial_envelope(length, CUTOFF)
    inside = slice(0, count - 1)
    torch.testing.assert_close(found.basis_EB[inside], basis[inside], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.envelope_E, envelope, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found.direction_E3, vector / length[:, None], rtol=1e-14, atol=1e-15)
    assert found.envelope_E[-1] == 0
    assert found.basis_EB.isfinite().all()
    slopes = [torch.randn_like(t) for t in (basis, envelope, vector)]
    slopes[0][-1] = 0  # beyond the cutoff nothing is asked of the basis
    loss = (
        (basis * slopes[0]).sum()
        + (envelope * slopes[1]).sum()
        + (vector / length[:, None] * slopes[2]).sum()
    )
    (expected,) = torch.autograd.grad(loss, positions)
    along = along_vectors(found, *slopes, CUTOFF)
    forces = forces_of(along, edges, torch.float64)
    torch.testing.assert_close(forces, -expected, rtol=1e-11, atol=1e-11)


@needs_compiler
def test_edges_are_ordered_as_by_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(2)
    for edges, nodes, chunks in ((0, 3, 1), (50, 9, 1), (700, 120, 15), (3, 64, 8)):
        near, far = (torch.randint(0, nodes, (edges,), generator=generator) for _ in range(2))
        found = order.grouped(near, far, nodes, chunks)
        with monkeypatch.context() as patch:
            patch.setattr(order, "_library", lambda: None)
            expected = order.grouped(near, far, nodes, chunks)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    for bad in (-1, 5):
        with pytest.raises(IndexError, match="outside 0 to 4"):
            order.grouped(torch.tensor([0, 1]), torch.tensor([1, bad]), 5, 1)


@needs_compiler
def test_a_graph_that_is_kept_gives_the_derivatives_of_each_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for losses that are balanced by their gradients: forces first, energies after them, on one pass."""
    net = drawn()
    batch = graphs_to_batch(net.config, structures()[:2])
    weights = [p for p in net.parameters() if p.numel()]

    def gradients(names: tuple[str, ...], out: dict[str, Tensor]) -> list[Tensor]:
        loss = loss_of(out, names)
        return list(
            torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True, materialize_grads=True)
        )

    out = net(batch)
    together = [gradients((name,), out) for name in ("forces", "energy", "forces")]
    for name, found in zip(("forces", "energy", "forces"), together, strict=True):
        for one, other in zip(found, gradients((name,), net(batch)), strict=True):
            assert torch.equal(one, other)


@needs_compiler
def test_a_pass_without_a_walk_back_keeps_nothing() -> None:
    net = drawn()
    held: list[weakref.ref[Tensor]] = []
    real = LayerPass.forward

    def watched(self: LayerPass, *given: object) -> tuple[Tensor, object]:
        out, computed = real(self, *given)
        held.append(weakref.ref(computed.gathered.untyped_storage()))
        return out, computed

    batch = graphs_to_batch(net.config, structures()[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LayerPass, "forward", watched)
        out = net(batch)
        assert any(ref() is not None for ref in held)
        del out
    assert all(ref() is None for ref in held)


@needs_compiler
@pytest.mark.parametrize("change", ["in place", "other data", "state", "precision"])
def test_a_kept_pass_sees_that_weights_have_changed(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = drawn()
    kept = ForcePass(net, keep=True)
    batch = graphs_to_batch(net.config, structures()[:2])
    with torch.no_grad():
        before = net(batch, prepared=kept)["energy"]
    convolution = net.backbone.layers[1].convolution
    match change:
        case "in place":
            with torch.no_grad():
                convolution.same.mul_(1.3)
        case "other data":
            convolution.same.data = 1.3 * convolution.same.data
        case "state":
            net.load_state_dict(
                {k: 1.1 * v if v.is_floating_point() else v for k, v in net.state_dict().items()}
            )
        case "precision":
            net.float()
    expected = recorded(net, batch, monkeypatch)
    with torch.no_grad():
        found = net(batch, prepared=kept)
    tolerance = 1e-5 if change == "precision" else 1e-11
    torch.testing.assert_close(found["forces"], expected["forces"], rtol=tolerance, atol=tolerance)
    assert change == "precision" or not torch.allclose(found["energy"], before)


@needs_compiler
def test_a_calculator_that_has_answered_can_be_copied() -> None:
    from ase.build import molecule

    from atomfield.inference.calculator import AtomFieldCalculator

    atoms = molecule("CH3CH2OH")
    atoms.calc = AtomFieldCalculator(drawn(), level="a", allow_unseen=True)
    forces = atoms.get_forces()
    calculator = copy.deepcopy(atoms.calc)
    calculator.results = {}
    assert (calculator.get_forces(atoms) == forces).all()
    net, other = drawn(), ForcePass(drawn())
    batch = graphs_to_batch(net.config, structures()[:1])
    with pytest.raises(AssertionError, match="another network"), torch.no_grad():
        net(batch, prepared=other)


@needs_compiler
def test_numbers_that_kernels_would_trust_are_checked() -> None:
    net = drawn()
    batch = graphs_to_batch(net.config, structures()[:1])
    wrong_edge = batch.edge_index.clone()
    wrong_edge[0, 0] = 77
    for wrong in (
        replace(batch, edge_index=wrong_edge),
        replace(batch, edge_shift=batch.edge_shift[:-1]),
        replace(batch, graph_index=batch.graph_index + 5),
    ):
        with pytest.raises(IndexError), torch.no_grad():
            net(wrong)


def test_no_kernels_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(force_pass, "geometry_available", lambda _: False)
    net = drawn()
    assert not serves(net, graphs_to_batch(net.config, structures()))
