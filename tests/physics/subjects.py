"""What the laws are tried on: small networks with every weight perturbed, and small structures and fields."""

from __future__ import annotations

import tempfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from atomfield.data.graph import Graph
from atomfield.data.neighbors import grid_edges
from atomfield.models import checkpoint
from atomfield.models.config import NetworkConfig, PropertyConfig
from atomfield.models.network import AtomFieldNet
from atomfield.models.sizes import NetworkSize, Size

CUTOFF = 4.0
SEED = 14
"""Of the random weights."""
LEVELS = ("quantum", "quantum-2", "fluid", "fluid-2")
AUXILIARY = ("direct", "elements", "given_forces", "states")

SIZES_TRIED = ("xs", "s", "m", "l")
"""The sizes of the dial with few channels: degree, layers and body order are theirs."""


def _generator(name: str, seed: int) -> torch.Generator:
    """One of its own for each tensor: what is added to the network leaves the other draws alone."""
    return torch.Generator().manual_seed(zlib.crc32(name.encode()) + seed)


def _drawn(name: str, parameter: Tensor, seed: int) -> Tensor:
    """As wide as the initial weights, a constant among these kept, and moved by noise."""
    generator = _generator(name, seed)
    values = parameter.detach().double().flatten()
    width = float(f"{float(values.std(correction=0)):.1g}") if len(values) > 1 else 0.0
    start = width * torch.randn(parameter.shape, generator=generator) if width else parameter
    return (start + 0.1 * torch.randn(parameter.shape, generator=generator)).detach()


def network(
    size: Size,
    dtype: torch.dtype = torch.float64,
    seed: int = SEED,
    symmetry: Literal["O3", "none"] = "O3",
    priors: tuple[str, ...] = (),
) -> AtomFieldNet:
    """A tiny network saved in float32 and loaded as ``dtype``; heads start at zero, so everything is moved by noise lest the
    laws hold trivially."""
    dial = NetworkSize.model_validate({"size": size, "symmetry": symmetry})
    properties = [PropertyConfig(name="gap"), PropertyConfig(name="volume_of_pores", pooling="sum")]
    if dial.channels_unnatural:
        properties += [
            PropertyConfig(name="rotation", irreps="0o"),
            PropertyConfig(name="helicity", irreps="0o", pooling="sum"),
            PropertyConfig(name="born", irreps="0e+1e+2e", support="node"),
        ]
    properties += open_properties(dial.lmax, symmetry)
    config = NetworkConfig(
        channels=6, channels_unnatural=min(3, dial.channels_unnatural), lmax=dial.lmax, layers=dial.layers,
        correlation=dial.correlation, num_radial=4, radial_hidden=8, head_hidden=8, cutoff=CUTOFF, average_neighbors=8.0,
        symmetry=symmetry, levels=LEVELS, default_level_atoms="quantum", default_level_field="fluid",
        properties=tuple(properties), auxiliary=AUXILIARY, priors=priors, contains={"quantum": priors[1:]}, dispersion_cutoff=7.0,
    )  # fmt: skip
    torch.manual_seed(seed)
    net = AtomFieldNet(config)
    for name, parameter in net.named_parameters():
        parameter.data = _drawn(name, parameter, seed)
    for name, buffer in net.named_buffers():
        if name.rsplit(".", 1)[-1] in (
            "reference",
            "energy_scale",
            "scale",
            "shift",
            "input_rms",
            "increment_rms",
        ):
            buffer.uniform_(0.5, 2.0, generator=_generator(name, seed))
    net.atom_head.reference.add_(2.0)  # like real ones, large enough that energies do not cancel to nothing
    net.property_head.shift[1] = 0.0  # a constant is not extensive, a sum over elements is not intensive
    net.property_head.reference[0] = 0.0
    with tempfile.TemporaryDirectory() as folder:
        return checkpoint.load(checkpoint.save(net, Path(folder) / "model"), dtype=dtype).requires_grad_(
            False
        )


def open_properties(lmax: int, symmetry: str) -> list[PropertyConfig]:
    """More than one number, of each kind that a network of this degree can say."""
    found = [
        PropertyConfig(name="spectrum", irreps="5x0e", nonnegative=True),
        PropertyConfig(name="shielding", support="node"),
        PropertyConfig(name="phase", kind="multiclass", classes=("a", "b", "c")),
    ]
    if lmax > 0 or symmetry == "none":
        found.append(PropertyConfig(name="polarization", irreps="1o", pooling="sum"))
        found.append(PropertyConfig(name="polar", irreps="0e+2e", pooling="sum"))
    if lmax > 1:
        found.append(PropertyConfig(name="stiffness", irreps="2x0e+2x2e+4e"))
    return found


