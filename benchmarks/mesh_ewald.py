"""Error and time of the Coulomb energy of an ionic crystal on a mesh, beside the exact Ewald sum.

    python benchmarks/mesh_ewald.py [--ions 4]

Rock salt of 2.8 angstrom spacing with ions off their sites by up to 0.3 angstrom, ``ions`` along each edge, in an
orthogonal and in a skewed cell; cutoff 8 angstrom, float64, one run each. Needs the extra ``longrange``. Energies in eV
for the whole cell.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time

import torch
import torchpme

from atomfield.physics_priors.coulomb import COULOMB
from atomfield.physics_priors.ewald import ewald_energy
from atomfield.physics_priors.pairs import PairEdges, find_pairs

CUTOFF = 8.0


def salt(ions: int, skewed: bool) -> tuple[PairEdges, torch.Tensor]:
    sites = torch.tensor(list(itertools.product(range(ions), repeat=3)), dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    positions = 2.8 * sites + 0.3 * torch.rand(sites.shape, generator=generator, dtype=torch.float64)
    cell = 2.8 * ions * torch.eye(3, dtype=torch.float64)
    if skewed:
        cell[0, 1], cell[1, 2], cell[2, 0] = 0.2, 0.3, 0.1
    species = torch.full((len(sites),), 11)
    pairs = find_pairs(positions, cell[None], species, torch.zeros(len(sites), dtype=torch.int64), CUTOFF)
    return pairs, torch.where(sites.sum(1) % 2 == 0, 1.0, -1.0).double()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ions", type=int, default=4)
    ions = parser.parse_args().ions
    for skewed in (False, True):
        pairs, charges = salt(ions, skewed)
        start = time.perf_counter()
        exact = float(ewald_energy(pairs, charges, CUTOFF, accuracy=1e-14))
        cell = "skewed" if skewed else "orthogonal"
        print(f"{cell}: Ewald {exact:.9f} eV in {time.perf_counter() - start:.3f} s")
        index = torch.stack([pairs.receiver, pairs.sender], dim=1)
        for kind, order in ((torchpme.PMECalculator, 7), (torchpme.P3MCalculator, 5)):
            for spacing in (1.0, 0.5, 0.25):
                smearing = CUTOFF / math.sqrt(-2 * math.log(1e-10))
                potential = torchpme.CoulombPotential(smearing=smearing)
                mesh = kind(potential, spacing, order, full_neighbor_list=True).double()
                start = time.perf_counter()
                q = charges[:, None]
                energy = COULOMB * float(
                    (q * mesh(q, pairs.cell[0], pairs.positions, index, pairs.distances())).sum()
                )
                seconds = time.perf_counter() - start
                name = f"{kind.__name__} of {order} points"
                print(
                    f"  {name:28s} spacing {spacing:4.2f}: error {energy - exact:+.1e} eV in {seconds:.3f} s"
                )


if __name__ == "__main__":
    main()
