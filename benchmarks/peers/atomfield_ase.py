"""Our calculator and our batched functions as a timed worker (``benchmarks/inference.py``). A size is ``xs``, ``s``, ``m`` or
``l``; with ``+compiled`` the calculator's ``compile=True``, without relaxation and screening: batches would be compiled anew.

A size's calculator is made once and serves all structures: the mean number of neighbours, of the first, only scales a sum."""

from __future__ import annotations

import ase.io
import torch
from ase_jobs import RELAX_STEPS, jobs_of, md_steps
from atomfield_speed import config_of, graphs, network_of, versions
from worker import DEVICE, Subject, serve

from atomfield.inference.calculator import AtomFieldCalculator, threads_for
from atomfield.inference.predict import predict_graphs
from atomfield.inference.together import relax_many
from atomfield.models.force_pass import kept_pass
from atomfield.models.network import graphs_to_batch

MADE: dict[tuple[str, float], AtomFieldCalculator] = {}


def made(size: str, cutoff: float, file: str) -> AtomFieldCalculator:
    base, _, how = size.partition("+")
    if how not in ("", "compiled"):
        raise ValueError(f"expected SIZE or SIZE+compiled, found +{how}")
    probe = graphs_to_batch(config_of(base, cutoff, 16.0), graphs(file)[:1])
    network = (
        network_of(config_of(base, cutoff, probe.num_edges / probe.num_nodes)).eval().requires_grad_(False)
    )
    network.atom_head.energy_scale.fill_(0.01)  # what random weights say at full size tears molecules apart
    return AtomFieldCalculator(network, device=DEVICE, compile=bool(how))


def load(size: str, file: str, cutoff: float) -> Subject:
    if (size, cutoff) not in MADE:
        MADE[size, cutoff] = made(size, cutoff, file)
    calculator = MADE[size, cutoff]
    network = calculator.net
    structures = ase.io.read(file, index=":")
    jobs = jobs_of(structures, calculator)
    batch = calculator.pairs.batch(structures[0], "")
    kept = kept_pass(network, batch, None)

    def model() -> None:
        """Passes of the network alone, as many as ``md`` makes, on the structure that moves."""
        with torch.no_grad(), threads_for(batch.num_edges):
            for _ in range(md_steps(batch.num_nodes)):
                network(batch, stress=bool(batch.pbc.all()), added=True, prepared=kept)

    jobs["model"] = model
    records = graphs(file)
    if len(records) > 1 and "+" not in size:
        jobs["relax"] = lambda: relax_many(network, records, fmax=1e-12, steps=RELAX_STEPS)
        jobs["screen"] = lambda: predict_graphs(network, records)
    else:
        jobs = {name: job for name, job in jobs.items() if name in ("md", "model")}
    return Subject(
        jobs=jobs,
        atoms=batch.num_nodes,
        edges=batch.num_edges,
        parameters=sum(p.numel() for p in network.parameters()),
    )


if __name__ == "__main__":
    serve("atomfield", versions, load)