def readable(net: AtomFieldNet, graph: Graph) -> Graph:
    """``graph`` without the axial quantities that a network of natural parity alone cannot hold."""
    if net.config.channels_unnatural or net.config.symmetry == "none":
        return graph
    kept = {n: v for n, v in graph.quantities.items() if graph.definition(n).irreps != "1e"}
    return replace(graph, quantities=kept)


# ---------------------------------------------------------------- atoms
def chiral_molecule() -> Graph:
    """CHFClBr, distorted: not superposable on its mirror image."""
    positions = torch.tensor(
        [
            [0.02, -0.01, 0.03],
            [0.61, 0.68, 0.55],
            [-0.83, -0.75, 0.79],
            [-1.02, 1.08, -0.97],
            [1.15, -1.09, -1.11],
        ],
        dtype=torch.float64,
    )
    return _molecule(positions, [6, 1, 9, 17, 35])


def water() -> Graph:
    positions = torch.tensor(
        [[0.0, 0.0, 0.12], [0.0, 0.79, -0.47], [0.05, -0.76, -0.48]], dtype=torch.float64
    )
    return _molecule(positions, [8, 1, 1])


def lone_atom() -> Graph:
    return _molecule(torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64), [8])


def _molecule(positions: Tensor, numbers: list[int]) -> Graph:
    return Graph(positions, torch.tensor(numbers), "molecule", conditions={"charge": 0.0, "spin": 0.0})


def crystal() -> Graph:
    """Five atoms in a skewed cell smaller than the cutoff: images of an atom are its own neighbours."""
    cell = torch.tensor([[3.7, 0.2, -0.1], [0.5, 3.9, 0.3], [-0.4, 0.6, 4.3]], dtype=torch.float64)
    inner = torch.tensor(
        [[0.05, 0.02, 0.01], [0.52, 0.48, 0.03], [0.5, 0.06, 0.47], [0.02, 0.55, 0.52], [0.3, 0.25, 0.71]],
        dtype=torch.float64,
    )
    return Graph(
        inner @ cell,
        torch.tensor([12, 8, 8, 13, 1]),
        "crystal",
        cell=cell,
        pbc=torch.ones(3, dtype=torch.bool),
    )


def mirrored(graph: Graph) -> Graph:
    """The mirror image in the plane x = 0."""
    return transformed(graph, torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)))


# ---------------------------------------------------------------- fields
def flow() -> Graph:
    """Velocity (1o), vorticity (1e) and pressure (0e) on a periodic 2D grid in the plane z = 0."""
    shape, h = (4, 5), (0.25, 0.2)
    index = (
        torch.stack(torch.meshgrid(torch.arange(4), torch.arange(5), indexing="ij"), -1)
        .reshape(-1, 2)
        .double()
    )
    positions = torch.cat(
        [index * torch.tensor(h, dtype=torch.float64), torch.zeros(20, 1, dtype=torch.float64)], dim=1
    )
    random = torch.Generator().manual_seed(5)
    draw = torch.randn(20, 4, generator=random, dtype=torch.float64)
    zeros = torch.zeros(20, 1, dtype=torch.float64)
    return Graph(
        positions, torch.zeros(20, dtype=torch.int64), "field",
        cell=torch.diag(torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)), pbc=torch.tensor([True, True, False]),
        edges={"grid": grid_edges(shape, (True, True))}, spacing=0.2, grid_shape=shape,
        quantities={
            "velocity": torch.cat([draw[:, :2], zeros], dim=1),
            "vorticity": torch.cat([zeros, zeros, draw[:, 2:3]], dim=1),
            "pressure": draw[:, 3],
        },
        conditions={"dt": 0.01, "viscosity": 1e-3, "diffusion_number": 2.5e-4, "dt_over_spacing": 0.05},
    )  # fmt: skip


def cavity() -> Graph:
    """Scattered points in 3D with walls, their normals, gravity and a temperature: every kind of symmetry breaker."""
    random = torch.Generator().manual_seed(6)
    positions = torch.rand(24, 3, generator=random, dtype=torch.float64)
    wall = torch.arange(24) < 8
    normal = torch.nn.functional.normalize(torch.randn(24, 3, generator=random, dtype=torch.float64), dim=1)
    return Graph(
        positions, torch.zeros(24, dtype=torch.int64), "field", node_type=torch.where(wall, 2, 1), level="fluid-2",
        quantities={
            "velocity": torch.randn(24, 3, generator=random, dtype=torch.float64),
            "temperature": torch.randn(24, generator=random, dtype=torch.float64),
            "magnetic_field": torch.randn(24, 3, generator=random, dtype=torch.float64),
            "normal": normal * wall[:, None],
            "gravity": torch.tensor([0.1, -0.3, -0.9], dtype=torch.float64),
            "inflow": torch.tensor([1.1, 0.2, -0.4], dtype=torch.float64),
        },
    )  # fmt: skip


