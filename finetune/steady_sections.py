"""Pictures and table of a steady problem: problem, solution and prediction side by side, the worst records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import atom_plots, field_plots
from .field_errors import nrmse
from .metrics import paired, unit_of
from .report import Picture, Section, Table, number
from .saving import save_picture

if TYPE_CHECKING:
    from .assess import Assessment

WORST = 10


def steady_sections(a: Assessment, out: Path) -> list[Section]:
    """For each target the records of median and worst error, a parity plot, and a table of the worst."""
    shown: list[Picture] = []
    rows: list[tuple[float, list[str]]] = []
    panels = []
    for name in a.targets:
        kept, truth, predicted = paired(a.graphs, a.predictions, name)
        errors = np.array([nrmse(p[None], t[None]) for t, p in zip(truth, predicted, strict=True)])
        order = np.argsort(errors)
        for which, k in (("median", int(order[len(order) // 2])), ("worst", int(order[-1]))):
            graph = a.graphs[kept[k]]
            inputs = {
                n: np.asarray(v) for n, v in graph.quantities.items() if n not in a.targets and n != "normal"
            }
            figure = field_plots.steady(graph, name, inputs, truth[k], predicted[k])
            caption = f"{name}: the record of {which} error ({graph.provenance}; relative L2 error {number(float(errors[k]))})."
            shown.append(save_picture(figure, f"steady_{name}_{which}", out, caption))
        all_true, all_found = (np.concatenate([x.ravel() for x in part]) for part in (truth, predicted))
        panels.append(
            atom_plots.Parity(all_true, all_found, name, unit_of(a.graphs, name).replace("field", ""))
        )
        rows += [
            (float(errors[k]), [str(a.graphs[kept[k]].provenance), name, number(float(errors[k]))])
            for k in order[-WORST:]
        ]
    worst = [row for _, row in sorted(rows, key=lambda r: -r[0])[:WORST]]
    table = Table(["record", "quantity", "relative L2 error"], worst, text_columns=frozenset({0, 1}))
    caption = "Predicted against reference at all points; the dashed line is perfect agreement."
    parity = save_picture(atom_plots.parity(panels), "parity", out, caption)
    return [
        Section("Solutions beside the truth", tuple(shown)),
        Section("Predicted against reference", (parity,)),
        Section(f"The {len(worst)} worst records", (table,)),
    ]
