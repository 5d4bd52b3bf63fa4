"""Comment lines of extended xyz are read as ASE reads them, whichever way they take."""

from __future__ import annotations

import numpy as np
import pytest
from ase.io.extxyz import key_val_str_to_dict
from hypothesis import given
from hypothesis import strategies as st

from atomfield.data.readers.comment import _plain, pairs_of

PLAIN = [
    'Lattice="3.6 0 0 0 3.6 0 0 0 7.0" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.25e-3 pbc="T T F"',
    "energy=5 step=007 name=water_2 config_type=bulk,strained flag=T other=false",
    'stress="1 2 3 4 5 6 7 8 9"   virial="1,2,3,4,5,6,7,8,9"',
    'title="a = b {c} \'d\'" e=.5 f=5. g=+1.0E-10 h="1 2.5" energy=1 energy=2 ',
    'word="T true" half="T maybe" sizes="10 20"',
]
OTHERS = [
    "energy=nan", "energy=1_000", "n=[1, 2]", "a={1 2}", "j=_JSON[1]", "just words", "a=b=c", 'x=""', "uid=001", "a = 3",
    "e=1e99999", "big=123456789012345678901234567890", r"esc=a\ b", "é=1", "x=Infinity", "q='1 2'", "none=None", 'p="a"b',
]  # fmt: skip


def same(a: object, b: object) -> bool:
    if isinstance(a, (np.ndarray, np.generic)):
        return (
            type(a) is type(b)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and np.array_equal(a, b, equal_nan=True)
        )  # type: ignore[attr-defined]
    return type(a) is type(b) and a == b


def check(comment: str) -> None:
    try:
        expected = key_val_str_to_dict(comment)
    except Exception as error:
        with pytest.raises(type(error)):
            pairs_of(comment)
        return
    found = pairs_of(comment)
    assert list(found) == list(expected), comment
    for key, value in expected.items():
        assert same(found[key], value), (comment, key, found[key], value)


@pytest.mark.parametrize("comment", PLAIN)
def test_plain_lines_are_read_here_and_as_ase_reads_them(comment: str) -> None:
    assert _plain(comment) is not None
    check(comment)


@pytest.mark.parametrize("comment", OTHERS)
def test_other_lines_are_left_to_ase(comment: str) -> None:
    assert not comment.isascii() or _plain(comment) is None
    check(comment)


WORDS = st.one_of(
    st.floats(allow_nan=True).map(repr), st.integers().map(str),
    st.sampled_from("T F true False None nan inf -inf 1_0 .".split()),
    st.text("aAeETF01.-+_,:'\"= {}[]\\", max_size=6),
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(["energy", "Lattice", "a-b", "_x", "9", "uid"]), st.sampled_from(["=", " = ", ""]),
                          st.lists(WORDS, max_size=3), st.booleans())))  # fmt: skip
def test_any_line_is_read_as_ase_reads_it(pairs: list[tuple[str, str, list[str], bool]]) -> None:
    quote = lambda words, quoted: f'"{" ".join(words)}"' if quoted else " ".join(words)  # noqa: E731
    check(" ".join(f"{key}{equals}{quote(words, quoted)}" for key, equals, words, quoted in pairs))