# ---------------------------------------------------------------- transformations
def orthogonal_matrices() -> Tensor:
    """50 random rotations, 50 random reflections (rotary ones included), a quarter turn, a mirror and the inversion,
    float64 ``[103, 3, 3]``."""
    generator = torch.Generator().manual_seed(11)
    q, r = torch.linalg.qr(torch.randn(100, 3, 3, generator=generator, dtype=torch.float64))
    q = q * torch.diagonal(r, dim1=1, dim2=2).sign().unsqueeze(
        1
    )  # uniform over O(3): Mezzadri, arXiv:math-ph/0609050
    q = q * torch.linalg.det(q)[:, None, None]
    q[50:] *= -1
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    return torch.cat([q, torch.stack([quarter, mirror, -torch.eye(3, dtype=torch.float64)])])


def all_turned(value: Tensor, irreps: str, maps: Tensor) -> Tensor:
    """``value`` after each of ``maps [Q, 3, 3]``, one after another as in a batch: ``[Q * len(value), ...]``."""
    return torch.cat([turned(value, irreps, q) for q in maps])


def turned(value: Tensor, irreps: str, q: Tensor) -> Tensor:
    """A Cartesian value of the vocabulary after the orthogonal map ``q``."""
    sign = torch.linalg.det(q)
    match irreps:
        case "0e":
            return value
        case "0o":
            return sign * value
        case "1o":
            return value @ q.T
        case "1e":
            return sign * (value @ q.T)
        case "0e+2e" | "0e+1e+2e":
            return q @ value @ q.T
        case "2x0e+2x2e+4e":
            return _turned_voigt(value, q)
        case "5x0e":
            return value
    raise AssertionError(irreps)


def _turned_voigt(value: Tensor, q: Tensor) -> Tensor:
    """An elastic tensor in Voigt's order, written out as C_ijkl, turned and read back."""
    pairs = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
    place = torch.zeros(3, 3, dtype=torch.int64)
    for k, (i, j) in enumerate(pairs):
        place[i, j] = place[j, i] = k
    full = value[..., place[:, :, None, None], place[None, None]]
    full = torch.einsum("ia,jb,kc,ld,...abcd->...ijkl", q, q, q, q, full)
    i, j = torch.tensor(pairs).T
    return full[..., i[:, None], j[:, None], i[None], j[None]]


def transformed(graph: Graph, q: Tensor) -> Graph:
    """The whole record seen after ``q``: positions, cell and every quantity."""
    return replace(
        graph,
        positions=graph.positions @ q.T,
        cell=graph.cell @ q.T,
        quantities={n: turned(v, graph.definition(n).irreps, q) for n, v in graph.quantities.items()},
    )


def permuted(graph: Graph, order: Tensor) -> Graph:
    """Node ``k`` of the result is node ``order[k]`` of ``graph``."""
    where = torch.argsort(order)
    edges = {kind: replace(e, index=where[e.index]) for kind, e in graph.edges.items()}
    quantities = {
        n: v[order] if graph.definition(n).support == "node" else v for n, v in graph.quantities.items()
    }
    node_type = graph.node_type[order]
    return replace(
        graph, positions=graph.positions[order], species=graph.species[order], node_type=node_type, edges=edges,
        quantities=quantities, grid_shape=None,
    )  # fmt: skip


def supercell(graph: Graph, repeats: tuple[int, int, int]) -> Graph:
    """``repeats`` copies along each lattice vector; copies of the whole cell follow one another."""
    shifts = torch.cartesian_prod(*[torch.arange(n) for n in repeats]).double()
    positions = (graph.positions[None] + (shifts @ graph.cell)[:, None]).reshape(-1, 3)
    cell = graph.cell * torch.tensor(repeats, dtype=torch.float64)[:, None]
    return replace(
        graph,
        positions=positions,
        species=graph.species.repeat(len(shifts)),
        cell=cell,
        node_type=None,
        quantities={},
    )


def together(first: Graph, second: Graph, offset: Tensor) -> Graph:
    """One molecule of two, the second moved by ``offset``."""
    return replace(
        first,
        positions=torch.cat([first.positions, second.positions + offset]),
        species=torch.cat([first.species, second.species]),
        node_type=None,
        quantities={},
    )
