"""Energy, forces and positions against each other and against nature: which unit or sign they most likely have.

Evidence: the slope of ``dE`` over ``-F.dx`` between near frames; the shortest bonds; the stiffness of bonds to hydrogen, and of
everything else; whether energies are all-electron totals in some unit. Every combination of a unit and a sign of the three
quantities is given a cost; a combination other than ours is reported where it explains the evidence much better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from atomfield.data.units import factor

from .findings import Finding
from .frames import Pairs, Sample
from .scales import Bonds, energy_ratios, hydrogen_stiffness, shortest_bonds

MARGIN = 6.0
"""How much cheaper (in chi square) another combination must be than ours."""
LEAST_AGREEMENT = 0.35
"""Of dE and -F.dx, below which the slope says nothing."""
_LENGTHS = {"angstrom": 0.0, "bohr": 4.0, "nm": 5.0}
_ENERGIES = {"eV": 0.0, "kcal/mol": 4.0, "hartree": 4.0, "kJ/mol": 4.5, "rydberg": 6.0, "meV": 7.0}
"""Unit and the cost of supposing it."""
_ATOMIC = {("hartree", "bohr"), ("rydberg", "bohr")}
_OTHER_LENGTH, _STRANGE_LENGTH = 0.5, 6.0
"""Cost of forces per another length than that of the positions: as programs in atomic units write them beside angstrom, and as
nobody does."""
_BOND_RANGE = (0.6, 1.35)
_HYDROGEN_RANGE = (0.7, 1.2)
"""Of the shortest bond, in units of covalent radii; of bonds to hydrogen in molecules."""
_HYDROGEN = 38.0
_STIFFNESS = (0.4, 200.0)
"""eV/angstrom^2, of a displacement in molecules that have no bonds of hydrogen to C, N or O: 20 in most, 95 in OCS, 150 in H2."""
_CRYSTAL = (2.0, 160.0)
"""eV, stiffness times the square of the shortest bond, in crystals: 7 in potassium, 30 in copper, 140 in tungsten."""
_MIN_PAIRS = 6


@dataclass(frozen=True)
class Evidence:
    """In the file's numbers; NaN where there is none. slope: ``dE`` over ``-F.dx``, with its uncertainty; agreement: their
    correlation over the pairs; bonds, totals: see ``scales``; hydrogen: stiffness of bonds to it, force per length, with the
    correlation ``hydrogen_agreement``; stiffness: of everything; restoring: share of pairs whose forces pull back."""

    slope: float
    uncertainty: float
    agreement: float
    num_pairs: int
    bonds: Bonds
    hydrogen: float
    hydrogen_agreement: float
    stiffness: float
    totals: np.ndarray
    restoring: float
    is_crystal: bool
    has_forces: bool


@dataclass(frozen=True)
class Combination:
    """Units of the file. Signs: -1 where the file has the negative."""

    length: str = "angstrom"
    energy: str = "eV"
    force: str = "eV/angstrom"
    energy_sign: int = 1
    force_sign: int = 1

    @property
    def factors(self) -> tuple[float, float, float]:
        """What positions, energies and forces of the file are multiplied with."""
        return (
            factor("positions", self.length),
            self.energy_sign * factor("energy", self.energy),
            self.force_sign * factor("forces", self.force),
        )

    def options(self) -> str:
        """``forces=kcal/mol/angstrom``: what is declared by ``--units``."""
        parts = []
        if self.length != "angstrom":
            parts.append(f"positions={self.length}")
        if self.energy != "eV" or self.energy_sign < 0:
            parts.append(f"energy={'-' if self.energy_sign < 0 else ''}{self.energy}")
        if self.force != "eV/angstrom" or self.force_sign < 0:
            parts.append(f"forces={'-' if self.force_sign < 0 else ''}{self.force}")
        return ",".join(parts)

    def words(self) -> str:
        """``forces look like kcal/mol/angstrom (factor 0.04336)``."""
        length, energy, force = self.factors
        parts = []
        if self.length != "angstrom":
            parts.append(f"positions look like {self.length} (factor {length:.4g})")
        for name, unit, ours, sign, number in (
            ("energies", self.energy, "eV", self.energy_sign, energy),
            ("forces", self.force, "eV/angstrom", self.force_sign, force),
        ):
            if unit != ours:
                turned = " with the opposite sign" if sign < 0 else ""
                parts.append(f"{name} look like {unit}{turned} (factor {number:.4g})")
            elif sign < 0:
                parts.append(f"{name} look like they have the opposite sign (factor -1)")
        return " and ".join(parts)


def gather(sample: Sample, pairs: Pairs) -> Evidence:
    """All evidence of one sample."""
    graphs = sample.graphs()
    fixed = pairs.usable()
    rest = np.where(pairs.strained, pairs.stretch, 0.0) * _stress_factor(pairs, fixed)
    second = np.abs(pairs.turn) + np.where(pairs.strained, np.abs(rest) + np.abs(pairs.stretch_turn), 0.0)
    slope, uncertainty, agreement = slope_of((pairs.energy - rest)[fixed], pairs.work[fixed], second[fixed])
    spread = pairs.square / pairs.num_atoms
    restoring = np.isfinite(pairs.turn) & (spread > 1e-4) & (spread < 0.25) & (pairs.turn != 0)
    stiffness = float("nan")
    share = float((pairs.turn[restoring] > 0).mean()) if restoring.sum() >= _MIN_PAIRS else 0.5
    if abs(share - 0.5) > 0.25:  # else forces know nothing of displacements
        stiffness = float(pairs.turn[restoring].sum() / pairs.square[restoring].sum())
    bonds = shortest_bonds(graphs)
    length = 1.0 if not bonds.ratio > 1.5 else factor("positions", "bohr")
    hydrogen, hydrogen_agreement = hydrogen_stiffness(sample, length)
    if abs(hydrogen_agreement) < 0.6:
        hydrogen = float("nan")
    elements = {int(z) for g in graphs[:: max(1, len(graphs) // 50)] for z in g.species.unique()}
    is_crystal = graphs[0].world == "crystal" and 1 not in elements if graphs else False
    return Evidence(
        slope=slope,
        uncertainty=uncertainty,
        agreement=agreement,
        num_pairs=int(fixed.sum()),
        bonds=bonds,
        hydrogen=hydrogen,
        hydrogen_agreement=hydrogen_agreement,
        stiffness=stiffness,
        totals=energy_ratios(sample),
        restoring=share if restoring.sum() >= 50 else float("nan"),
        is_crystal=is_crystal,
        has_forces=any("forces" in g.quantities for g in graphs),
    )


def _stress_factor(pairs: Pairs, used: np.ndarray) -> float:
    """What the stress is multiplied with in ``dE = a (-F.dx) + b V sigma:strain``, fitted: its unit may be wrong, too."""
    strained = used & pairs.strained
    if strained.sum() < _MIN_PAIRS:
        return 1.0
    turn = np.abs(pairs.turn[strained])
    weight = 1.0 / (turn + 0.1 * np.median(turn) + 1e-12)
    design = np.stack([pairs.work[strained], pairs.stretch[strained]], axis=1) * weight[:, None]
    size = np.maximum(np.abs(design).max(axis=0), 1e-300)
    fit, *_ = np.linalg.lstsq(design / size, pairs.energy[strained] * weight, rcond=None)
    return float(fit[1] / size[1])


def slope_of(change: np.ndarray, work: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """``change = slope * work``: slope, its uncertainty as a logarithm, and the correlation (about zero).

    The trapezoid's error grows with the ``second`` order of the work, so each pair is weighted by its inverse. What the error
    does to a regression is not known (it may sit on either side), so the slope is the geometric mean of both regressions
    and its uncertainty is their distance.
    """
    if len(change) < _MIN_PAIRS or not np.any(work) or not np.any(change):
        return float("nan"), float("nan"), float("nan")
    weight = 1.0 / (np.abs(second) + 0.1 * np.median(np.abs(second)) + 1e-12)
    x, y = work * weight, change * weight
    scale = max(float(np.median(np.abs(y))), 1e-300) / max(float(np.median(np.abs(x))), 1e-300)
    radius = np.hypot(x * scale, y)
    kept = np.minimum(
        1.0, 2.0 * np.median(radius) / np.maximum(radius, 1e-300)
    )  # no pair outweighs the others
    x, y = x * kept, y * kept
    agreement = float((x * y).sum() / math.sqrt((x**2).sum() * (y**2).sum()))
    if abs(agreement) < 1e-6:
        return float("nan"), float("nan"), agreement
    slope = math.copysign(math.sqrt(float((y**2).sum() / (x**2).sum())), agreement)
    return (
        slope,
        math.sqrt(0.08**2 + 1 / len(x) * (1 - agreement**2) + math.log(abs(agreement)) ** 2),
        agreement,
    )


def _log_miss(value: float, low: float, high: float) -> float:
    """How far ``value`` is outside of a range, in logarithms; large where it is not positive."""
    if not value > 0:
        return 10.0
    return max(0.0, math.log(low / value), math.log(value / high))


def cost(evidence: Evidence, c: Combination) -> float:
    """Minus twice the log likelihood of a combination of units, up to a constant."""
    length, energy, force = c.factors
    total = slips(c)
    if math.isfinite(evidence.slope) and abs(evidence.agreement) > LEAST_AGREEMENT:
        expected = force * length / energy
        if expected * evidence.slope <= 0:
            total += 40.0
        else:
            total += min(40.0, (math.log(evidence.slope / expected) / evidence.uncertainty) ** 2)
    if math.isfinite(evidence.bonds.ratio):
        bounds = _HYDROGEN_RANGE if evidence.bonds.organic else _BOND_RANGE
        total += min(40.0, (_log_miss(evidence.bonds.ratio * length, *bounds) / 0.05) ** 2)
    if math.isfinite(evidence.hydrogen):
        stiffness = evidence.hydrogen * force / length
        total += min(40.0, (_log_miss(stiffness, _HYDROGEN / 1.4, _HYDROGEN * 1.4) / 0.25) ** 2)
    elif math.isfinite(evidence.stiffness):
        stiffness = evidence.stiffness * force / length
        if evidence.is_crystal and math.isfinite(evidence.bonds.length):
            miss = _log_miss(stiffness * (evidence.bonds.length * length) ** 2, *_CRYSTAL) / 0.35
        else:
            miss = _log_miss(stiffness, *_STIFFNESS) / 0.6
        total += min(40.0, miss**2)
    if len(evidence.totals):
        off = np.abs(evidence.totals * energy - 1.0)
        if np.median(off) < 0.02 and c.energy != "rydberg":  # valence energies of light atoms come near it
            total -= 8.0 if len(off) > 2 else 5.0
    return total


def slips(c: Combination) -> float:
    """How unlikely a combination is before anything is measured. A unit that is not ours is a slip, of energies as well as of
    forces; energies and forces in one unit are one slip."""
    unit, _, per = c.force.rpartition("/")
    total = _LENGTHS[c.length] + 4.0 * (c.energy_sign < 0) + 4.0 * (c.force_sign < 0)
    total += _ENERGIES[c.energy] + (_ENERGIES[unit] if unit != c.energy else 0.0)
    total += 1.0 * (c.energy == "eV" and unit in ("kcal/mol", "kJ/mol"))  # who has these has energies in them
    if per == c.length:
        if (c.length, c.energy, unit) == ("bohr", "hartree", "hartree"):
            total -= 4.0  # atomic units throughout
        elif unit == "eV" and per != "angstrom":
            total += 4.0
    elif per == "angstrom":
        total += 1.5  # positions alone
    else:
        total += _OTHER_LENGTH if (unit, per) in _ATOMIC else _STRANGE_LENGTH
    return total


def combinations(has_forces: bool) -> list[Combination]:
    """Every combination that is looked at, ours first."""
    forces = [f"{e}/{a}" for e in _ENERGIES for a in _LENGTHS] if has_forces else ["eV/angstrom"]
    signs = (1, -1)
    return [
        Combination(length, energy, force if has_forces else f"{energy}/{length}", s, t)
        for length in _LENGTHS
        for energy in _ENERGIES
        for force in forces
        for s in signs
        for t in (signs if has_forces else (1,))
    ]


def check_units(where: str, evidence: Evidence, num_records: int) -> tuple[list[Finding], Combination | None]:
    """What is likely wrong with units and signs, and the combination that explains it (None where ours does)."""
    candidates = combinations(evidence.has_forces)
    costs = np.array([cost(evidence, c) for c in candidates])
    ours = costs[candidates.index(Combination())] if evidence.has_forces else cost(evidence, Combination())
    order = np.argsort(costs, kind="stable")
    best = candidates[order[0]]
    found = []
    if ours - costs[order[0]] > MARGIN and (best.options() if evidence.has_forces else best.energy != "eV"):
        others = [
            candidates[k]
            for k in order[1:6]
            if costs[k] - costs[order[0]] < 3.0 and candidates[k].options() != best.options()
        ]
        shown = best if evidence.has_forces else Combination(best.length, best.energy)
        advice = f"add --units {shown.options()}"
        if others:
            advice += f" (or --units {' or '.join(o.options() or 'nothing' for o in others[:2])}, which fits nearly as well)"
        found.append(
            Finding(
                "units", "wrong", where, f"{shown.words()}: {_because(evidence)}", advice, (), num_records
            )
        )
        return found, shown
    unrelated = abs(evidence.hydrogen_agreement) < 0.3 or 0.3 < evidence.restoring < 0.65
    if evidence.num_pairs >= 50 and abs(evidence.agreement) < LEAST_AGREEMENT and unrelated:
        message = (
            f"forces do not fit their structures: over {evidence.num_pairs} pairs of near frames dE and -F.dx have a correlation "
            f"of {evidence.agreement:.2f}, and forces pull back in {evidence.restoring:.0%} of them, expected above 80 %"
        )
        advice = "forces are of other frames, or of atoms in another order; check the keys given by --map"
        found.append(Finding("units", "wrong", where, message, advice, (), num_records))
    elif evidence.agreement > 0.95 and not 0.75 < evidence.slope < 1.33:
        message = (
            f"dE is {evidence.slope:.4g} times -F.dx over {evidence.num_pairs} pairs of near frames, expected 1, and no unit "
            "that we know explains it"
        )
        found.append(
            Finding("units", "wrong", where, message, "check energies, forces and positions", (), num_records)
        )
    return found, None


def _because(e: Evidence) -> str:
    parts = []
    if abs(e.agreement) > LEAST_AGREEMENT and (
        e.slope < 0 or abs(math.log(e.slope)) > max(0.1, e.uncertainty)
    ):
        parts.append(f"dE is {e.slope:.4g} times -F.dx over {e.num_pairs} pairs of near frames, expected 1")
    if math.isfinite(e.bonds.ratio) and not _BOND_RANGE[0] < e.bonds.ratio < _BOND_RANGE[1]:
        parts.append(
            f"the shortest bonds are {e.bonds.ratio:.2f} times the sum of covalent radii, expected about 1"
        )
    if math.isfinite(e.hydrogen) and not 15 < e.hydrogen < 90:
        parts.append(
            f"bonds to hydrogen have a stiffness of {e.hydrogen:.3g}, expected 25 to 55 eV/angstrom^2"
        )
    elif not math.isfinite(e.hydrogen) and math.isfinite(e.stiffness) and not 0.3 < e.stiffness < 200:
        parts.append(f"forces change by {e.stiffness:.3g} per length, expected 0.3 to 200 eV/angstrom^2")
    if len(e.totals) and abs(np.median(e.totals) - 1) > 0.02:
        parts.append(f"energies are {np.median(e.totals):.4g} times the all-electron totals in eV")
    return "; ".join(parts)
