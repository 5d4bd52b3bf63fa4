"""One cell of the table ``priors``: a network from scratch on a share of a task's data, with one prior or none.

    python benchmarks/priors.py --task flows --prior divergence --percent 10 --seed 0 --steps 300 --work DIR --result FILE

Every cell of a task takes the same number of steps, so a prior is judged by what it does per step and by what it costs in
processor time, both of which the table shows. Data: what the package ships (``atomfield.data.starter``), or ``--source``, a file
or store of the same quantities. Groups (molecules, compositions, trajectories) are split once per task, whatever the share and
seed: test and validation records are those of all cells; a share takes the first of the shuffled training groups.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from atomfield.data.graph import Graph
from atomfield.data.source import open_source
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.parts import Parts
from atomfield.finetune.run import finetune


@dataclass(frozen=True)
class Task:
    """Where the records are, those of one level only, what is learnt, and the metric of the table."""

    source: str
    level: str
    target: tuple[str, ...]
    metric: str
    groups: int
    """So many groups at most are used, shuffled: the table stays small."""


TASKS = {
    "molecules": Task("starter/molecules", "gfn2-xtb", ("energy", "forces"), "forces_mae_eV_per_A", 250),
    "insulators": Task("starter/crystals", "gfn1-xtb-pbc", ("energy", "forces"), "forces_mae_eV_per_A", 200),
    "flows": Task(
        "starter/fields", "navier-stokes-2d", ("velocity", "pressure"), "velocity_rollout_vrmse", 100
    ),
    "scalars": Task(
        "starter/fields", "advection-diffusion-2d", ("concentration",), "concentration_rollout_vrmse", 90
    ),
}
PRIORS: dict[str, dict[str, Any]] = {
    "none": {},
    "zbl": {"network": {"priors": ["zbl"]}},
    "electrostatics": {"network": {"electrostatics": True}},
    "charges of atoms": {"network": {"electrostatics": True, "electrostatics_charges": "atoms"}},
    "divergence": {"network": {"constraints": ["divergence", "conserved_momentum"]}},
    "conserved": {"network": {"constraints": ["conserved_concentration"]}},
    "equation": {},
}
"""What each changes in the configuration; ``equation`` is the penalty of the task's own law, see :func:`settings`."""
EQUATIONS = {"flows": {"navier_stokes": 0.1}, "scalars": {"advection_diffusion": 0.1}}
APPLY = {
    "molecules": ("none", "zbl", "electrostatics", "charges of atoms"),
    "insulators": ("none", "zbl", "electrostatics", "charges of atoms"),
    "flows": ("none", "divergence", "equation"),
    "scalars": ("none", "conserved", "equation"),
}
"""The priors of each task."""
FEW = 20
"""Groups; with fewer, single records are held out."""
SIZE = {"size": "s", "channels": 16, "channels_unnatural": 4}


def settings(task: str, prior: str) -> dict[str, Any]:
    """Keys of the configuration."""
    chosen = PRIORS[prior]
    network = {**SIZE, **chosen.get("network", {})}
    loss = {"loss": {"physics": EQUATIONS[task]}} if prior == "equation" else {}
    return {"network": network, **loss}


def parts_of(task: Task, source: str | None, percent: float) -> Parts:
    """Records of the task; test and validation groups are a fifth and a tenth. Where there are few groups (seven salts), each
    record is one of its own. A share begins with groups that have all the elements."""
    graphs = [g for g in open_source(source or task.source) if g.level == task.level and _regular(g)]
    few = len({g.group for g in graphs}) < FEW
    named = {(f"{g.group} {number}" if few else g.group): [] for number, g in enumerate(graphs)}
    for number, graph in enumerate(graphs):
        named[f"{graph.group} {number}" if few else graph.group].append(graph)
    names = sorted(named)
    order = np.random.default_rng(0).permutation(len(names))[: task.groups]
    chosen = [names[k] for k in order]
    test, valid = len(chosen) // 5, len(chosen) // 10
    rest = _covering(chosen[test + valid :], named)
    share = rest[: max(1, round(percent / 100 * len(rest)))]
    pick = lambda groups: [graph for name in groups for graph in named[name]]  # noqa: E731
    return Parts(pick(share), pick(chosen[test : test + valid]), pick(chosen[:test]))


def _covering(names: list[str], named: dict[str, list[Graph]]) -> list[str]:
    """The same names; first those that bring an element which none before has."""
    seen: set[int] = set()
    first = []
    for name in names:
        species = {z for graph in named[name] for z in graph.species.tolist()}
        if not species <= seen:
            first.append(name)
            seen |= species
    return first + [name for name in names if name not in first]


def _regular(graph: Graph) -> bool:
    """Atoms, or a regular grid: the constraint ``divergence`` needs one."""
    return graph.world != "field" or graph.grid_shape is not None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", choices=list(TASKS), required=True)
    parser.add_argument("--prior", choices=list(PRIORS), required=True)
    parser.add_argument("--percent", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--source", default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    task = TASKS[options.task]
    parts = parts_of(task, options.source, options.percent)
    config = FinetuneConfig(
        **{
            "from": "scratch",
            "train": (options.source or task.source,),
            "target": task.target,
            "out": options.work / "run",
            "steps": options.steps,
            "seed": options.seed,
            "device": "cpu",
            **settings(options.task, options.prior),
        }
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    metrics = finetune(config, parts, console=Console(file=io.StringIO()))
    values = {
        "error": metrics[task.metric],
        "error_trivial": metrics.get(
            f"baseline_persistence_{task.metric}", metrics.get(f"baseline_{task.metric}")
        ),
        "processor_s": resource.getrusage(resource.RUSAGE_SELF).ru_utime - before,
        "records": len(parts.train),
    }
    values |= {
        k: v for k, v in metrics.items() if k.startswith(("law_", "physics_", "equivariance_", "nve_"))
    }
    options.result.write_text(json.dumps(values, indent=1))


if __name__ == "__main__":
    main()
