"""The tables of docs/laws.md say what the code does: which law has which use, and what a record must have for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from atomfield.finetune.identify_config import ENERGY_LAWS, RECORD_LAWS, TRAJECTORY_LAWS, IdentifyConfig
from atomfield.finetune.laws import LABELS
from atomfield.models.constraints import Constraint
from atomfield.models.pair_terms import is_pair_term
from atomfield.physics_priors.balances import BalanceName, balance
from atomfield.physics_priors.energy_laws import EnergyLawName, energy_law
from atomfield.physics_priors.field_laws import FieldLawName, field_law
from atomfield.physics_priors.line_laws import LineLawName
from atomfield.pretrain.config import LawName, LossWeights
from atomfield.pretrain.physics_loss import quantities_of

PAGE = (Path(__file__).parent.parent / "docs" / "laws.md").read_text(encoding="utf-8")
NONE = "–"


def rows(first: str) -> dict[str, list[str]]:
    """Law -> the other cells, of the table whose header begins with ``| law | first``."""
    table = PAGE[PAGE.index(f"| law | {first}") :].split("\n\n")[0].splitlines()[2:]
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in table]
    return {name: row for names, *row in cells for name in re.findall(r"`(\w+)`", names) or [names]}


USES, NEEDS = rows("report"), rows("equation")


def identified(name: str) -> str:
    """The words of the last column."""
    config = IdentifyConfig.model_fields["law"].annotation
    if name not in get_args(config):
        return NONE
    if name in ENERGY_LAWS:
        return "structures"
    if name in TRAJECTORY_LAWS:
        return "trajectory"
    record = name in RECORD_LAWS or name in get_args(FieldLawName)
    line = name in get_args(LineLawName)
    return ", ".join(w for w, there in (("record", record), ("line", line)) if there)


@pytest.mark.parametrize("name", get_args(FieldLawName))
def test_laws_of_fields(name):
    law, (report, loss, hard, term, found) = field_law(name), USES[name]
    assert name in LABELS and report == f"`law_{name}`"
    assert loss == ("yes" if name in get_args(LawName) else NONE)
    assert hard == ("yes" if name in get_args(Constraint) else NONE)
    assert hard == NONE or law.impose is not None
    assert term == ("`Law.term`" if law.explains else NONE)
    assert found == identified(name)


@pytest.mark.parametrize("name", get_args(FieldLawName))
def test_what_a_record_must_have(name):
    law, (_, quantities, conditions) = field_law(name), NEEDS[name]
    said = set(re.findall(r"\w+", quantities.split(";")[0].split(", at ")[0]))
    assert said == {n for n in {*law.reads, *law.explains} if not n.endswith("_before")}
    assert ("three times" in quantities) == (law.time_order == 2)
    assert quantities_of(law) <= said | {"solution_before"}
    assert [c for c in conditions.split(", ") if c != NONE] == list(law.constants)


@pytest.mark.parametrize("name", get_args(BalanceName))
def test_balances(name):
    assert USES[name][1] == ("yes" if name in get_args(LawName) else NONE)
    assert USES[name][3] == NONE and not balance(name).explains
    page = (Path(__file__).parent.parent / "finetune" / "conservation.py").read_text(encoding="utf-8")
    assert USES[name][0].strip("`") in page


@pytest.mark.parametrize("name", get_args(EnergyLawName))
def test_energies(name):
    assert energy_law(name).explains == ("energy",)
    assert USES[name][3] == ("`network.priors`" if name == "zbl" or is_pair_term(name) else NONE)
    assert USES[name][4] == identified(name)


def test_nothing_is_left_out():
    known = {*get_args(FieldLawName), *get_args(BalanceName), *get_args(EnergyLawName), *TRAJECTORY_LAWS}
    assert known <= USES.keys()
    assert set(NEEDS) == set(get_args(FieldLawName))
    held = {name for name, row in USES.items() if row[2].startswith("yes")} - {
        "amounts that are never negative"
    }
    assert held | {"nonnegative"} == set(get_args(Constraint))
    assert LossWeights(physics=dict.fromkeys(get_args(LawName), 1.0))
