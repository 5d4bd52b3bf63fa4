"""The stress against the energy of near frames whose cells differ, and against the volume: its sign and its unit.

``dE = -F.dx + V sigma : strain`` with ASE's sign, positive in tension. Without energies: the mean stress grows with the volume by
the bulk modulus, 1 to 500 GPa.
"""

from __future__ import annotations

import math

import numpy as np

from atomfield.data.units import factor

from .findings import Finding
from .frames import Pairs, Sample

UNITS = ("eV/angstrom^3", "GPa", "kbar", "MPa", "bar", "Pa")
_MIN_PAIRS = 6
_MODULUS = (0.003, 4.0)
"""Bulk modulus in eV/angstrom^3: 0.5 to 640 GPa."""
_MIN_SPREAD = 0.004
"""Standard deviation of the logarithm of the volume that shows a modulus."""


def check_stress(where: str, sample: Sample, pairs: Pairs, num_records: int) -> list[Finding]:
    """Findings about sign and unit of the stress; call with energies and forces that are right."""
    slope, agreement, count = stress_slope(pairs)
    if count >= _MIN_PAIRS and abs(agreement) > 0.5:
        found = _nearest_unit(slope, max(0.25, -math.log(abs(agreement))))
        because = f"dE + F.dx is {slope:.4g} times the volume times stress:strain over {count} pairs of near frames, expected 1"
        if found is None:
            virial = _virial(pairs)
            if virial:
                message = f"stress looks like the virial of the whole cell: {because}"
                return [_wrong(where, message, f"stress={virial}", num_records)]
            message = f"stress is in no unit that we know: {because}"
            return [
                Finding(
                    "units",
                    "suspect",
                    where,
                    message,
                    "check the key and the unit of the stress",
                    (),
                    num_records,
                )
            ]
        sign, unit = found
        if (sign, unit) != (1, "eV/angstrom^3"):
            return [_wrong(where, f"{_words(sign, unit)}: {because}", _option(sign, unit), num_records)]
        return []
    modulus, count = bulk_modulus(sample)
    if count < _MIN_PAIRS:
        return []
    because = f"the mean stress changes by {modulus:.4g} with the logarithm of the volume, expected 0.003 to 4 eV/angstrom^3"
    if _MODULUS[0] < modulus < _MODULUS[1]:
        return []
    sign = 1 if modulus > 0 else -1
    fitting = [u for u in UNITS[:3] if _MODULUS[0] < abs(modulus) * factor("stress", u) < _MODULUS[1]]
    if not fitting:
        return [
            Finding(
                "units",
                "suspect",
                where,
                because,
                "check the key and the unit of the stress",
                (),
                num_records,
            )
        ]
    options = " or --units ".join(_option(sign, u) for u in fitting)
    message = f"{_words(sign, fitting[0])}: {because}"
    return [_wrong(where, message, options, num_records)]


def stress_slope(pairs: Pairs) -> tuple[float, float, int]:
    """Slope of ``dE + F.dx`` over ``V sigma:strain`` where cells differ, its correlation and the number of pairs.

    Each pair is weighted by the inverse of what the trapezoid may miss.
    """
    known = pairs.strained & np.isfinite(pairs.energy) & np.isfinite(pairs.stretch) & (pairs.stretch != 0)
    work = np.where(np.isfinite(pairs.work), pairs.work, 0.0)
    turn = np.where(np.isfinite(pairs.turn), np.abs(pairs.turn), 0.0)
    moved = pairs.square > 1e-5 * pairs.num_atoms
    known &= np.isfinite(pairs.work) | ~moved
    if known.sum() < _MIN_PAIRS:
        return float("nan"), 0.0, int(known.sum())
    x, y = pairs.stretch[known], (pairs.energy - work)[known]
    second = np.abs(pairs.stretch_turn[known])
    scale = float(np.median(np.abs(y)) / np.median(np.abs(x))) if np.median(np.abs(x)) > 0 else 1.0
    doubt = (second + 0.1 * np.median(second)) * scale + turn[known] + 0.3 * np.abs(work[known]) + 1e-12
    x, y = x * scale / doubt, y / doubt
    radius = np.hypot(x, y)
    kept = np.minimum(1.0, 2.0 * np.median(radius) / np.maximum(radius, 1e-300))
    x, y = x * kept, y * kept
    size = math.sqrt(float((x * x).sum() * (y * y).sum()))
    agreement = float((x * y).sum()) / size if size > 0 else 0.0
    slope = scale * math.copysign(math.sqrt(float((y * y).sum() / max((x * x).sum(), 1e-300))), agreement)
    return slope, agreement, int(known.sum())


def _nearest_unit(slope: float, tolerance: float) -> tuple[int, str] | None:
    sign = 1 if slope > 0 else -1
    distance = {u: abs(math.log(abs(slope) / factor("stress", u))) for u in UNITS}
    unit = min(distance, key=lambda u: distance[u])
    return (sign, unit) if distance[unit] < max(tolerance, 0.3) else None


def _virial(pairs: Pairs) -> str:
    """``virial`` or ``-virial`` where the slope is the inverse of the volume, else nothing."""
    known = pairs.strained & np.isfinite(pairs.stretch)
    volume = float(np.median(pairs.volume[known]))
    slope, agreement, _ = stress_slope(pairs)
    if abs(agreement) > 0.5 and abs(math.log(abs(slope) * volume)) < 0.3:
        return "virial" if slope < 0 else "-virial"
    return ""


def bulk_modulus(sample: Sample) -> tuple[float, int]:
    """Change of the mean stress with ``ln V`` within systems, median over them (in the file's unit), and the frames used."""
    slopes, weights = [], []
    for frames in sample.systems.values():
        graphs = [g for _, g in frames if "stress" in g.quantities and bool(g.pbc.all())]
        if len(graphs) < 3:
            continue
        volume = np.log([abs(float(np.linalg.det(g.cell.numpy()))) for g in graphs])
        mean = np.array([float(g.quantities["stress"].double().trace()) / 3 for g in graphs])
        if volume.std() < _MIN_SPREAD or mean.std() == 0:
            continue
        if abs(np.corrcoef(volume, mean)[0, 1]) < 0.7:
            continue
        slopes.append(float(np.polyfit(volume, mean, 1)[0]))
        weights.append(len(graphs))
    return (float(np.median(slopes)), int(sum(weights))) if slopes else (float("nan"), 0)


def _words(sign: int, unit: str) -> str:
    if unit == "eV/angstrom^3":
        return "stress looks like it has the opposite sign (factor -1)"
    turned = " with the opposite sign" if sign < 0 else ""
    return f"stress looks like {unit}{turned} (factor {sign * factor('stress', unit):.4g})"


def _option(sign: int, unit: str) -> str:
    return f"stress={'-' if sign < 0 else ''}{unit}"


def _wrong(where: str, message: str, option: str, count: int) -> Finding:
    return Finding("units", "wrong", where, message, f"add --units {option}", (), count)
