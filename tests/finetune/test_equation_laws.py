"""Equations in the report of a finetuning, from a user's arrays: their constants and a direction are told by ``--map``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from atomfield.cli import main
from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.finetune.extend import fresh
from atomfield.finetune.laws import laws_obeyed
from atomfield.finetune.tasks import task_of
from atomfield.models import checkpoint
from atomfield.models.sizes import NetworkSize
from atomfield.physics_priors import kdv
from atomfield.physics_priors.spectral import PeriodicGrid
from tests.pretrain.test_equation_laws import CASES, phases
from tests.small import small_network

SMALL = "{channels: 8, channels_unnatural: 4, lmax: 1, layers: 1, radial_hidden: 8, head_hidden: 8, fourier: false}"
POINTS, STEP, ADVECTION, DISPERSION = 32, 0.01, 1.5, 1e-3


def waves(count: int, seed: int) -> dict[str, np.ndarray]:
    """Korteweg-de Vries waves on a periodic line, in the layout of ``docs/datasets_fields.md``."""
    grid = PeriodicGrid((POINTS,), (1.0,))
    generator = torch.Generator().manual_seed(seed)
    x = torch.arange(POINTS).double() / POINTS
    phases = torch.rand(count, 2, dtype=torch.float64, generator=generator)
    u = sum((2 * torch.pi * (k * x + phases[:, k - 1 : k])).sin() / k for k in (1, 2))
    constants = torch.tensor([ADVECTION, DISPERSION], dtype=torch.float64)
    states = [u]
    for _ in range(5):
        states.append(kdv.advance(grid, states[-1], constants, STEP, 20))
    return {
        "u": torch.stack(states, 1).numpy(), "x": x.numpy(), "time": STEP * np.arange(6.0), "periodic": np.array([True])
    }  # fmt: skip


@pytest.fixture
def data(tmp_path) -> Path:
    np.savez(tmp_path / "train.npz", **waves(14, 0))
    np.savez(tmp_path / "test.npz", **waves(3, 1))
    return tmp_path


def test_a_finetuning_and_an_evaluation_report_the_equation(data, capsys):
    told = f"solution=u,advection={ADVECTION},dispersion={DISPERSION}"
    run = ["finetune", "--from", "scratch", "--train", str(data / "train.npz"), "--test", str(data / "test.npz"),
           "--target", "solution", "--map", f"{told},gravity=1", "--set", f"network={SMALL}", "--set", "steps=4",
           "--set", "loss.physics.kdv=0.01", "--out", str(data / "run")]  # fmt: skip
    assert main(run) == 0
    metrics = json.loads((data / "run" / "metrics.json").read_text())
    assert metrics["law_kdv_of_data"] < 0.1 < 0.5 < metrics["law_kdv"]
    assert "Korteweg-de Vries" in (data / "run" / "report.html").read_text()
    assert {"advection", "dispersion"} <= set(checkpoint.load(data / "run").config.conditions)
    again = ["evaluate", str(data / "run"), str(data / "test.npz"), "--target", "solution", "--out", str(data / "again"),
             "--map"]  # fmt: skip
    assert main([*again, f"{told},gravity=1"]) == 0
    found = json.loads((data / "again" / "metrics.json").read_text())
    assert found["law_kdv"] == pytest.approx(metrics["law_kdv"], rel=1e-3)
    assert found["law_kdv_of_data"] == pytest.approx(metrics["law_kdv_of_data"], rel=1e-6)
    capsys.readouterr()
    run[run.index("--map") + 1] = told  # no direction
    assert main(run) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "loss.physics.kdv asks nothing of these records: it needs solution, a direction" in said
    plain = ["--set", f"network={SMALL}", "--set", "steps=2", "--out", str(data / "plain")]
    assert main([*run[: run.index("--set")], *plain]) == 0
    said = " ".join("".join(capsys.readouterr()).split())
    assert "have advection, dispersion, but law_kdv also needs a direction (--map gravity=1" in said
    assert "law_kdv" not in json.loads((data / "plain" / "metrics.json").read_text())


@pytest.mark.parametrize(
    "case",
    [
        "flame on scattered points",
        "phases on a grid",
        "standing wave on scattered points",
        "porous medium on a grid",
    ],
)
def test_every_equation_stands_beside_its_data(case):
    """A network whose steps change nothing: first-order laws leave all of the rate, others all of what is explained."""
    law, _, graph, most, _ = CASES[case]
    target = "velocity" if "velocity" in graph.quantities else "solution"
    steady = graph.num_times == 1
    net = small_network(perturb=0.0, steady=(target,) if steady else ()).eval()
    found = laws_obeyed(net, [graph.changed(level="wave")], (target,)).flat()
    assert found[f"law_{law}_of_data"] < most
    assert found[f"law_{law}"] > 0.5


def test_points_that_determine_no_derivatives_are_remarked_on():
    """Three points cannot tell a third derivative: other laws and the errors are still reported."""
    _, _, graph, *_ = CASES["soliton on scattered points"]
    few = Graph(
        graph.positions[:3], torch.zeros(3), "field",
        quantities={"solution": graph.quantities["solution"][:, :3], "gravity": graph.quantities["gravity"]},
        conditions=graph.conditions, times=graph.times, level="wave",
    )  # fmt: skip
    report = laws_obeyed(small_network().eval(), [few], ("solution",))
    assert "law_kdv" not in report.flat() and "equivariance_error_rotation" in report.flat()
    assert any("a law cannot be measured" in note for note in report.missed)


def test_networks_read_the_constants_that_their_records_have():
    size, graph = NetworkSize(channels=8, channels_unnatural=4, lmax=1), CASES["soliton on a grid"][2]
    task = task_of(("solution",), [graph])
    plain, reading = (fresh(size, task, "wave", (), 0, found) for found in ((), ("dispersion", "viscosity")))
    assert reading.config.conditions == (*plain.config.conditions, "dispersion")
    with pytest.raises(InputError, match="condition 'dispersal' is not known"):
        Graph(graph.positions, torch.zeros(graph.num_nodes), "field", conditions={"dispersal": 1.0})


def two_modes(points: torch.Tensor, t: float) -> torch.Tensor:
    """Of Kuramoto-Sivashinsky with b = 1.3, c = 0.8, so small that they do not carry themselves."""
    grows = lambda k: torch.exp(torch.tensor((1.3 * k**2 - 0.8 * k**4) * t))  # noqa: E731
    return 1e-6 * sum(grows(k) * torch.sin(k * points + k) for k in (0.5, 1.0))


def states_of(law: str) -> tuple[dict[str, object], dict[str, str], dict[str, float]]:
    """Arrays of a record, what is called what, and the constants."""
    if law == "kdv":
        grid, constants = PeriodicGrid((64,), (1.0,)), {"advection": ADVECTION, "dispersion": DISPERSION}
        x = torch.arange(64).double() / 64
        states = [torch.sin(2 * torch.pi * x) + 0.5 * torch.sin(4 * torch.pi * x + 1)]
        for _ in range(30):
            states.append(
                kdv.advance(grid, states[-1], torch.tensor([*constants.values()]).double(), 5e-3, 10)
            )
        return {"x": x, "u": torch.stack(states), "dt": 5e-3}, {"solution": "u", "gravity": "3"}, constants
    if law == "allen_cahn":
        x = 40 * torch.arange(256).double() / 256 - 20
        points = torch.stack([x, 0 * x, 0 * x], 1)
        u = torch.stack([phases(points, 0.02 * n)["solution"] for n in range(31)])
        return {"x": x, "u": u, "dt": 0.02}, {"solution": "u"}, {"diffusivity": 0.3, "double_well_rate": 2.0}
    x = 4 * torch.pi * torch.arange(48).double() / 48
    u = torch.stack([two_modes(x, 0.03 * n) for n in range(31)])
    return {"x": x, "u": u, "dt": 0.03}, {"velocity": "u"}, {"antidiffusivity": 1.3, "hyperdiffusivity": 0.8}


@pytest.mark.parametrize("law", ["kdv", "allen_cahn", "kuramoto_sivashinsky"])
def test_its_constants_are_identified_from_a_record(law, tmp_path, capsys):
    arrays, columns, constants = states_of(law)
    np.savez(tmp_path / "record.npz", periodic=[True], **arrays, **constants)
    config = {"law": law, "data": {"file": str(tmp_path / "record.npz"), "record": 0, "columns": columns}, "draws": 20,
              "out": str(tmp_path / "out")}  # fmt: skip
    (tmp_path / "law.yaml").write_text(yaml.safe_dump(config))
    assert main(["identify", str(tmp_path / "law.yaml")]) == 0
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    for name, value in constants.items():
        assert found[f"constant_{name}"] == pytest.approx(value, rel=5e-3)
        assert abs(found[f"constant_{name}_relative_error"]) < 5e-3  # the record says it too
    if law == "kdv":
        config["data"]["columns"] = {"solution": "u"}
        (tmp_path / "law.yaml").write_text(yaml.safe_dump(config))
        assert main(["identify", str(tmp_path / "law.yaml")]) == 2
        assert "names no direction, which kdv needs" in " ".join(capsys.readouterr().err.split())
