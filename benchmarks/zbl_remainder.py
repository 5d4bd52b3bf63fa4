"""How much of the starter corpus' forces the repulsion of screened nuclei explains, by where it is made to end.

    python benchmarks/zbl_remainder.py [--records 150]

RMS over the force components of randomly picked records (seed 0), in eV/angstrom: of the labels, of the labels less
ZBL, and of ZBL.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from atomfield.data.radius import radius_pairs
from atomfield.data.source import open_source
from atomfield.models.priors import covalent_radii
from atomfield.physics_priors.pairs import PairEdges, derivatives
from atomfield.physics_priors.zbl import zbl

CUTOFF = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=150)
    count = parser.parse_args().records
    radii = covalent_radii()
    for source in ("starter/molecules", "starter/crystals"):
        graphs = open_source(source)
        picked = np.random.default_rng(0).choice(len(graphs), count, replace=False)
        for end in (0.7, 0.75, 0.8, 0.85, 0.9, 1.0):
            labels, terms = [], []
            for number in picked.tolist():
                g = graphs[number]
                if "forces" not in g.quantities:
                    continue
                cell, one = g.cell[None], torch.zeros(g.num_nodes, dtype=torch.int64)
                index, shift = radius_pairs(
                    g.positions, torch.tensor([g.num_nodes]), cell, g.pbc[None], CUTOFF
                )
                pairs = PairEdges(g.positions, cell, g.species, one, index[0], index[1], shift)
                with torch.no_grad():
                    found = derivatives(lambda p, e=end: zbl(p, radii, CUTOFF, e), pairs, stress=False)
                labels.append(g.quantities["forces"].double())
                terms.append(found["forces"])
            label, term = torch.cat(labels), torch.cat(terms)
            parts = {"labels": label, "remainder": label - term, "ZBL": term}
            text = ", ".join(f"{name} {float(x.square().mean().sqrt()):.2f}" for name, x in parts.items())
            print(f"{source}, ending at {end:.2f}: {text}; largest of ZBL {float(term.abs().max()):.1f}")


if __name__ == "__main__":
    main()
