"""Our calculator and our batched functions as a timed worker (``benchmarks/inference.py``)."""

from __future__ import annotations

import ase.io
import torch
from ase_jobs import RELAX_STEPS, jobs_of
from atomfield_speed import config_of, graphs, network_of, versions
from worker import Subject, serve

from atomfield.inference.calculator import AtomFieldCalculator, threads_for
from atomfield.inference.predict import predict_graphs
from atomfield.inference.together import relax_many
from atomfield.models.force_pass import ForcePass
from atomfield.models.network import graphs_to_batch


def load(size: str, file: str, cutoff: float) -> Subject:
    records = graphs(file)
    probe = graphs_to_batch(config_of(size, cutoff, 16.0), records)
    network = (
        network_of(config_of(size, cutoff, probe.num_edges / probe.num_nodes)).eval().requires_grad_(False)
    )
    network.atom_head.energy_scale.fill_(0.01)  # what random weights say at full size tears molecules apart
    calculator = AtomFieldCalculator(network)
    structures = ase.io.read(file, index=":")
    jobs = jobs_of(structures, calculator)
    batch = calculator.pairs.batch(structures[0], "")

    kept = ForcePass(network, keep=True)

    def model() -> None:
        """Ten passes of the network alone, on the structure that moves."""
        with torch.no_grad(), threads_for(batch.num_edges):
            for _ in range(10):
                network(batch, stress=bool(batch.pbc.all()), added=True, prepared=kept)

    jobs["model"] = model
    if len(records) > 1:
        jobs["relax"] = lambda: relax_many(network, records, fmax=1e-12, steps=RELAX_STEPS)
        jobs["screen"] = lambda: predict_graphs(network, records)
    return Subject(
        jobs=jobs,
        atoms=batch.num_nodes,
        edges=batch.num_edges,
        parameters=sum(p.numel() for p in network.parameters()),
    )


if __name__ == "__main__":
    serve("atomfield", versions, load)
