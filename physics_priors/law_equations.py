"""What a law says of data, as equations for its constants (``law_fit.py``).

Of a field in time, averaged over windows phi that are smooth and narrow in space and time:

    int phi du/dt = - int (dphi/dt) u = int phi predicted(u; c)

The derivative in time falls on phi; on a periodic grid those in space do too, since its operators are sums that are symmetric
or antisymmetric. So noise is averaged and not differentiated (weak form: Messenger and Bortz, J. Comput. Phys. 443, 110525
(2021)). On clouds and meshes the average is over time alone, and derivatives have the error of ``least_squares.py``.
Of atoms: forces, or energies, of each structure.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .law import Law, Values
from .law_fit import Equations
from .operators import Operators
from .pairs import PairEdges, derivatives
from .periodic_cell import PeriodicCell
from .weak_form import Windows, half_width

POWER = 4
"""Exponent of the test function (1 - y^2)^p; 2 more along a time of which the second derivative is explained."""
FEWEST_TIMES = 7


# ---------------------------------------------------------------- fields
def field_equations(
    law: Law[Operators],
    operators: Operators,
    states: Mapping[str, Tensor],
    dt: float,
    inside: Tensor,
    tiles: Tensor,
) -> Equations:
    """Of ``states``, name -> ``[T, *components, N]`` (float64), ``dt`` apart; a law that is steady takes every time for itself.

    inside ``[N]`` bool: points where the law holds. tiles ``[N]``: which points lie near each other, where there is no grid.
    ``ValueError`` for fewer than 7 times.
    """
    num = len(next(iter(states.values())))
    grid = operators.shape if isinstance(operators, PeriodicCell) else None
    lead = states[(law.explains or law.reads)[0]]
    over = _Space(grid, lead, inside, tiles)
    places, still, moving = torch.arange(num), torch.eye(num, dtype=torch.float64), None
    if law.time_order:
        if num < FEWEST_TIMES:
            raise ValueError(f"found {num} times, expected at least {FEWEST_TIMES}")
        power = POWER + 2 * (law.time_order - 1)
        half = min(max(half_width(lead, 0, power), power + 2), (num - 1) // 2)
        time = Windows(num, dt, half, max(1, half // 4), power)
        still, moving = time.matrix(0), (-1) ** law.time_order * time.matrix(law.time_order)
        # sums instead of integrals: scaled so that the rate of t, or of t^2 / 2, is 1 exactly
        powers = (
            dt * torch.arange(num).double()[:, None] - dt * time.centres
        ) ** law.time_order / law.time_order
        moving = moving * (still.sum(1) / (moving * powers.T).sum(1))[:, None]
        places = time.centres // (2 * half + 1)
    values = {name: _components_first(value) for name, value in states.items()}
    rates, begin = {}, values
    if moving is not None:
        rates = {n: _components_first(torch.tensordot(moving, states[n], 1)) for n in law.explains}
        begin = {n: v[..., :1, :].expand(*v.shape[:-2], len(moving), -1) for n, v in values.items()}
    zero = {n: torch.zeros_like(values[n]) for n in law.explains}

    def left(values: Values, rates: Values, constants: Values) -> Tensor:
        """``[T, ..., N]``."""
        return law.residual(operators, values, rates, constants).movedim(-2, 0)

    def parts(constants: Tensor) -> tuple[Tensor, Tensor]:
        c = dict(zip(law.constants, constants.unbind(), strict=True))
        predicted = -torch.tensordot(still, left(values, zero, c), 1)
        if (
            law.explains
        ):  # the residual is linear in the rate, with a coefficient that does not depend on the state
            resting = {n: torch.zeros_like(r) for n, r in rates.items()}
            explained = left(begin, rates, c) - left(begin, resting, c)
        else:  # a condition: what it says without its constants stands for what is explained
            bare = {name: torch.zeros_like(value) for name, value in c.items()}
            explained = torch.tensordot(still, left(values, zero, bare), 1)
            predicted = predicted + explained
        return over.average(explained).flatten(), over.average(predicted).flatten()

    spatial = over.blocks()
    blocks = (places[:, None] * (int(spatial.max()) + 1) + spatial)[:, None]
    with torch.no_grad():
        count = len(parts(torch.ones(len(law.constants), dtype=torch.float64))[0])
    return Equations(parts, blocks.expand(-1, count // blocks.numel(), -1).flatten())


def _components_first(states: Tensor) -> Tensor:
    """``[*components, T, N]`` of ``[T, *components, N]``."""
    return states.movedim(0, -2)


class _Space:
    """Averages over windows of a periodic grid; points as they are elsewhere."""

    def __init__(self, grid: tuple[int, ...] | None, lead: Tensor, inside: Tensor, tiles: Tensor):
        self.inside, self.tiles, self.grid = inside, tiles, grid
        self.axes: list[tuple[Tensor, Tensor]] = []
        for axis, n in enumerate(grid or ()):
            half = min(
                half_width(lead.reshape(*lead.shape[:-1], *(grid or ())), axis - len(grid or ()), POWER),
                (n - 1) // 2,
            )
            wrapped = torch.arange(-half, n + half) % n
            windows = Windows(n + 2 * half, 1.0, half, max(1, half // 2), POWER)
            matrix = torch.zeros(len(windows.centres), n, dtype=torch.float64)
            matrix.index_add_(1, wrapped, windows.matrix(0))
            # windows of different blocks hardly overlap, but there are three blocks along each axis at least
            self.axes.append((matrix, (windows.centres - half) // min(2 * half + 1, -(-n // 3))))

    def average(self, fields: Tensor) -> Tensor:
        """``[..., P]`` of ``[..., N]``."""
        if self.grid is None:
            return fields[..., self.inside]
        out = fields.reshape(*fields.shape[:-1], *self.grid)
        for (
            matrix,
            _,
        ) in self.axes:  # the first axis of the grid goes to the end each time, so their order is kept
            out = torch.tensordot(out, matrix, dims=([out.dim() - len(self.grid)], [1]))
        return out.flatten(-len(self.grid))

    def blocks(self) -> Tensor:
        """``[P]``."""
        if self.grid is None:
            return self.tiles[self.inside]
        total = torch.zeros((), dtype=torch.int64)
        for _, tiles in self.axes:
            total = total[..., None] * (int(tiles.max()) + 1) + tiles
        return total.flatten()


# ---------------------------------------------------------------- atoms
@dataclass(frozen=True)
class Labelled:
    """Pairs of one structure and its ``energy [1]`` in eV or ``forces [N, 3]`` in eV/angstrom."""

    pairs: PairEdges
    energy: Tensor | None
    forces: Tensor | None


def energy_equations(
    law: Law[PairEdges], kinds: list[tuple[int, int]], structures: list[Labelled]
) -> Equations:
    """Of an energy between atoms with constants for each of ``kinds``, pairs of atomic numbers: those of the first kind, then
    those of the second. Forces where a structure has them, its energy otherwise (zero: atoms far apart)."""
    count, number = len(law.constants), 1 + max(itertools.chain(*kinds))

    def tables(constants: Tensor) -> dict[str, Tensor]:
        found = {}
        for k, name in enumerate(law.constants):
            # pairs of any other kind do not occur; 1 keeps them finite
            table = torch.ones(number, number, dtype=torch.float64)
            for (a, b), value in zip(kinds, constants[k::count], strict=True):
                table = table.index_put((torch.tensor([a, b]), torch.tensor([b, a])), value)
            found[name] = table
        return found

    def parts(constants: Tensor) -> tuple[Tensor, Tensor]:
        c, labels, said = tables(constants), [], []
        for one in structures:
            zero = {"energy": torch.zeros(1, dtype=torch.float64)}
            energy = lambda pairs, zero=zero: law.term(pairs, {}, c, zero)  # noqa: E731
            if one.forces is not None:
                labels.append(one.forces.flatten())
                said.append(derivatives(energy, one.pairs, stress=False)["forces"].flatten())
            elif one.energy is not None:
                labels.append(one.energy)
                said.append(energy(one.pairs))
        return torch.cat(labels), torch.cat(said)

    sizes = [1 if s.forces is None else s.forces.numel() for s in structures]
    blocks = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return Equations(parts, blocks)
