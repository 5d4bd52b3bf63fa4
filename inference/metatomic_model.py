"""What metatomic calls: systems with their pairs in, energies of atoms out. Compiled by TorchScript, which reads this source.

It takes annotations as they stand here, so there are no postponed ones. Import it where metatomic is installed.
"""

from typing import Dict, List, Optional

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap, slice, sum_over_samples
from metatomic.torch import ModelOutput, NeighborListOptions, System


class EnergyModel(torch.nn.Module):
    """energies: positions, species, pairs and offsets to energies, see :class:`.metatomic.EnergyOfAtoms`. crystals: whether
    ``level`` answers for periodic structures."""

    def __init__(self, energies: torch.nn.Module, cutoff: float, crystals: bool, level: str):
        super().__init__()
        self.energies = energies
        self.crystals = crystals
        self.level = level
        self.cutoff = cutoff
        self.neighbors = NeighborListOptions(cutoff=cutoff, full_list=True, strict=True)

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        return [self.neighbors]

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels],
    ) -> Dict[str, TensorMap]:
        """``energy`` per atom, or per system where that is asked for."""
        results: Dict[str, TensorMap] = {}
        if "energy" not in outputs or len(systems) == 0:
            return results
        positions: List[torch.Tensor] = []
        species: List[torch.Tensor] = []
        pairs: List[torch.Tensor] = []
        offsets: List[torch.Tensor] = []
        rows: List[torch.Tensor] = []
        first = 0
        for number, system in enumerate(systems):
            if not self.crystals and bool(torch.any(system.pbc)):
                raise ValueError(
                    "this file answers at level "
                    + self.level
                    + ", which is for molecules; export a level for crystals by its name"
                )
            found = system.get_neighbor_list(self.neighbors)
            # their pair goes from the first atom to the second, ours from the receiver to the sender
            receiver = found.samples.column("first_atom").to(torch.int64)
            sender = found.samples.column("second_atom").to(torch.int64)
            vector = found.values.reshape(-1, 3)
            offsets.append(vector - system.positions[sender] + system.positions[receiver])
            pairs.append(torch.stack([sender, receiver]) + first)
            positions.append(system.positions)
            species.append(system.types.to(torch.int64))
            own = torch.arange(len(system), device=system.positions.device)
            rows.append(torch.stack([torch.full_like(own, number), own], dim=1))
            first += len(system)
        energy = self.energies(
            torch.cat(positions), torch.cat(species), torch.cat(pairs, dim=1), torch.cat(offsets)
        )
        device = energy.device
        nothing = torch.zeros((1, 1), dtype=torch.int64, device=device)
        block = TensorBlock(
            values=energy.reshape(-1, 1),
            samples=Labels(["system", "atom"], torch.cat(rows).to(torch.int32)),
            components=torch.jit.annotate(List[Labels], []),
            properties=Labels(["energy"], nothing),
        )
        answer = TensorMap(Labels(["_"], nothing), [block])
        if selected_atoms is not None:
            answer = slice(answer, axis="samples", selection=selected_atoms)
        if outputs["energy"].sample_kind == "system":
            answer = sum_over_samples(answer, ["atom"])
        results["energy"] = answer
        return results
