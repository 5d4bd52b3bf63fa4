"""Duplicates, overlap, net forces, energies that are no totals, refused records: what is planted is found, nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from atomfield.data.checks import audit, check_share, overlap
from atomfield.data.checks import fingerprint as fingerprint_module
from atomfield.data.checks import totals as totals_module
from atomfield.data.checks.fingerprint import environments, fingerprint, same_structure
from atomfield.data.checks.overlap import bonds_key
from atomfield.data.checks.refused import check_refused, reason_of
from atomfield.data.checks.totals import Totals
from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph
from atomfield.data.quantities import scalar_property
from atomfield.data.readers import BadRecord, ReadOptions, read
from atomfield.data.readers.smiles import embed_smiles


def moved(graph: Graph, seed: int, noise: float = 0.0) -> Graph:
    """The same structure: rotated (and reflected for odd seeds), shifted, atoms in another order, coordinates rounded."""
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix() * (-1 if seed % 2 else 1)
    order = torch.from_numpy(rng.permutation(graph.num_nodes))
    turn_t = torch.from_numpy(turn)
    positions = graph.positions @ turn_t + torch.from_numpy(rng.normal(size=3))
    positions = positions + noise * torch.from_numpy(rng.standard_normal(positions.shape))
    return replace(
        graph,
        positions=positions.round(decimals=6)[order],
        species=graph.species[order],
        cell=graph.cell @ turn_t,
        quantities={"energy": graph.quantities["energy"]},
        node_type=graph.node_type[order],
        provenance=Provenance("moved.xyz", seed),
    )


def supercell(graph: Graph) -> Graph:
    """Twice the cell along its second vector, from another origin."""
    return replace(
        graph,
        positions=torch.cat([graph.positions, graph.positions + graph.cell[1]]) + 0.3,
        species=graph.species.repeat(2),
        node_type=None,
        cell=graph.cell * torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64)[:, None],
        quantities={"energy": 2 * graph.quantities["energy"]},
        provenance=Provenance("super.cif", 0),
    )


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_the_fingerprint_is_of_the_structure(seed: int, copper, molecules) -> None:
    for graph in (copper[1], molecules[seed % len(molecules)]):
        other = moved(graph, seed)
        a, b = fingerprint(graph), fingerprint(other)
        assert a.key == b.key
        assert np.allclose(a.values, b.values, rtol=1e-4, atol=1e-4)
        assert same_structure(graph, other)


def test_small_displacements_make_a_new_structure(copper, molecules) -> None:
    for graph in (copper[1], molecules[100]):
        assert not same_structure(graph, moved(graph, 4, noise=0.01))


def test_elements_that_are_neighbours_in_the_table_are_told_apart(copper) -> None:
    one, other = copper[1].species.clone(), copper[1].species.clone()
    one[0], other[5] = 28, 28  # a nickel atom on two sites of a rattled cell
    assert not same_structure(replace(copper[1], species=one), replace(copper[1], species=other))


def test_few_and_many_atoms_are_added_up_alike(copper, molecules, monkeypatch: pytest.MonkeyPatch) -> None:
    for graph in (copper[0], *molecules[:8]):
        few = environments(graph)
        monkeypatch.setattr(fingerprint_module, "_FEW", 0)
        np.testing.assert_allclose(environments(graph), few, rtol=1e-12, atol=1e-12)
        monkeypatch.undo()


def test_totals_remember_a_bounded_number_of_systems(molecules, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals_module, "_MOST_SYSTEMS", 3)
    monkeypatch.setattr(totals_module, "_MOST_NAMED", 2)
    totals = Totals(most=4)
    for record, graph in enumerate(molecules[:12]):
        energy = torch.tensor(1e7 * graph.num_nodes, dtype=torch.float64)
        totals.add(record, replace(graph, quantities={"energy": energy}, group=f"g{record}"))
    assert len(totals._lowest) == 3 and len(totals._energies) == 4 and len(totals._seen) <= 4
    (finding,) = totals.findings("all")
    assert finding.count == 12 and len(finding.records) == 2


def test_duplicates_are_found_with_their_labels(copper, molecules) -> None:
    contradicting = replace(
        moved(copper[3], 2),
        quantities={"energy": copper[3].quantities["energy"] + 1.0},
        provenance=Provenance("x", 7),
    )
    graphs = [*copper[:8], *molecules[:20], moved(copper[2], 1), supercell(copper[5]), contradicting]
    before = audit([*copper[:8], *molecules[:20]]).of("duplicates")
    assert before == []
    other, same = audit(graphs).of("duplicates")
    assert (other.severity, same.severity) == ("suspect", "note")
    assert [r.split(":")[0] for r in same.records] == ["moved.xyz (record 1)", "super.cif (record 0)"]
    assert (
        "x (record 7): the same structure as copper.extxyz:103 (record 3), but energy is" in other.records[0]
    )


def severities(graphs: list[Graph]) -> list[str]:
    return [f.severity for f in audit(graphs).of("duplicates")]


def test_forces_and_stress_contradict_too(copper) -> None:
    """The same structure, turned: forces that turned with it are the same label, others and a stress of half the size are not."""
    first = next(g for g in copper if float(g.quantities["forces"].norm(dim=1).max()) > 0.3)
    turn = torch.from_numpy(Rotation.random(random_state=1).as_matrix())
    turned = replace(
        first,
        positions=first.positions @ turn,
        cell=first.cell @ turn,
        quantities={"energy": first.quantities["energy"], "forces": first.quantities["forces"] @ turn},
    )
    assert severities([first, turned]) == ["note"]
    other = replace(turned, quantities={**turned.quantities, "forces": 2 * turned.quantities["forces"]})
    (found,) = audit([first, other]).of("duplicates")
    assert found.severity == "suspect"
    assert "but forces has a size of" in found.records[0]
    stress = torch.diag(torch.tensor([0.04, 0.02, 0.03], dtype=torch.float64))
    pair = [
        replace(g, quantities={"stress": s})
        for g, s in ((first, stress), (turned, (turn.T @ stress @ turn) * 0.5))
    ]
    assert severities(pair) == ["suspect"]
    pair[1] = replace(pair[1], quantities={"stress": turn.T @ stress @ turn})
    assert severities(pair) == ["note"]


def test_levels_of_theory_are_not_duplicates(copper) -> None:
    assert audit([copper[1], replace(copper[1], level="pbe")]).of("duplicates") == []


def test_overlap_names_the_records(copper) -> None:
    shared = overlap(
        copper[:12], [*copper[12:16], moved(copper[2], 1), supercell(copper[3])], ("energy", "forces")
    )
    assert shared.structures == {4: 2, 5: 3}
    assert shared.clean == [0, 1, 2, 3]
    assert shared.sentence().startswith("2 of 6 test records have the structure of a training record (33.3%)")
    assert shared.named[0] == "moved.xyz (record 1) is copper.extxyz:69 (record 2)"
    shared.refuse("report")
    with pytest.raises(InputError, match="2 of 6"):
        shared.refuse("raise")
    with pytest.raises(InputError, match="these are the training records"):
        overlap(copper[:6], [moved(g, 2) for g in copper[:6]], ("energy",)).refuse("report")


def test_molecules_leak_into_properties_but_not_into_surfaces() -> None:
    def of(smiles: str, seed: int) -> Graph:
        graph = embed_smiles(smiles, seed=seed)[0]
        value = torch.tensor(1.0, dtype=torch.float64)
        return replace(graph, quantities={"logS": value}, properties={"logS": scalar_property("logS")})

    train, test = [of("CCO", 0), of("CCC", 0), of("CCN", 0)], [of("OCC", 5), of("COC", 5)]
    shared = overlap(train, test, ("logS",))
    assert (shared.by, shared.molecules) == ("molecule", {0: 0})
    bent = [replace(g, positions=g.positions * 1.02) for g in test]
    assert overlap(train, bent, ("energy",)).leaked == {}
    assert overlap(train, bent, ("logS",)).leaked == {0: 0}
    unnamed = [replace(g, group="") for g in test]  # by bonds, where there is no SMILES
    assert overlap(train, unnamed, ("logS",)).molecules == {0: 0}
    assert bonds_key(test[0]) == bonds_key(train[0]) != bonds_key(test[1])


def test_net_forces_are_named(molecules) -> None:
    broken = []
    for number, graph in enumerate(molecules[300:330]):
        forces = graph.quantities["forces"].double().clone()
        if number == 4:
            forces[0] += 3.0
        broken.append(replace(graph, quantities={**graph.quantities, "forces": forces}))
    (finding,) = audit(broken).of("net force")
    assert finding.count == 1
    assert f"(record {molecules[304].provenance.record})" in finding.records[0]
    assert audit(molecules[300:330]).of("net force") == []


def test_energies_per_atom_are_found(molecules) -> None:
    assert audit(molecules).of("totals") == []
    graphs = [
        replace(g, quantities={"energy": g.quantities["energy"] / g.num_nodes}, group=str(i))
        for i, g in enumerate(molecules)
    ]
    (finding,) = audit(graphs).of("totals")
    assert "energies per atom" in finding.message


def test_energies_with_a_zero_of_their_own_are_found(molecules) -> None:
    lowest: dict[str, float] = {}
    for g in molecules:
        lowest[g.group] = min(lowest.get(g.group, 1e9), float(g.quantities["energy"]))
    graphs = [replace(g, quantities={"energy": g.quantities["energy"] - lowest[g.group]}) for g in molecules]
    (finding,) = audit(graphs).of("totals")
    assert "relative to their own minimum" in finding.message


def test_refused_records_are_counted_by_reason() -> None:
    bad = [
        BadRecord(
            Provenance("a.xyz", n, 10 * n), f"position of node {n} is [nan, 0.{n}], expected finite numbers"
        )
        for n in range(3)
    ] + [BadRecord(Provenance("a.xyz", 9, 90), "the record has no atoms, expected at least one")]
    first, second = check_refused(bad, "a.xyz")
    assert (first.count, second.count) == (3, 1)
    assert (
        first.records[1] == "a.xyz:10 (record 1): position of node 1 is [nan, 0.1], expected finite numbers"
    )
    assert reason_of("atoms 3 and 14 are 0.05 angstrom apart") == "atoms # and # are # angstrom apart"
    check_share(bad, 396, 0.01, "a.xyz")
    with pytest.raises(InputError, match=r"skipped 4 of 304 records \(1.3%\).*--max-bad 0.02"):
        check_share(bad, 300, 0.01, "a.xyz")


def test_what_readers_refuse_is_in_the_report(tmp_path) -> None:
    good = "2\nProperties=species:S:1:pos:R:3 energy=-1.0\nH 0 0 0\nH 0 0 0.74\n"
    (tmp_path / "x.xyz").write_text(
        good * 3 + good.replace("0.74", "0.01") + good.replace("H 0 0 0\n", "H 0 nan 0\n")
    )
    bad: list[BadRecord] = []
    graphs = list(read(tmp_path / "x.xyz", ReadOptions(on_bad="skip"), bad))
    report = audit(graphs, bad, where="x.xyz")
    refused = report.of("refused")
    assert [f.count for f in refused] == [1, 1]
    assert any("x.xyz:13 (record 3): atoms 0 and 1 are 0.01 angstrom apart" in f.records[0] for f in refused)
    report.write(tmp_path / "checks.json")
    assert (
        len(json.loads((tmp_path / "checks.json").read_text())["findings"]) == 3
    )  # and the repeated structure


def test_an_empty_or_odd_source_does_not_fail(copper) -> None:
    one = Graph(torch.zeros(1, 3), torch.tensor([1]), "molecule", quantities={"energy": torch.tensor(-13.6)})
    assert audit([]).findings == []
    assert audit([one]).findings == []
    assert audit([replace(copper[0], quantities={})]).findings == []
    slab = replace(copper[1], pbc=torch.tensor([True, True, False]))
    assert audit([slab, moved(slab, 2)]).of("duplicates")[0].count == 1
