"""Targets that are more than one number, read from files under their own names; what is wrong is said with the way out."""

import numpy as np
import pytest

from atomfield.data.errors import InputError
from atomfield.data.readers import ReadOptions, read
from atomfield.data.store import Store, write_store

FRAME = """2
Properties=species:S:1:pos:R:3:born:R:9:nmr:R:1 \
polar="1 0.1 0 0.1 2 0 0 0 3" dos="0.5 1.5 2.5 0" elastic="{elastic}" phase={phase}
O 0 0 0  1 2 3 4 5 6 7 8 9  12.5
H 0 0 1  9 8 7 6 5 4 3 2 1  nan
"""
ELASTIC = " ".join(str(v) for v in (np.arange(36.0).reshape(6, 6) + np.arange(36.0).reshape(6, 6).T).ravel())
DECLARED = {
    "born": "0e+1e+2e/atom",
    "nmr": "0e/atom",
    "polar": "0e+2e",
    "dos": "4x0e",
    "elastic": "2x0e+2x2e+4e",
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.extxyz"
    path.write_text(FRAME.format(elastic=ELASTIC, phase="hexagonal") * 2)
    return path


def options(**changes):
    return ReadOptions(
        **{
            "targets": (*DECLARED, "phase"),
            "declared": DECLARED,
            "classes": {"phase": ("cubic", "hexagonal")},
            **changes,
        }
    )


def test_values_come_in_their_shapes_and_survive_a_store(file, tmp_path):
    graphs = list(read(file, options()))
    again = Store(_stored(graphs, tmp_path / "store"))
    for graph in (graphs[0], again[1]):
        q = graph.quantities
        assert (
            q["born"].shape == (2, 3, 3) and q["born"][0, 0, 1] == 2 and q["born"][0, 1, 0] == 4
        )  # not symmetrised
        assert q["nmr"][0] == 12.5 and bool(q["nmr"][1].isnan())
        assert q["polar"][0, 1] == pytest.approx(0.1) and q["dos"].tolist() == [0.5, 1.5, 2.5, 0.0]
        assert q["elastic"].shape == (6, 6) and float(q["phase"]) == 1.0
        assert graph.definition("born").support == "node"


def _stored(graphs, path):
    write_store(graphs, path)
    return path


def test_an_undeclared_tensor_says_how_to_declare_it(file):
    with pytest.raises(InputError, match=r"--target-irreps dos=4x0e"):
        list(read(file, ReadOptions(targets=("dos",))))
    with pytest.raises(InputError, match=r"--target-irreps born=0e\+1e\+2e/atom"):
        list(read(file, ReadOptions(targets=("born",))))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"declared": {**DECLARED, "dos": "5x0e"}}, r"'dos' has shape \[4\], expected \[5\]"),
        ({"declared": {**DECLARED, "dos": "banana"}}, "are not readable"),
        ({"declared": {**DECLARED, "other": "1o"}}, "'other', which is not a target"),
        ({"classes": {"phase": ("a", "b")}}, "'phase' is 'hexagonal', expected one of the classes a, b"),
        ({"declared": {**DECLARED, "polar": "0e+2e/atom"}}, "expected"),
        (
            {"targets": ("stress",), "declared": {"stress": "1o"}, "classes": {}},
            "is 0e\\+2e in the vocabulary",
        ),
    ],
)
def test_a_wrong_declaration_is_named(file, changes, said):
    with pytest.raises(InputError, match=said):
        list(read(file, options(**changes)))


def test_spectra_and_classes_stand_in_cells_of_a_table(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text('smiles,dos,phase\nO,"[0.1, 0.2, 0.3]",b\nC,0.4 0.5 0.6,\n')
    a, b = read(
        table,
        ReadOptions(targets=("dos", "phase"), declared={"dos": "3x0e"}, classes={"phase": ("a", "b", "c")}),
    )
    assert a.quantities["dos"].tolist() == [0.1, 0.2, 0.3] and float(a.quantities["phase"]) == 1.0
    assert b.quantities["dos"].tolist() == [0.4, 0.5, 0.6] and "phase" not in b.quantities


def test_a_value_per_atom_with_gaps_that_is_not_declared_says_how(tmp_path):
    text = "2\nProperties=species:S:1:pos:R:3:shift:R:1\nO 0 0 0 nan\nH 0 0 1 30.5\n"
    (tmp_path / "a.xyz").write_text(text)
    with pytest.raises(
        InputError, match=r"expected \[\] for shift; say what it is: --target-irreps shift=0e/atom"
    ):
        list(read(tmp_path / "a.xyz", ReadOptions(targets=("shift",))))
