"""VASP's ``vasprun.xml`` and ``OUTCAR``: every ionic step is a record.

Energy: the free energy of the electrons (``TOTEN``, ``e_fr_energy``), since VASP's forces and stress are its derivatives; the
energy extrapolated to zero smearing is ``--map energy=e_0_energy``. Stress: VASP prints ``-stress`` in kbar (positive under
compression); ours is positive in tension. Steps whose electronic loop ended at ``NELM`` are refused: they did not
converge.

References: https://www.vasp.at/wiki/index.php/Vasprun.xml, https://www.vasp.at/wiki/index.php/OUTCAR.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph

from .atoms import atoms_graph
from .conventions import assumed
from .labels import group_of, missing_target
from .options import Outcomes, ReadOptions, attempt


@dataclass
class Step:
    """One ionic step: ``cell`` rows, Cartesian or fractional positions, labels as the file has them, electronic steps taken."""

    cell: np.ndarray | None
    positions: np.ndarray | None
    fractional: bool
    values: dict[str, Any] = field(default_factory=dict)
    electronic_steps: int = 0
    line: int | None = None


@dataclass
class Run:
    """What all steps share: atomic numbers ``[N]`` and ``NELM`` (0: unknown)."""

    numbers: np.ndarray
    max_electronic_steps: int = 0


def read_vasp(path: Path, options: ReadOptions) -> Outcomes:
    """All ionic steps, in order."""
    xml = not path.name.upper().startswith("OUTCAR") and ".xml" in path.name.lower()
    if xml:
        from .vasp_xml import read_steps
    else:
        from .vasp_outcar import read_steps
    said: ReadOptions | None = None
    count = 0
    for run, step in read_steps(path):
        said = said or assumed(
            options, path, {"stress": "-kbar"} if "stress" in step.values else {},
            "VASP's convention; energy is the free energy TOTEN, whose derivatives forces and stress are",
            {"energy": "e_fr_energy"},
        )  # fmt: skip
        where = Provenance(str(path), count, step.line)

        yield attempt(where, partial(_graph, run, step, said, where))
        count += 1
    if not count:
        raise InputError("the file has no ionic step; has the calculation begun?", str(path))


def _graph(run: Run, step: Step, options: ReadOptions, where: Provenance) -> Graph:
    if step.positions is None or step.cell is None:
        raise InputError(
            f"the step has no {'positions' if step.positions is None else 'cell'}; is the file whole?", where
        )
    if len(step.positions) != len(run.numbers):
        raise InputError(
            f"the step has {len(step.positions)} positions, expected {len(run.numbers)} as there are ions",
            where,
        )
    if run.max_electronic_steps > 1 and step.electronic_steps >= run.max_electronic_steps:
        raise InputError(
            f"the electronic loop ended after NELM={run.max_electronic_steps} steps, expected it to converge",
            where,
        )
    if "e_fr_energy" not in step.values:
        raise InputError("the step has no free energy; is the file whole?", where)
    for name, value in step.values.items():
        if np.ndim(value) == 0 and not np.isfinite(value):
            raise InputError(f"{name} is {value}, expected a number", where)
    key = options.key("energy")
    if key not in step.values:
        raise InputError(missing_target(["energy"], step.values, options), where)
    positions = step.positions @ step.cell if step.fractional else step.positions
    group = group_of(step.values, options, where)
    return atoms_graph(
        run.numbers, positions, step.cell, (True, True, True), step.values, options, where, group=group
    )
