"""Lattice, elastic constants and phonons of silicon and NaCl from finetuned potentials, against the potentials' own energies
and others.

    python benchmarks/crystals_dynamics.py --data DIR --nacl phono3py/example/NaCl-rd --work runs/crystals
    python benchmarks/crystals_dynamics.py --only nacl-xtb --work runs/crystals        needs tblite and no public file
    python benchmarks/crystals_dynamics.py --page                          the page alone

``atomfield-s`` is finetuned (``--minutes`` of processor time each, ``nacl-xtb`` by steps; a finished run is kept, ``--model
silicon=CKPT`` takes another), then ``atomfield simulate`` computes the equation of state, elastic constants and phonons from the
measured lattice.
Beside them stand

- second differences of the potential's own energies (``second_differences.py``), which use no force, no stress and no code of
  the above;
- the level of theory that was learnt, as far as it can be asked (``crystal_cases.py``), or asked here (``crystal_level.py``);
- measurements, with their sources. A level of theory differs from them too; what finetuning can reach is the level.

DIR holds ``mlearn``; it and the folder of NaCl are public files and not part of this repository. Results: one JSON and one
picture per crystal, ``crystals.md``. A command that was interrupted goes on where it stopped; only the finetuning begins anew.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from crystal_cases import CASES, POINTS, Case, nacl_from_forces, silicon_from_labels, training_files
from machine import commit, description

RESULTS = Path(__file__).parent / "results" / "crystals"
REPEATS = {"silicon": 4, "nacl": 4, "nacl-xtb": 4}
"""Of the cubic cell in the phonons: more than twice the reach of two layers of 5 angstrom."""


def atomfield(*words: str) -> str:
    """One command; its standard output."""
    done = subprocess.run([sys.executable, "-m", "atomfield", *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"atomfield {' '.join(words)} ended with code {done.returncode}")
    return done.stdout


def finetuned(case: Case, options: argparse.Namespace, folder: Path) -> tuple[Path, dict[str, float]]:
    """The checkpoint and its test errors."""
    given = dict(pair.split("=", 1) for pair in options.model)
    out = Path(given.get(case.name, folder / "finetuned"))
    if not (out / "metrics.json").exists():
        if case.name == "nacl-xtb":
            from crystal_level import stores

            how: list[str] = []
            train, test = map(str, stores(folder))
        else:
            how, (train, test) = training_files(case, options.data, options.nacl, folder)
        long = ("--set", f"steps={case.steps}") if case.steps else ("--max-time", f"{options.minutes}m")
        atomfield(
            "finetune", "--from", options.start, "--train", train, "--test", test, "--target", "energy,forces,stress", *how,
            "--level", case.level, *long, "--set", "clock=processor", "--out", str(out),
        )  # fmt: skip
    metrics = json.loads((out / "metrics.json").read_text())
    keys = ("energy_mae_meV_per_atom", "forces_mae_eV_per_A", "stress_mae_GPa")
    return out, {key: metrics[key] for key in keys}


def simulated(case: Case, model: Path, folder: Path) -> dict[str, Any]:
    """What the commands say, in their own folders."""
    import ase.io

    start = folder / "start.extxyz"
    ase.io.write(start, case.start(), format="extxyz")
    numbers: dict[str, Any] = {}
    repeats = ",".join(3 * [str(REPEATS[case.name])])
    for mode, extra in (("eos", ()), ("elastic", ()), ("phonons", ("--supercell", repeats))):
        out = folder / mode
        if not (out / "metrics.json").exists():
            atomfield(
                "simulate", str(model), str(start), "--mode", mode, "--dtype", "float64", "--fmax", "0.0002",
                "--steps", "2000", "--out", str(out), *extra,
            )  # fmt: skip
        numbers[mode] = json.loads((out / "metrics.json").read_text())
    return numbers


def measured_by_energies(model: Path, folder: Path) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Elastic constants and frequencies by second differences of the checkpoint's energies; and the phonons of the command."""
    import ase.io
    import phonopy
    import second_differences

    import atomfield

    relaxed = ase.io.read(folder / "elastic" / "relaxed.extxyz")
    relaxed.calc = atomfield.load(model).calculator(dtype="float64")
    elastic = second_differences.elastic_constants(relaxed)
    elastic["C44_clamped"] = second_differences.elastic_constants(relaxed, relax=False)["C44"]
    engine = phonopy.load(folder / "phonons" / "phonopy_params.yaml", log_level=0)
    frequencies = {}
    for name, q in POINTS.items():
        found = second_differences.frozen_phonons(engine, q, relaxed.calc, (2, 2, 2))
        frequencies[f"{name} by energies"] = found.tolist()
        frequencies[name] = engine.run_qpoints([q]).frequencies[0].tolist()
    return elastic, frequencies


def of_the_level(case: Case, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The learnt level itself: elastic constants from the labels, or from published forces as the frequencies."""
    if case.name == "silicon":
        frequencies: dict[str, list[float]] = {}
        for point, numbers, _, published, _ in case.bands:
            frequencies.setdefault(point, [float("nan")] * 6)
            for number in numbers:
                frequencies[point][number - 1] = published
        return {**silicon_from_labels(options.data), "frequencies": frequencies}
    if case.name == "nacl-xtb":
        from crystal_level import of_the_level as asked

        return asked(folder, options.larger)
    return nacl_from_forces(options.nacl, folder / "level_phonopy.yaml")


def measure(case: Case, options: argparse.Namespace) -> None:
    folder = options.work / case.name
    folder.mkdir(parents=True, exist_ok=True)
    model, errors = finetuned(case, options, folder)
    begun = time.process_time()
    numbers = simulated(case, model, folder)
    elastic, frequencies = measured_by_energies(model, folder)
    level = of_the_level(case, options, folder)
    result = {
        "crystal": case.name, "minutes": options.minutes, "steps": case.steps, "start": options.start, "test_errors": errors,
        "simulate": numbers, "a": (8 * numbers["eos"]["volume_A3_per_atom"]) ** (1 / 3), "by_energies": elastic,
        "frequencies_THz": frequencies, "level": level, "seconds_here": time.process_time() - begun,
        "commit": commit(Path(__file__).parent), "machine": description(),
    }  # fmt: skip
    if case.name == "nacl-xtb":
        from atomfield.data.store import Store

        rows = (model / "metrics.jsonl").read_text().splitlines()
        result["training_processor_s"] = max(json.loads(row).get("seconds", 0.0) for row in rows)
        result["records"] = {part: len(Store(folder / part)) for part in ("train", "test")}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{case.name}.json").write_text(json.dumps(result, indent=1, default=float) + "\n")
    from crystals_page import draw

    draw(case, folder, RESULTS / f"{case.name}.png")
    print(json.dumps(result, indent=1, default=float))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with mlearn, for silicon")
    parser.add_argument("--nacl", type=Path, help="example/NaCl-rd of phono3py's repository, for NaCl")
    parser.add_argument("--work", type=Path, default=Path("runs/crystals"))
    parser.add_argument("--start", default="atomfield-s", help="the checkpoint to finetune")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument(
        "--model", action="append", default=[], metavar="CRYSTAL=RUN", help="a finished run to take"
    )
    parser.add_argument("--only", choices=list(CASES))
    parser.add_argument("--larger", action="store_true", help="nacl-xtb: ask the level in 216 atoms too")
    parser.add_argument("--page", action="store_true", help="write the page from what was measured")
    options = parser.parse_args()
    if not options.page:
        for case in CASES.values():
            if options.only in (None, case.name):
                measure(case, options)
    from crystals_page import write

    write(RESULTS)


if __name__ == "__main__":
    main()
