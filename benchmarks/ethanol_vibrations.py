"""Harmonic frequencies of ethanol from a finetuned potential, beside its training level's and its own energies' second
differences.

    python benchmarks/ethanol_vibrations.py --data DIR --work runs/ethanol          finetune, simulate, write the page
    python benchmarks/ethanol_vibrations.py --data DIR --work runs/ethanol --model RUN       with a finished run

``atomfield-s`` is finetuned on 1,000 frames of ethanol at PBE/def2-SVP (``ethanol_botnet``, public, not part of this
repository; hot dynamics, no frame at rest), then ``atomfield simulate --mode vibrations`` relaxes both conformers and computes
their modes. The level itself was asked by ``ethanol_reference.py``, which relaxes them on its own. Modes are compared in their
order.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from crystals_dynamics import atomfield
from machine import commit, description
from page_text import table, wrapped

RESULTS = Path(__file__).parent / "results" / "vibrations"
CONFORMERS = ("trans", "gauche")
STEP = 0.02
"""Of the second differences, angstrom amu^(1/2)."""


def finetuned(options: argparse.Namespace) -> Path:
    out = options.model or options.work / "finetuned"
    if not (out / "metrics.json").exists():
        data = options.data / "ethanol_botnet"
        atomfield(
            "finetune", "--from", options.start, "--train", str(data / "train.xyz"), "--test", str(data / "test_MD.xyz"),
            "--target", "energy,forces", "--level", "pbe/def2-svp", "--max-time", f"{options.minutes}m", "--set",
            "clock=processor", "--out", str(out),
        )  # fmt: skip
    return out


def own_energies(model: Path, folder: Path) -> np.ndarray:
    """``[21]`` 1/cm: second differences of energies along each mode of the command."""
    import ase.io
    from second_differences import TO_THZ, second_difference

    import atomfield

    calculator = atomfield.load(model).calculator(dtype="float64")
    modes = ase.io.read(folder / "modes.extxyz", ":")
    out = []
    for frame in modes:
        mass = frame.get_masses()[:, None]
        move = frame.arrays["mode"]
        inertia = float((mass * move**2).sum())

        def energy(size: float, frame: Any = frame, move: np.ndarray = move) -> float:
            one = frame.copy()
            one.positions += size * move
            one.calc = calculator
            return float(one.get_potential_energy())

        squared = second_difference(energy, STEP / inertia**0.5) / inertia
        out.append(np.sign(squared) * abs(squared) ** 0.5 * TO_THZ * 33.35640951981521)
    return np.array(out)


def main() -> None:
    import ase.io
    from ase import Atoms

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with ethanol_botnet")
    parser.add_argument("--work", type=Path, default=Path("runs/ethanol"))
    parser.add_argument("--start", default="atomfield-s", help="the checkpoint to finetune")
    parser.add_argument("--minutes", type=float, default=8, help="of processor time")
    parser.add_argument("--model", type=Path, help="a finished run to take")
    options = parser.parse_args()
    model = finetuned(options)
    reference = json.loads((RESULTS / "reference.json").read_text())
    metrics = json.loads((model / "metrics.json").read_text())
    result: dict[str, Any] = {
        "minutes": options.minutes, "start": options.start,
        "test_errors": {k: metrics[k] for k in ("energy_mae_meV_per_atom", "forces_mae_eV_per_A")},
        "commit": commit(Path(__file__).parent), "machine": description(),
    }  # fmt: skip
    for name in CONFORMERS:
        if name not in reference:
            continue
        given = reference[name]
        folder = options.work / name
        folder.mkdir(parents=True, exist_ok=True)
        start = Atoms(given["symbols"], given["positions_A"])
        ase.io.write(folder / "start.xyz", start, format="extxyz")
        atomfield(
            "simulate", str(model), str(folder / "start.xyz"), "--mode", "vibrations", "--dtype", "float64", "--fmax", "0.0002",
            "--steps", "3000", "--out", str(folder),
        )  # fmt: skip
        rows = np.genfromtxt(folder / "vibrations.csv", delimiter=",", names=True)
        relaxed = ase.io.read(folder / "relaxed.extxyz")
        bonds = [(0, 1), (1, 2), (2, 3)]
        result[name] = {
            "simulate_per_cm": rows["frequency_per_cm"].tolist(),
            "own_energies_per_cm": own_energies(model, folder).tolist(),
            "reference_per_cm": given["frequencies_per_cm"],
            "bonds_A": [[relaxed.get_distance(*b), start.get_distance(*b)] for b in bonds],
            "dihedral_degrees": [_dihedral(relaxed), _dihedral(start)],
        }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "ethanol.json").write_text(json.dumps(result, indent=1, default=float) + "\n")
    (RESULTS.parent / "vibrations.md").write_text(page(result, reference))
    draw(result, RESULTS / "ethanol.png")
    print((RESULTS.parent / "vibrations.md").read_text())


def _dihedral(atoms: Any) -> float:
    """C-C-O-H between 0 and 180 degrees."""
    angle = float(atoms.get_dihedral(0, 1, 2, 3))
    return min(angle, 360 - angle)


def page(found: dict[str, Any], reference: dict[str, Any]) -> str:
    machine, errors, labels = found["machine"], found["test_errors"], reference["labels"]
    names = [name for name in CONFORMERS if name in found]
    lines = [
        "# Vibrations of ethanol from a finetuned potential",
        "",
        "`python benchmarks/ethanol_vibrations.py --data DIR --work runs/ethanol`; what is compared: the text of that script.",
        "",
        f"`{found['start']}` finetuned for {found['minutes']:g} minutes of processor time on one thread "
        f"({machine['processor']}, shared "
        f"with other work, {machine['date'][:10]}), one seed. Test errors on 1,000 frames of hot dynamics: energy "
        f"{errors['energy_mae_meV_per_atom']:.2f} meV/atom, forces {1000 * errors['forces_mae_eV_per_A']:.1f} "
        "meV/angstrom (MAE).",
        "",
        f"*level*: {reference['level']} by {reference['program']}, relaxed and differentiated analytically there "
        f"(`benchmarks/ethanol_reference.py`). The labels are of ORCA 4.2: {labels['frames']} labelled frames computed again "
        "with PySCF "
        f"differ by {labels['forces_mae_meV_per_A']:.1f} meV/angstrom (MAE) in the forces and by up to "
        f"{labels['relative_energy_largest_meV']:.1f} meV in relative energies. *own energies*: second differences of the "
        "potential's "
        "energies along each mode.",
        "",
    ]
    head = ["1/cm"]
    for name in names:
        head += [f"{name}: level", "simulate", "own energies"]
    rows = []
    for k in range(21):
        row = [str(k + 1)]
        for name in names:
            one = found[name]
            row += [
                f"{one[key][k]:.0f}" for key in ("reference_per_cm", "simulate_per_cm", "own_energies_per_cm")
            ]
        rows.append(row)
    lines += [*table(head, rows), ""]
    for name in names:
        one = found[name]
        error = np.array(one["simulate_per_cm"]) - np.array(one["reference_per_cm"])
        apart = np.abs(np.array(one["simulate_per_cm"]) - np.array(one["own_energies_per_cm"])).max()
        bonds = ", ".join(
            f"{b} {1000 * (x - y):+.1f}"
            for b, (x, y) in zip(("C-C", "C-O", "O-H"), one["bonds_A"], strict=True)
        )
        lines += [
            f"- {name}: mean error {np.abs(error).mean():.1f} 1/cm, largest {np.abs(error).max():.0f} (mode "
            f"{np.abs(error).argmax() + 1}); "
            f"against its own energies at most {apart:.2f}. Bonds off by {bonds} mÅ; C-C-O-H {one['dihedral_degrees'][0]:.1f} "
            "degrees, at the "
            f"level {one['dihedral_degrees'][1]:.1f}.",
        ]
    lines += [
        "",
        "![modes](vibrations/ethanol.png)",
        "",
        "These are harmonic frequencies of a small basis set, to be compared with the level and not with spectra.",
        "",
    ]
    return wrapped(lines).rstrip() + "\n"


def draw(found: dict[str, Any], path: Path) -> None:
    """Errors of the modes over their frequencies."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axis = figure.subplots()
    for name, colour, marker in zip(CONFORMERS, ("#1f5fa8", "#b3261e"), "os", strict=True):
        if name not in found:
            continue
        level = np.array(found[name]["reference_per_cm"])
        axis.plot(
            level,
            np.array(found[name]["simulate_per_cm"]) - level,
            marker,
            color=colour,
            mfc="none",
            label=name,
        )
    axis.axhline(0, color="#8a8a8a", lw=0.8)
    axis.set_xlabel("frequency at the level (1/cm)")
    axis.set_ylabel("potential - level (1/cm)")
    axis.set_title("Harmonic modes of ethanol, PBE/def2-SVP", fontsize=11)
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
