"""A network as a model of torch-sim, which moves and relaxes many systems at once.

``torch_sim.integrate(atoms, TorchSimModel(net), integrator=..., ...)``. Needs ``pip install 'atomfield[torch-sim]'``. Pairs are
kept within a skin (:mod:`.kept_pairs`) as long as cells stay as they are, and the pass is that of our other ways to move atoms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph

from .calculator import own_copy
from .levels import with_level
from .silent import refuse_silent
from .together import Bunch
from .unseen import refuse_unseen

try:
    from torch_sim.models.interface import ModelInterface
except ImportError as error:
    raise InputError(
        f"this needs {error.name or 'torch-sim'}, which is not installed; pip install 'atomfield[torch-sim]'"
    ) from error

if TYPE_CHECKING:
    from atomfield.models.network import AtomFieldNet
    from torch_sim import SimState


class TorchSimModel(ModelInterface):
    """Energies ``[G]`` eV, forces ``[N, 3]`` eV/angstrom and, of periodic systems, stress ``[G, 3, 3]`` eV/angstrom^3 (ASE's
    sign) of a state in float64.

    net: copied. level: of theory; default: as in ``calculator``. dtype: of the weights, ``"float32"`` or ``"float64"``; default:
    as they are. compute_stress: leave it out where nothing asks for it. Charge and spin of the systems are unknown to the model.
    Raises ``InputError`` for elements and levels that the network does not know, and for atoms that come too close.
    """

    def __init__(
        self,
        net: AtomFieldNet,
        *,
        level: str = "",
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        compute_stress: bool = True,
        skin: float = 0.5,
    ):
        super().__init__()
        self.net = own_copy(net, dtype, device)
        self.level, self.skin = level, skin
        self._device, self._dtype = self.net.device, torch.float64
        self._compute_forces, self._compute_stress = True, compute_stress
        self._bunch: Bunch | None = None
        self._of: tuple[Tensor, Tensor, Tensor, bool] | None = None
        """Atomic numbers, owners, cells and periodicity of the systems in ``_bunch``."""

    def forward(self, state: SimState, **unused: Any) -> dict[str, Tensor]:
        """``state``: positions, cells (columns), atomic numbers and the system of each atom, of one periodicity."""
        periodic = _periodic(state.pbc)
        cell = state.row_vector_cell.to(torch.float64)
        now = (state.atomic_numbers, state.system_idx, cell, periodic)
        if self._of is None or not _same(self._of, now):
            self._bunch = Bunch(self.net, self._graphs(state, cell, periodic), self.skin)
            self._of = (now[0].clone(), now[1].clone(), now[2].clone(), periodic)
        assert self._bunch is not None
        wanted = self._compute_stress and periodic
        out = self._bunch.answers(state.positions.to(torch.float64), stress=wanted)
        found = {"energy": out["energy"].double(), "forces": out["forces"].double()}
        if self._compute_stress:
            stress = out["stress"] if periodic else torch.zeros_like(cell)
            found["stress"] = stress.double()
        return found

    def _graphs(self, state: SimState, cell: Tensor, periodic: bool) -> list[Graph]:
        graphs = []
        for number in range(len(cell)):
            own = state.system_idx == number
            graph = Graph(
                state.positions[own].detach().double().cpu(), state.atomic_numbers[own].long().cpu(),
                "crystal" if periodic else "molecule", pbc=torch.full((3,), periodic), level=self.level,
                cell=cell[number].detach().cpu() if periodic else torch.zeros(3, 3, dtype=torch.float64),
            )  # fmt: skip
            level = with_level(self.net, graph, number).level
            refuse_unseen(self.net, graph.species, level)
            refuse_silent(self.net, level)
            graphs.append(graph)
        return graphs


def _periodic(pbc: Any) -> bool:
    """Raises ``InputError`` for slabs and wires, which torch-sim's cells do not tell from crystals."""
    every = {bool(p) for p in (pbc.flatten().tolist() if isinstance(pbc, Tensor) else [pbc])}
    if len(every) > 1:
        raise InputError(f"periodic is {pbc}, expected all three directions or none")
    return every.pop()


def _same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    tensors = zip(before[:3], now[:3], strict=True)
    return before[3] == now[3] and all(a.shape == b.shape and torch.equal(a, b) for a, b in tensors)
