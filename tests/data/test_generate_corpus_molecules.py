"""Molecules of the pretraining corpus: which there are, what is left out, how they move, and a tiny store from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.io import write
from ase.units import kB

from atomfield.data.errors import InputError
from atomfield.data.excluding import identity
from atomfield.data.generate import __main__ as command
from atomfield.data.generate.complexes import complexes
from atomfield.data.generate.corpus import Order, build_corpus, checked, config_path, read_yaml, shared
from atomfield.data.generate.corpus_frames import Plan, Sample, labelled_sample
from atomfield.data.generate.corpus_molecules import MoleculesConfig, chunks_of, samples_of
from atomfield.data.generate.corpus_species import EVEN_POOLS, pool, radicals
from atomfield.data.generate.distortions import bent, in_contact, packed, passed_on, stretched_bonds, turned
from atomfield.data.generate.left_out import LeftOut, left_out, names_of_smiles
from atomfield.data.generate.shapes import Shape, embed
from atomfield.data.generate.species import Species, species_of
from atomfield.data.generate.springs import spring_hessian, thermal_displacement
from atomfield.data.store import Store
from tests.extras import needs_tblite

NOTHING = LeftOut()


def known(smiles: str, unpaired: int = 0) -> Species:
    species = species_of(smiles, unpaired)
    assert species is not None
    return species


def shape_of(smiles: str) -> Shape:
    shape = embed(known(smiles), 1)
    assert shape is not None
    return shape


def tiny(**changes: object) -> MoleculesConfig:
    content = {
        "seed": 5,
        "samples_per_chunk": 2,
        "atoms": False,
        "sorts": {
            "small": {"molecules": 5, "most_atoms": 6, "frames": {"relaxed": 1, "thermal": 1, "dynamics": 1}},
            "transfers": {"molecules": 2, "most_atoms": 8, "frames": {"transfer": 2}},
            "radicals": {"molecules": 2, "most_atoms": 4, "frames": {"bond": 1}},
        },
        **changes,
    }
    return MoleculesConfig.model_validate(content)


# ---------------------------------------------------------------------- species
@pytest.mark.parametrize("sort", EVEN_POOLS)
def test_pools_hold_different_whole_molecules(sort: str) -> None:
    species = pool(sort, 30, 3, 26)
    assert len(species) == 30 == len({s.smiles for s in species})
    assert all(s.unpaired == 0 and 1 < s.num_atoms <= 26 and "." not in s.smiles for s in species)
    assert (sort == "ions") <= all(s.charge or "+" in s.smiles for s in species)
    assert species == pool.__wrapped__(sort, 30, 3, 26)
    assert species != pool(sort, 30, 4, 26)


def test_radicals_have_one_or_two_unpaired_electrons() -> None:
    species = radicals(150, 3, 12)
    assert len(species) == 150 == len({s.smiles for s in species})
    assert {s.unpaired for s in species} == {1, 2}
    assert sum("." in s.smiles for s in species) == 0


@pytest.mark.parametrize("sort", ["clusters", "metals", "transfers"])
def test_complexes_are_different_and_small_enough(sort: str) -> None:
    groups = complexes(sort, 25, 20, 1, NOTHING)
    assert len(groups) == 25 == len(set(groups))
    for group in groups:
        assert 2 <= len(group) <= 5 and sum(s.num_atoms for s in group) <= 20
        assert abs(sum(s.charge for s in group)) <= 2
        assert (sort == "metals") <= (group[0].smiles[1:3] in ("Li", "Na", "K+", "Mg", "Ca", "Zn"))


# ---------------------------------------------------------------------- what is left out
def test_tables_of_smiles_are_read_without_embedding(tmp_path: Path) -> None:
    table = tmp_path / "test.csv"
    table.write_text(
        "name,smiles,y\na,CC(=O)O,1\nb,C[C@H](F)Cl,2\nc,[Na+].CCC(=O)[O-],3\nd,*C,4\ne,[Cl-].[Na+],5\n"
    )
    out = left_out([str(table)], ["CCN"], 20)
    assert out.records == {"task": {"records": 1, "not read": 0}, str(table): {"records": 5, "not read": 1}}
    gone = {"CC(=O)O", "CC(=O)[O-]", "C[C@@H](F)Cl", "CC(F)Cl", "CCC(=O)O", "CCN"}
    assert {s for s in (*gone, "CCO", "[Cl-]", "CC(=O)OC") if out.has(known(s))} == gone
    assert out.counts == {str(table): 5, "task": 1}
    assert not left_out([str(table)], [], 7).has(known("CC(=O)O")), "too large to be made, so not looked at"


def test_bond_graphs_of_files_count_whole_and_in_parts(tmp_path: Path) -> None:
    ethane, water = shape_of("CC"), shape_of("O")
    both = packed([ethane, water], np.random.default_rng(0))
    write(tmp_path / "pair.xyz", Atoms(both.numbers, both.positions))
    out = left_out([str(tmp_path / "pair.xyz")], [], 20)
    assert out.has(known("CC"))
    assert not out.has(known("O")), "one heavy atom beside another molecule does not count"
    assert not out.has(known("CCC"))
    assert f"bonds {identity_key('CC')}" in out.names


def identity_key(smiles: str) -> str:
    from atomfield.data.readers.smiles import embed_smiles

    return identity(embed_smiles(smiles)[0]).removeprefix("molecule ")


@pytest.mark.parametrize("smiles", ["CCO", "c1ccccc1C=O", "CC(=O)NC", "FC(F)(F)Cl", "C1CC1N"])
def test_bond_graph_of_smiles_is_that_of_the_geometry(smiles: str) -> None:
    names = names_of_smiles(smiles)
    assert names is not None and f"bonds {identity_key(smiles)}" in names


def test_water_is_left_out_alone_and_allowed_beside_others(tmp_path: Path) -> None:
    (tmp_path / "drugs.smi").write_text("O\nN\nC\n")
    out = left_out([str(tmp_path / "drugs.smi")], [], 20)
    assert out.has(known("O")) and not out.has(known("O"), beside=True)
    assert out.has(known("C"), beside=True)
    groups = complexes("transfers", 10, 12, 1, out)
    assert groups and all(s.smiles != "C" for group in groups for s in group)


def test_what_is_left_out_is_in_no_sample(tmp_path: Path) -> None:
    config = tiny()
    first = samples_of(config, NOTHING)
    gone = first[0].parts[0]
    (tmp_path / "a.smi").write_text(gone.smiles + "\n")
    out = left_out([str(tmp_path / "a.smi")], [], 34)
    samples = samples_of(config, out)
    assert gone not in [s for sample in samples for s in sample.parts]
    assert sum(s.sort == "small" for s in samples) == 5, "another takes its place"


def test_source_that_is_no_molecules_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("nonsense\n")
    with pytest.raises(InputError, match="no record could be read as a molecule"):
        left_out([str(tmp_path / "a.smi")], [], 34)


# ---------------------------------------------------------------------- geometry
def test_springs_hold_and_give_the_thermal_spread() -> None:
    shape = shape_of("CCO")
    hessian = spring_hessian(shape)
    np.testing.assert_allclose(hessian, hessian.T)
    assert np.linalg.eigvalsh(hessian).min() > 0.2
    rng = np.random.default_rng(0)
    drawn = np.stack([thermal_displacement(hessian, 600.0, rng).ravel() for _ in range(4000)])
    wanted = kB * 600.0 * np.linalg.inv(hessian)
    np.testing.assert_allclose(np.cov(drawn.T), wanted, atol=0.08 * wanted.max())


def test_moves_change_what_they_say() -> None:
    shape, rng = shape_of("CC(=O)NC"), np.random.default_rng(1)
    lengths = np.array([np.linalg.norm(shape.positions[i] - shape.positions[j]) for i, j in shape.bonds])

    def ratios(positions: np.ndarray) -> np.ndarray:
        return np.array([np.linalg.norm(positions[i] - positions[j]) for i, j in shape.bonds]) / lengths

    for _ in range(10):
        positions, longest = stretched_bonds(shape, 1, rng)
        changed = ratios(positions)[~np.isclose(ratios(positions), 1)]
        assert len(changed) == 1 and (longest == 1.0 or np.isclose(changed[0], longest))
        for moved in (bent(shape, rng), turned(shape, rng)):
            assert moved is not None
            np.testing.assert_allclose(ratios(moved), 1)
            assert np.abs(moved - shape.positions).max() > 0.1
    assert turned(shape_of("C"), rng) is None


def test_pairs_meet_at_their_distances_and_hydrogen_goes_over() -> None:
    from ase.data.vdw_alvarez import vdw_radii

    first, second, rng = shape_of("CO"), shape_of("N"), np.random.default_rng(2)
    sums = vdw_radii[first.numbers][:, None] + vdw_radii[second.numbers][None]
    found = []
    for positions in in_contact(first, second, 10, rng):
        a, b = positions[: len(first.numbers)], positions[len(first.numbers) :]
        found.append((np.linalg.norm(a[:, None] - b[None], axis=-1) / sums).min())
    assert min(found) < 0.75 and max(found) > 2.7
    frames = list(passed_on(first, second, 4, rng))
    oxygen, nitrogen = int(np.flatnonzero(first.numbers == 8)[0]), len(first.numbers)
    hydrogen = max(range(len(first.numbers)), key=lambda k: np.linalg.norm(frames[0][k] - frames[-1][k]))
    start, end = frames[0], frames[-1]
    assert np.linalg.norm(start[hydrogen] - start[oxygen]) < 1.1 < np.linalg.norm(end[hydrogen] - end[oxygen])
    assert np.linalg.norm(end[hydrogen] - end[nitrogen]) < 1.2


# ---------------------------------------------------------------------- labels
@needs_tblite
def test_relaxation_and_dynamics_stay_near_the_minimum() -> None:
    plan = Plan(embedded=1, relaxed=1, thermal=2, dynamics=2, bond=3)
    frames, dropped = labelled_sample(Sample("small", (known("CO"),), 3, plan))
    force = {}
    for frame, _ in frames:
        force.setdefault(frame.kind, []).append(float(np.linalg.norm(frame.label.forces, axis=1).max()))
    assert force["relaxed"][0] < 0.12 < force["embedded"][0]
    assert max(force["thermal"] + force["dynamics"]) < 15
    assert len(frames) + sum(dropped.values()) == 9
    energy = {frame.kind: frame.label.energy for frame, _ in frames}
    assert all(e > energy["relaxed"] - 1e-3 for e in energy.values())


@needs_tblite
def test_tiny_store_is_the_same_after_a_kill_and_for_any_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atomfield.data.generate import corpus_molecules

    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump({"make": "molecules", **tiny().model_dump()}))
    arguments = {"scale": 1.0, "jobs": 0, "progress": False}
    report = build_corpus(str(config), Order(tmp_path / "a", **arguments))
    assert sum(report["sorts"].values()) == len(Store(tmp_path / "a")) > 8
    assert report["without"]["task"]["records"] > 40
    made, real = [], corpus_molecules.make

    def stopping(chunk: corpus_molecules.Chunk):
        made.append(chunk)
        if len(made) == 3:
            raise KeyboardInterrupt
        return real(chunk)

    monkeypatch.setattr(corpus_molecules, "make", stopping)
    with pytest.raises(KeyboardInterrupt):
        build_corpus(str(config), Order(tmp_path / "b", **arguments))
    monkeypatch.undo()
    build_corpus(str(config), Order(tmp_path / "b", scale=1.0, jobs=2, progress=False))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    levels = {(g.level, g.conditions["spin"] > 0) for g in Store(tmp_path / "a")}
    assert levels == {("gfn2-xtb", False), ("spgfn2-xtb", True)}


# ---------------------------------------------------------------------- config and command
def test_packaged_config_and_shares() -> None:
    path = config_path("corpus/molecules")
    content = read_yaml(path)
    assert content.pop("make") == "molecules"
    config = checked(MoleculesConfig, content, path)
    assert sum(sort.molecules for sort in config.sorts.values()) > 8000
    chunks = list(range(10))
    parts = [shared(chunks, Order(Path("x"), share=share)) for share in ((0, 0.6), (0.6, 1))]
    assert [*parts[0], *parts[1]] == chunks
    with pytest.raises(InputError, match="holds no chunk"):
        shared(chunks, Order(Path("x"), share=(0.5, 0.5)))


def test_smaller_scale_is_a_part_of_the_larger() -> None:
    config = tiny()
    whole, half = samples_of(config, NOTHING), samples_of(config, NOTHING, 0.5)
    assert set(half) < set(whole)
    assert {s for c in chunks_of(config, whole) for s in c.samples} == set(whole)


def test_mistakes_in_configs_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("make: molecules\nsede: 1\nsorts: {}\n")
    assert command.main([str(wrong), "--out", str(tmp_path / "out")]) == 2
    assert "did you mean seed?" in capsys.readouterr().err
    for arguments, message in (
        (["corpus/nothing"], "expected one of corpus/"),
        ([str(tmp_path / "absent.yaml")], "neither corpus/NAME nor a file"),
        (["corpus/molecules", "--share", "half"], "two fractions A:B"),
        (["--without", "x.csv"], "--without goes with a config"),
    ):
        assert command.main([*arguments, "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
    wrong.write_text(json.dumps({"make": "tea"}))
    with pytest.raises(InputError, match="make is 'tea'"):
        build_corpus(str(wrong), Order(tmp_path / "out"))
