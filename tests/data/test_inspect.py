"""The table and the picture of what is inside."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from atomfield.data.graph import Graph
from atomfield.data.inspect import picture, show, summarize
from atomfield.data.quantities import scalar_property
from atomfield.data.readers.smiles import embed_smiles
from atomfield.data.store import Store, write_store

from .conftest import molecule


def test_summary_of_a_list_and_of_a_store(samples: list[Graph], tmp_path: Path) -> None:
    write_store(samples, tmp_path / "store")
    summary = summarize(samples)
    assert json.loads(json.dumps(summary)) == json.loads(json.dumps(summarize(Store(tmp_path / "store"))))
    assert summary["records"] == 14
    assert summary["worlds"] == {"molecule": 7, "crystal": 3, "field": 4}
    assert summary["elements"]["Si"] == 3
    assert summary["quantities"]["energy"]["unit"] == "eV"
    assert summary["quantities"]["log S"]["unit"] == "mol/l"
    assert summary["times"]["max"] == 3
    assert summary["conditions"]["charge"]["records"] == 3


def test_suspicious_records_are_named() -> None:
    graphs = []
    for i in range(60):
        graph = molecule(i)
        energy = graph.species.double().sum() * -2.0 + 0.01 * torch.randn(
            (), generator=torch.Generator().manual_seed(i)
        )
        graphs.append(replace(graph, quantities={"energy": energy}))
    assert summarize(graphs)["suspicious"] == []
    graphs[17] = replace(graphs[17], quantities={"energy": graphs[17].quantities["energy"] + 500.0})
    suspicious = summarize(graphs)["suspicious"]
    assert suspicious[0]["record"] == 17
    assert "energy per atom beyond a sum over elements" in suspicious[0]["reason"]


def test_table(samples: list[Graph]) -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show(summarize(samples), console)
    text = console.export_text()
    for word in (
        "14 records",
        "molecule 7",
        "log S",
        "mol/l",
        "viscosity",
        "eV/angstrom^3",
        "as in the file",
    ):
        assert word in text
    console.file.close()


@pytest.mark.parametrize("which", [0, 7, 10, 11, 12, 13])
def test_picture(samples: list[Graph], tmp_path: Path, which: int) -> None:
    path = picture(samples[which], tmp_path / "a.png")
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert path.stat().st_size > 5000


def test_bonds_are_counted_and_drawn(samples: list[Graph], tmp_path: Path) -> None:
    graph = embed_smiles("C#CC=O")[0]
    assert summarize(samples)["bonds"] == {}
    assert summarize([graph, *samples])["bonds"] == {"records": 1, "single": 3, "double": 1, "triple": 1}
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show(summarize([graph, *samples]), console)
    assert "single 3, double 1, triple 1 (known in 1 records)" in console.export_text()
    console.file.close()
    drawn = picture(graph, tmp_path / "a.png").read_bytes()
    assert graph.bonds is not None
    plain = graph.changed(bonds=graph.bonds.among(torch.arange(2)))
    assert picture(plain, tmp_path / "b.png").read_bytes() != drawn
    assert picture(graph.changed(bonds=None), tmp_path / "c.png").read_bytes() != drawn


def test_brackets_in_names_are_no_markup() -> None:
    name = "gap [eV] [/bold]"
    shown = {"properties": {name: scalar_property(name, "[J]")}, "level": "[red]pbe"}
    graph = replace(molecule(0), quantities={name: torch.tensor(1.5)}, **shown)
    console = Console(file=io.StringIO(), width=200)
    show(summarize([graph]), console)
    printed = console.file.getvalue()
    assert name in printed and "[J]" in printed and "[red]pbe 1" in printed
