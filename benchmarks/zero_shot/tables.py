"""Tables of the model card: each takes the result of one part and gives lines of Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Lines = list[str]


def errors(r: dict[str, Any]) -> Lines:
    return [
        f"### Energies and forces of {r['molecules']} held-out molecules", "",
        f"{r['frames']} frames, atoms displaced from their minima by up to {max(r['amplitudes_A'])} angstrom "
        f"(standard deviation), against "
        "GFN2-xTB.", "",
        "| | error | |", "|---|---|---|",
        f"| energy, MAE | {r['energy_mae_meV_per_atom']:.1f} | meV/atom |",
        f"| energy relative to the molecule's minimum, MAE | {r['relative_energy_mae_meV_per_atom']:.1f} | meV/atom |",
        f"| forces, MAE (RMSE) | {r['forces_mae_eV_per_A']:.3f} ({r['forces_rmse_eV_per_A']:.3f}) | eV/A |",
        f"| forces of zero, MAE | {r['zero_forces_mae_eV_per_A']:.3f} | eV/A |",
    ]  # fmt: skip


def geometry(r: dict[str, Any]) -> Lines:
    return [
        f"### Minima of {r['molecules']} held-out molecules beside those of GFN2-xTB", "",
        "| | |", "|---|---|",
        f"| displacement of the atoms, root mean square: median (mean, largest) | {r['rmsd_median_A']:.3f} "
        f"({r['rmsd_mean_A']:.3f}, "
        f"{r['rmsd_max_A']:.3f} of {r['rmsd_worst']}) A |",
        f"| bond lengths, MAE (largest) over {r['bonds']} bonds | {r['bond_mae_A']:.4f} ({r['bond_max_A']:.3f}) A |",
        f"| converged to {r['fmax']} eV/A from those minima | {r['converged']} of {r['molecules']} |",
        f"| converged from RDKit's geometry | {r['from_rdkit_converged']} of {r['molecules']}, median "
        f"{r['from_rdkit_steps_median']:.0f} steps |",
    ]  # fmt: skip


def dimers(r: dict[str, Any]) -> Lines:
    head = ["### Pairs of molecules", "", "Rigid, along one distance, against GFN2-xTB. Such pairs are in the corpus.", "",
            "| pair | minimum: model | GFN2-xTB | MAE along the curve |", "|---|---|---|---|"]  # fmt: skip
    for name, one in r.items():
        ours, theirs = one["model_minimum"], one["reference_minimum"]
        head.append(
            f"| {name} | {1000 * ours['energy_eV']:.0f} meV at {ours['distance_A']:.2f} A | "
            f"{1000 * theirs['energy_eV']:.0f} meV at "
            f"{theirs['distance_A']:.2f} A | {one['mae_meV']:.0f} meV |"
        )
    return head


def fields(r: dict[str, Any]) -> Lines:
    lines = [f"### {r['flows']} held-out flows, {r['steps']} steps", "",
             "Error relative to the spatial standard deviation; in brackets what persistence gives.", "",
             "| | one step | rollout |", "|---|---|---|"]  # fmt: skip
    for name, one in r.items():
        if isinstance(one, dict):
            lines.append(f"| {name} | {one['one_step']:.3f} ({one['one_step_persistence']:.3f}) | {one['rollout']:.3f} "
                         f"({one['rollout_persistence']:.3f}) |")  # fmt: skip
    return lines


def lattices(r: dict[str, Any]) -> Lines:
    about = (
        "Atoms and cell relaxed from the measured lattice (angstrom; bulk modulus in GPa). A level is as good as its theory: "
        "what it says itself stands beside where it is at hand. Many of these compositions were left out of the corpus "
        "(`docs/corpus.md`)."
    )
    head = (
        "| crystal | level | model | the level itself | experiment | bulk modulus: model | the level itself |"
    )
    lines = ["### Lattice constants", "", about, "", head, "|---|---|---|---|---|---|---|"]
    for row in r["rows"]:
        ours, theirs = row["model"], row["reference"] or {}
        shown = f"{ours['a_A']:.3f}" if "failed" not in ours else f"failed: {ours['failed']}"
        lines.append(
            f"| {row['crystal']} ({row['structure']}) | `{row['level']}` | {shown} | {_three(theirs.get('a_A'))} | "
            f"{row['experiment_A']:.3f} "
            f"| {_whole(ours.get('bulk_modulus_GPa'))} | {_whole(theirs.get('bulk_modulus_GPa'))} |"
        )
    for level, one in r["levels"].items():
        own = one["a_off_level_percent"]
        off = one["a_off_experiment_percent"]
        lines += ["", f"`{level}`: {one['crystals']} crystals, {one['lost']} lost; lattice constants off by "
                  + (f"{off:.1f} % of experiment on average" if off is not None else "no figure")
                  + (f", {own:.2f} % of the level itself." if own is not None else ".")]  # fmt: skip
    return lines


def relaxations(r: dict[str, Any]) -> Lines:
    ends = ["yes, " + str(x["steps"]) + " steps" if x["converged"] else "no" for x in r["rows"]]
    rows = [
        f"| {x['crystal']} | `{x['level']}` | {x['atoms']} | {end} |"
        for x, end in zip(r["rows"], ends, strict=True)
    ]
    return [f"### Relaxation of rattled, strained supercells with their cells, to {r['fmax']} eV/A", "",
            "| crystal | level | atoms | converged |", "|---|---|---|---|", *rows]  # fmt: skip


LAWS = {
    "energy_turned_eV": "energy of the rotated or reflected structure, eV",
    "forces_turned_eV_per_A": "forces of it, turned back, eV/A",
    "energy_permuted_eV": "energy of reordered atoms, eV",
    "energy_shifted_eV": "energy after a translation, eV",
    "force_sum_eV_per_A": "sum of all forces, eV/A",
    "torque_eV": "sum of all torques, eV",
    "gradient_eV_per_A": "force against the numerical gradient, eV/A",
    "two_far_apart_eV": "two copies 60 A apart against twice one, eV",
}


def laws(r: dict[str, Any]) -> Lines:
    about = (
        f"Largest violations over {r['structures']} structures and {r['turns']} rotations and reflections."
    )
    lines = ["### Laws", "", about, "",
             "| | float32 | float64 |", "|---|---|---|"]  # fmt: skip
    for key, text in LAWS.items():
        single = (
            "" if key == "gradient_eV_per_A" else f"{r['float32'][key]:.1e}"
        )  # differences of rounded energies say nothing
        lines.append(f"| {text} | {single} | {r['float64'][key]:.1e} |")
    return lines


def dynamics(r: dict[str, Any]) -> Lines:
    state = "holds together" if r["held_together"] else "FALLS APART"
    return [
        f"### {r['picoseconds']:g} ps at constant energy", "",
        f"`{r['molecule']}` from {r['start_K']:g} K, steps of {r['step_fs']} fs, float64: it {state} (longest bond "
        f"{r['longest_bond_over_rest']:.2f} of its length at rest); the total energy drifts by "
        f"{r['drift_meV_per_atom_per_ps']:+.5f} meV/atom/ps and fluctuates by {r['fluctuation_meV_per_atom']:.3f} meV/atom.",
    ]  # fmt: skip


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


SECTIONS: dict[str, Callable[[dict[str, Any]], Lines]] = {
    "errors": errors, "geometry": geometry, "dimers": dimers, "lattices": lattices, "relaxations": relaxations,
    "fields": fields, "laws": laws, "dynamics": dynamics,
}  # fmt: skip
