"""Five finetunings from one checkpoint on public data, each beside the floor it has to pass.

    python benchmarks/floors.py --data DIR --from runs/quickstart/pretrain/model --out runs/floors --max-time 20m

DIR holds ``ethanol_botnet``, ``mlearn``, ``moleculenet``, ``matbench_phonons`` and ``cylinder_wake_nek5000`` (public files,
not part of this repository). A finished run is not repeated; ``--only ethanol,silicon`` picks some, ``--threads`` sets the
cores of each. Unseen viscosities come from ``starter/task_fields``, split by viscosity as the quickstart does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SOLUBILITY = "measured log solubility in mols per litre"


@dataclass(frozen=True)
class Case:
    """One command and the test of its metrics: ``floor`` returns (what was reached, the floor, passed)."""

    name: str
    arguments: tuple[str, ...]
    floor: Callable[[dict[str, float]], tuple[str, str, bool]]


def cases(data: Path, out: Path) -> list[Case]:
    """All commands, with the data under ``data`` and converted data under ``out``."""
    wake, flows = out / "wake_data", out / "flow_data"
    return [
        Case(
            "ethanol",
            (
                "--train",
                f"{data}/ethanol_botnet/train.xyz",
                "--test",
                f"{data}/ethanol_botnet/test_MD.xyz",
                "--target",
                "energy,forces",
            ),
            lambda m: below(m["forces_rmse_eV_per_A"] * 1000, 60, "meV/A forces RMSE"),
        ),
        Case(
            "silicon",
            (
                "--train",
                f"{data}/mlearn/Si_train.xyz",
                "--test",
                f"{data}/mlearn/Si_test.xyz",
                "--target",
                "energy,forces",
                "--map",
                "energy=REF_energy,forces=REF_forces",
            ),
            lambda m: below(m["forces_mae_eV_per_A"] * 1000, 150, "meV/A forces MAE"),
        ),
        Case(
            "solubility",
            ("--train", f"{data}/moleculenet/delaney-processed.csv", "--target", SOLUBILITY),
            lambda m: below(
                m[f"{SOLUBILITY}_rmse"],
                0.6 * m[f"baseline_{SOLUBILITY}_rmse"],
                "log mol/l RMSE (validation part)",
            ),
        ),
        Case(
            "phonons",
            ("--train", f"{data}/matbench_phonons/matbench_phonons.json.gz", "--target", "last phdos peak"),
            lambda m: below(
                m["last phdos peak_mae"], m["baseline_last phdos peak_mae"], "1/cm MAE (validation part)"
            ),
        ),
        Case(
            "flows",
            (
                "--train",
                f"{flows}/train",
                "--valid",
                f"{flows}/valid",
                "--test",
                f"{flows}/test",
                "--target",
                "velocity,vorticity,pressure",
            ),
            lambda m: below(
                m["velocity_rollout_vrmse"],
                min(
                    m["baseline_persistence_velocity_rollout_vrmse"], m["baseline_pod_velocity_rollout_vrmse"]
                ),
                "velocity rollout VRMSE",
            ),
        ),
        Case(
            "wake",
            (
                "--train",
                f"{wake}/train.npz",
                "--valid",
                f"{wake}/valid.npz",
                "--test",
                f"{wake}/test.npz",
                "--target",
                "velocity,vorticity",
            ),
            lambda m: below(
                m["velocity_rollout_vrmse"],
                m["baseline_persistence_velocity_rollout_vrmse"],
                "velocity rollout VRMSE",
            ),
        ),
    ]


def below(value: float, floor: float, what: str) -> tuple[str, str, bool]:
    return f"{value:.4g} {what}", f"{floor:.4g}", value < floor


def prepare(name: str, data: Path, out: Path) -> None:
    """Convert what is not a file that the commands read."""
    if name == "wake" and not (out / "wake_data" / "test.npz").exists():
        script = Path(__file__).with_name("convert_cylinder_wake.py")
        subprocess.run(
            [sys.executable, script, "--data", data / "cylinder_wake_nek5000", "--out", out / "wake_data"],
            check=True,
        )
    if name == "flows" and not (out / "flow_data" / "test").exists():
        from atomfield.quickstart import TASKS, write_parts

        write_parts(next(t for t in TASKS if t.name == "task_fields"), out / "flow_data")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--from", dest="start", required=True, help="checkpoint, or scratch")
    parser.add_argument("--out", type=Path, default=Path("runs/floors"))
    parser.add_argument("--max-time", default="20m")
    parser.add_argument("--only", default="")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = [
        c for c in cases(options.data, options.out) if not options.only or c.name in options.only.split(",")
    ]
    for case in wanted:
        folder = options.out / case.name
        if not (folder / "metrics.json").exists():
            prepare(case.name, options.data, options.out)
            command = [
                sys.executable,
                "-m",
                "atomfield",
                "finetune",
                "--from",
                options.start,
                *case.arguments,
                "--out",
                str(folder),
                "--max-time",
                options.max_time,
            ]
            subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": str(options.threads)}, check=True)
    if options.start != "scratch":
        weights = next(
            p
            for p in (
                Path(options.start) / "model.safetensors",
                Path(options.start) / "model" / "model.safetensors",
            )
            if p.exists()
        )
        print(f"start: model.safetensors sha256 {hashlib.sha256(weights.read_bytes()).hexdigest()}")
    failed = 0
    for case in wanted:
        reached, floor, passed = case.floor(
            json.loads((options.out / case.name / "metrics.json").read_text())
        )
        failed += not passed
        print(f"{case.name:12} {reached:45} floor {floor:10} {'passed' if passed else 'MISSED'}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
