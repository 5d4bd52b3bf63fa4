"""Parts: whole groups, the scaffold algorithm, blocks in time, and the way from prepare to STORE:train."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atomfield.cli import main
from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph
from atomfield.data.partition import RULES, partition, scaffold_of, write_parts
from atomfield.data.source import open_source
from atomfield.data.store import write_store


def named(groups: list[str]) -> list[Graph]:
    return [
        Graph(torch.zeros(1, 3), torch.tensor([6]), "molecule", group=g, provenance=Provenance(f"{g}.xyz", i))
        for i, g in enumerate(groups)
    ]


def crystal(species: list[int], fractional: list[list[float]], a: float) -> Graph:
    positions = torch.tensor(fractional, dtype=torch.float64) * a
    return Graph(
        positions, torch.tensor(species), "crystal", cell=torch.eye(3) * a, pbc=torch.tensor([True] * 3)
    )


@given(st.lists(st.sampled_from("abcdefgh"), min_size=12, max_size=60), st.integers(0, 5))
def test_parts_are_whole_groups_and_hold_every_record(groups: list[str], seed: int) -> None:
    graphs = named(groups)
    if len(set(groups)) < 3:
        with pytest.raises(InputError, match="expected at least one for each part"):
            partition(graphs, "group", (0.6, 0.2, 0.2), seed)
        return
    parts = partition(graphs, "group", (0.6, 0.2, 0.2), seed)
    assert list(parts) == ["train", "valid", "test"]
    assert sorted(chain(*parts.values())) == list(range(len(graphs)))
    sides = [{groups[i] for i in its} for its in parts.values()]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert partition(graphs, "group", (0.6, 0.2, 0.2), seed) == parts


def test_random_parts_have_their_share() -> None:
    parts = partition(named(["x"] * 200), "random", (0.8, 0.1, 0.1))
    assert [len(p) for p in parts.values()] == [160, 20, 20]
    assert list(partition(named(["x"] * 10), "random", (0.8, 0.2))) == ["train", "test"]


def test_scaffolds_go_largest_first_into_train() -> None:
    graphs = named([*["c1ccccc1" + "C" * n for n in range(6)], "CCO", "CCC", "C1CCCCC1C", "c1ccncc1C"])
    assert scaffold_of(graphs[3]) == "c1ccccc1" and scaffold_of(graphs[6]) == ""
    parts = partition(graphs, "scaffold", (0.6, 0.2, 0.2))
    assert parts == {"train": [0, 1, 2, 3, 4, 5], "valid": [6, 7], "test": [8, 9]}
    with pytest.raises(InputError, match="expected a SMILES"):
        partition([replace(graphs[0], group="not a smiles")], "scaffold", (0.5, 0.5))


def test_time_leaves_a_gap() -> None:
    parts = partition(named(["md"] * 300), "time", (0.8, 0.1, 0.1))
    assert (parts["train"][-1], parts["valid"][0], parts["valid"][-1], parts["test"][0]) == (
        239,
        243,
        269,
        273,
    )


def test_crystals_by_prototype_space_group_and_composition() -> None:
    cscl = [[0.0, 0, 0], [0.5, 0.5, 0.5]]
    graphs = [crystal([55, 17], cscl, 4.1), crystal([55, 35], cscl, 4.3), crystal([26, 26], cscl, 2.87)]
    graphs += [crystal([29], [[0.0, 0, 0]], 2.5), replace(graphs[0], cell=graphs[0].cell * 1.05)]
    prototype = partition(graphs, "prototype", (0.5, 0.5))
    assert any({0, 1, 4} <= set(its) for its in prototype.values())
    composition = partition(graphs, "composition", (0.5, 0.5))
    assert any({0, 4} <= set(its) for its in composition.values())
    assert sorted(chain(*partition(graphs, "spacegroup", (0.5, 0.5)).values())) == [0, 1, 2, 3, 4]


def test_wrong_fractions_are_refused() -> None:
    for fractions in ((0.8, 0.1), (0.5, 0.6, -0.1), (1.0,)):
        with pytest.raises(InputError, match="expected two or three numbers that add to 1"):
            partition(named(list("abc")), "random", fractions)


def test_a_part_of_a_store_is_a_source(tmp_path: Path) -> None:
    graphs = named([f"m{i}" for i in range(10)])
    write_store(graphs, tmp_path / "s")
    write_parts(tmp_path / "s", {"train": [0, 2, 4], "test": [1]})
    part = open_source(f"{tmp_path / 's'}:train")
    assert [g.group for g in part] == ["m0", "m2", "m4"]
    assert part[-1].group == "m4" and [g.group for g in part[:2]] == ["m0", "m2"]
    with pytest.raises(InputError, match="there is no part 'valid'; parts: train, test"):
        open_source(f"{tmp_path / 's'}:valid")


def test_prepare_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = "2\nProperties=species:S:1:pos:R:3 energy=-{0}.0\nH 0 0 0\nH 0 0 0.{0}\n"
    (tmp_path / "x.xyz").write_text("".join(frame.format(n) for n in range(60, 80)))
    out = tmp_path / "store"
    words = [
        "prepare",
        str(tmp_path / "x.xyz"),
        "--out",
        str(out),
        "--split",
        "random",
        "--fractions",
        "0.7,0.3",
    ]
    assert main(words) == 0
    assert f"{out}:train 14" in capsys.readouterr().out.replace("\n", "")
    assert len(open_source(f"{out}:test")) == 6
    assert main([*words[:4], "--split", "mood"]) == 2
    assert "expected one of random" in capsys.readouterr().err
    assert "scaffold" in RULES
