"""The page and the pictures of ``crystals_dynamics.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from crystal_cases import CASES, POINTS, Case
from page_text import table, wrapped

BLUE, RED, GREY = "#1f5fa8", "#b3261e", "#8a8a8a"


def draw(case: Case, folder: Path, path: Path) -> None:
    """Bands of the finetuned potential, of the level where it can be asked along the path, and points from elsewhere."""
    import phonopy
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.8), layout="constrained")
    axis = figure.subplots()
    corners = ["Γ", "X", "U|K", "Γ", "L"]
    pieces = [
        np.linspace((0, 0, 0), (0.5, 0, 0.5), 61),
        np.linspace((0.5, 0, 0.5), (0.625, 0.25, 0.625), 31),
        np.linspace((0.375, 0.375, 0.75), (0, 0, 0), 61),
        np.linspace((0, 0, 0), (0.5, 0.5, 0.5), 61),
    ]
    places: list[float] = [0.0]
    files = [(folder / "phonons" / "phonopy_params.yaml", BLUE, "-", 1.5, "finetuned potential")]
    if case.curves:
        files.append((folder / "level_phonopy.yaml", GREY, "--", 1.2, case.curves))
    for file, colour, line, width, label in files:
        engine = phonopy.load(file, log_level=0)
        engine.run_band_structure(pieces)
        bands: Any = engine.band_structure
        for distance, frequencies in zip(bands.distances, bands.frequencies, strict=True):
            lines = axis.plot(distance, frequencies, color=colour, ls=line, lw=width)
            lines[0].set_label(label)
            label = "_"
        places = [0.0, *(float(d[-1]) for d in bands.distances)]
    at = {"Γ": [0, 3], "X": [1], "L": [4]}
    for point, _, _, published, measured in case.bands:
        for k in at[point]:
            if published is not None:
                axis.plot(places[k], published, "s", color="#2e7d32", ms=5, mfc="none", clip_on=False)
            if measured is not None:
                axis.plot(places[k], measured, "o", color=RED, ms=5, mfc="none", clip_on=False)
    if case.name == "silicon":
        axis.plot([], [], "s", color="#2e7d32", mfc="none", label="PBE, published forces")
    axis.plot([], [], "o", color=RED, mfc="none", label="measured")
    for place in places:
        axis.axvline(place, color="#d0d0d0", lw=0.7, zorder=0)
    axis.set_xticks(places, corners)
    axis.set_xlim(0, places[-1])
    axis.set_ylim(bottom=0)
    axis.set_ylabel("frequency (THz)")
    axis.set_title(f"Phonons of {case.formula}", fontsize=11)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8.5, loc="lower center", bbox_to_anchor=(0.47, 0.02))
    figure.savefig(path, dpi=150)


def write(folder: Path) -> None:
    """``crystals.md`` beside the folder of results."""
    lines = [
        "# Crystals from finetuned potentials",
        "",
        "`python benchmarks/crystals_dynamics.py --data DIR --nacl DIR --work runs/crystals`; what each column is: the texts "
        "of that script and of `crystal_cases.py`. *simulate*: `atomfield simulate --mode eos|elastic|phonons` in float64. "
        "*own energies*: second differences of the same potential's energies alone; that they agree says that forces, stress "
        "and the commands are right, not that the potential is. *level*: the theory that was learnt.",
        "",
    ]
    for case in CASES.values():
        file = folder / f"{case.name}.json"
        if file.exists():
            lines += _section(case, json.loads(file.read_text()))
    (folder.parent / "crystals.md").write_text(wrapped(lines).rstrip() + "\n")


def _section(case: Case, found: dict[str, Any]) -> list[str]:
    errors = found["test_errors"]
    machine = found["machine"]
    budget = f"{found['minutes']:g} minutes of processor time"
    if case.steps:
        budget = (
            f"{found['steps']} steps, {found['training_processor_s'] / 60:.1f} minutes of processor time,"
        )
    lines = [
        f"## {case.title}",
        "",
        f"`{found['start']}` finetuned for {budget} on one thread "
        f"({machine['processor']}, shared with other work, {machine['date'][:10]}), one seed. Test errors (MAE): energy "
        f"{errors['energy_mae_meV_per_atom']:.2g} meV/atom, forces {1000 * errors['forces_mae_eV_per_A']:.2g} meV/angstrom, "
        f"stress {errors['stress_mae_GPa']:.2g} GPa.",
        "",
        *table(("", "simulate", "own energies", "level", "measured"), _static(case, found)),
        "",
        f"Measured: {'; '.join(dict.fromkeys(f'{s}' for _, s in case.measured.values()))}.",
        "",
        f"![phonons](crystals/{case.name}.png)",
        "",
    ]
    rows = []
    for point, numbers, name, _, measured in case.bands:
        pick = [n - 1 for n in numbers]
        mean = lambda values, pick=pick: f"{np.mean(np.array(values)[pick]):.2f}"  # noqa: E731
        rows.append(
            [f"{point} {name}", mean(found["frequencies_THz"][point]), mean(found["frequencies_THz"][f"{point} by energies"]),
             mean(found["level"]["frequencies"][point]), "" if measured is None else f"{measured:.2f}"]
        )  # fmt: skip
    worst = max(
        abs(a - b)
        for p in POINTS
        for a, b in zip(
            found["frequencies_THz"][p][3 if p == "Γ" else 0 :],
            found["frequencies_THz"][f"{p} by energies"][3 if p == "Γ" else 0 :],
            strict=True,
        )
    )
    lines += [*table(("THz", "simulate", "own energies", "level", "measured"), rows), ""]
    lines += [
        "Bands are named as at the level, from below. The largest difference between the command and the energies is "
        f"{worst:.4f} THz. Measured: "
        f"{case.bands_source}.",
        "",
    ]
    match case.name:
        case "nacl":
            lines += _one_volume(found["level"])
        case "nacl-xtb":
            lines += _own_records(found)
    return lines


def _one_volume(level: dict[str, Any]) -> list[str]:
    return [
        "The frequencies are those of the records; elastic constants, bulk modulus and with them long waves are not. Every "
        "record has the same cell, so none says what a strain costs, and the long-range forces between ions are folded into "
        "64 atoms. Records of a crystal should have strained cells among them, as those of silicon and of the next section.",
        "",
        "Optical modes of an ionic crystal split at Γ: the level's longitudinal one is at "
        f"{level['LO at Γ']:.2f} THz, the measured one at "
        "7.9 THz (Kittel). The macroscopic field that does it reaches further than any cutoff and needs Born charges, "
        "which no network here "
        "gives: the potential's three optical modes are degenerate at Γ, and its longitudinal branch bends down towards "
        "them.",
        "",
    ]


def _own_records(found: dict[str, Any]) -> list[str]:
    level, records = found["level"], found["records"]
    stress, doubled = level["by_stress"], level["doubling_test"]
    listed = lambda one: ", ".join(f"{one[c]:.1f}" for c in ("C11", "C12", "C44"))  # noqa: E731
    cell = (
        f"On doubling a rattled cell energies change by {1000 * doubled['energy_change_eV_per_atom']:.1f} meV/atom and forces by "
        f"up to {1000 * doubled['force_change_eV_per_A']:.0f} meV/angstrom. The potential is to be compared with the level in "
        "its own cell."
    )
    if "cells" in level:
        (_, small), (larger, large) = level["cells"].items()
        cell = (
            f"What the cell does to the level: from the stress under 4 % {listed(small)} GPa in 64 atoms and {listed(large)} in "
            f"{larger}, where the pressure at the same lattice constant differs by "
            f"{large['pressure'] - small['pressure']:+.2f} GPa. {cell}"
        )
    return [
        f"{records['train']} records to learn from, a tenth of them for validation, and {records['test']} to test: cells of 64 "
        "atoms, strained by up to about 3 % and rattled by up to 0.08 angstrom, labelled by periodic GFN1-xTB with tblite at the "
        "Gamma point (`benchmarks/crystal_level.py`). *level*: the functions that are used for the potential, with energies and "
        "forces of tblite in the same 64 atoms. Rock salt keeps its centres of inversion under strain, so clamped and relaxed "
        f"ions have the same constants (the largest force in a strained cell: {stress['largest_force']:.0e} eV/angstrom). The "
        "level's are differences over strains of 2 and 4 %: its stress scatters by some 0.01 GPa from strain to strain, and over "
        "shears of 0.5, 1, 2, 4 and 8 % it is 3.9, 6.2, 5.7, 5.8 and 6.0 GPa times the shear (`--shears 5.462` of "
        "that script). From "
        f"the level's stress instead of its energies: C11, C12, C44 {listed(stress)} GPa, bulk modulus "
        f"{(stress['C11'] + 2 * stress['C12']) / 3:.1f}; how far both are apart is how exact the level's own are. C44 of "
        f"the potential differs from that by {found['by_energies']['C44'] - stress['C44']:+.1f} GPa.",
        "",
        cell,
        "",
        "Waves at Γ, X and L fit into 64 atoms; in between, the level's bands in the picture are interpolated. At Γ the sum "
        "over ions leaves out the macroscopic field, at the level as in the potential: no longitudinal mode splits off.",
        "",
    ]


def _static(case: Case, found: dict[str, Any]) -> list[list[str]]:
    elastic, eos = found["simulate"]["elastic"], found["simulate"]["eos"]
    own, level = found["by_energies"], found["level"]
    known = {name: value for name, (value, _) in case.measured.items()}
    text = lambda value, digits=1: "" if value is None else f"{value:.{digits}f}"  # noqa: E731
    rows = [
        ["lattice constant, angstrom", text(found["a"], 3), "", text(level.get("a"), 3), text(known["a"], 3)]
    ]
    for name in ("C11", "C12", "C44"):
        rows.append(
            [
                f"{name}, GPa",
                text(elastic.get(f"{name}_GPa")),
                text(own[name]),
                text(level.get(name)),
                text(known[name]),
            ]
        )
    if "C44_clamped" in level:
        rows.append(
            ["C44 with clamped atoms, GPa", "", text(own["C44_clamped"]), text(level["C44_clamped"]), ""]
        )
    bulk = (known["C11"] + 2 * known["C12"]) / 3
    rows.append(
        ["bulk modulus from the elastic constants, GPa", text(elastic["bulk_modulus_GPa"]),
         text((own["C11"] + 2 * own["C12"]) / 3), text(level.get("bulk_elastic")), text(bulk)]
    )  # fmt: skip
    rows.append(
        [
            "bulk modulus from the equation of state, GPa",
            text(eos["bulk_modulus_GPa"]),
            "",
            text(level.get("bulk_eos")),
            "",
        ]
    )
    return rows
