"""One cell of the table ``fields``: train from scratch for a given time, roll out the test trajectories as given and turned.

    python benchmarks/field_models.py --model s --set flows --seconds 600 --work DIR --result FILE [--data DIR] [--peers .peers]

Models: ``xs``, ``s`` (ours), ``local`` (s without Fourier space), ``control`` (s without the symmetry), ``fno``
(neuraloperator, in its own environment), and what is fitted rather than trained: ``pod`` (a linear map on POD coefficients)
and ``persistence``. Training time is wall time, of the whole ``atomfield finetune`` for ours. A turned input is the same flow
seen from another side.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from field_sets import SETS, arrays_of, errors, parts_of, turned, turned_graph
from peers.client import HERE

import atomfield
from atomfield.data.graph import Graph
from atomfield.data.store import write_store

MODELS = ("s", "xs", "local", "control", "fno", "pod", "persistence")
NETWORKS = {"control": "{size: s, symmetry: none}", "local": "{size: s, fourier: false}"}


def ours(parts: dict[str, list[Graph]], options: argparse.Namespace, environment: dict[str, str]) -> dict:
    """Forecasts of ``atomfield finetune --from scratch``."""
    for name, graphs in parts.items():
        write_store(graphs, options.work / name)
    network = NETWORKS.get(options.model, options.model)
    (options.work / "run.yaml").write_text(f"network: {network}\n")
    subprocess.run(
        [
            sys.executable, "-m", "atomfield", "finetune", str(options.work / "run.yaml"), "--from", "scratch",
            "--train", str(options.work / "train"), "--valid", str(options.work / "valid"), "--target", "velocity",
            "--max-time", f"{options.seconds}s", "--seed", str(options.seed), "--out", str(options.work / "run"),
            "--device", "cpu",
        ],
        check=True, env=environment,
    )  # fmt: skip
    model = atomfield.load(options.work / "run")
    shape = parts["test"][0].grid_shape
    roll = lambda g: model.rollout(g)["velocity"][..., :2].numpy().reshape(g.num_times, *shape, 2)  # noqa: E731
    test = np.stack([roll(g) for g in parts["test"]])
    # the turned graph keeps the order of its points: turn the array that it gives back in the same way
    back = np.stack([roll(turned_graph(g)) for g in parts["test"]])
    as_array = turned(
        {"velocity": np.stack([back[..., 1], -back[..., 0]], -1), "solid": np.zeros((1, 1, 1), bool)}
    )
    return {
        "test": test,
        "turned": as_array["velocity"],
        "about": {"parameters": model.summary["parameters"]},
    }


def fno(parts: dict[str, list[Graph]], options: argparse.Namespace, environment: dict[str, str]) -> dict:
    for name, graphs in parts.items():
        np.savez(options.work / f"{name}.npz", **arrays_of(graphs))
    np.savez(options.work / "turned.npz", **turned(arrays_of(parts["test"])))
    python = options.peers / "neuralop" / "bin" / "python"
    if not python.exists():
        raise SystemExit(
            f"no environment {python.parents[1]}; make it: bash {HERE}/make_env.sh neuralop {options.peers}"
        )
    command = [str(python), str(HERE / "fno_train.py"), str(options.work), "--seconds", str(options.seconds)]
    subprocess.run([*command, "--seed", str(options.seed)], check=True, env=environment)
    with np.load(options.work / "forecast.npz") as file:
        return {
            "test": file["test"],
            "turned": file["turned"],
            "about": json.loads((options.work / "training.json").read_text()),
        }


def fitted(parts: dict[str, list[Graph]], kind: str) -> dict:
    """Persistence and the linear map; a turned test set is another flow to the map, which has no training data there."""
    arrays = arrays_of(parts["test"])
    shape = arrays["velocity"].shape
    if kind == "persistence":
        still = np.broadcast_to(arrays["velocity"][:, :1], shape)
        return {"test": still, "turned": turned({**arrays, "velocity": still})["velocity"], "about": {}}
    from atomfield.finetune.pod import fit_pod

    pod = fit_pod(parts["train"], ["velocity"])

    def roll(graphs: list[Graph]) -> np.ndarray:
        found = [pod.rollout(g, g.num_times - 1, np.arange(0)) for g in graphs]
        if any(f is None for f in found):
            raise SystemExit("the test trajectories share no points with those of training")
        return np.stack([f["velocity"][..., :2].reshape(shape[1:]) for f in found])

    test = roll(parts["test"])
    result = {"test": test, "about": {"rank": next(iter(pod.maps.values())).rank}}
    if shape[2] == shape[3] and bool(arrays["periodic"]):
        velocity = turned(arrays)["velocity"].reshape(*shape[:2], -1, 2)
        flat = np.concatenate([velocity, np.zeros((*velocity.shape[:-1], 1), np.float32)], -1)
        import torch

        sideways = [
            g.changed(quantities=g.quantities | {"velocity": torch.from_numpy(v)})
            for g, v in zip(parts["test"], flat, strict=True)
        ]
        result["turned"] = roll(sideways)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--set", choices=SETS, required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--peers", type=Path, default=Path(".peers"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True)
    options = parser.parse_args()
    options.work = options.work.resolve()
    options.peers = options.peers.absolute()
    options.work.mkdir(parents=True, exist_ok=True)
    threads = {"OMP_NUM_THREADS": str(options.threads), "MKL_NUM_THREADS": str(options.threads)}
    environment = {**os.environ, **threads}
    parts = parts_of(options.set, options.data)
    started = time.monotonic()
    match options.model:
        case "fno":
            found = fno(parts, options, environment)
        case "pod" | "persistence":
            found = fitted(parts, options.model)
        case _:
            found = ours(parts, options, environment)
    truth = arrays_of(parts["test"])
    values = errors(truth["velocity"], found["test"], truth["solid"])
    if "turned" in found:
        other = turned(truth)
        turned_values = errors(other["velocity"], found["turned"], other["solid"])
        values |= {f"turned_{k}": v for k, v in turned_values.items()}
    values |= found["about"] | {"command_s": time.monotonic() - started}
    options.result.write_text(json.dumps(values, indent=1))
    print(json.dumps(values))


if __name__ == "__main__":
    main()
