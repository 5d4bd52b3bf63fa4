"""How the losses of tasks are weighed against each other, and the sentences that say so before a run."""

from __future__ import annotations

from atomfield.models.network import AtomFieldNet

from .config import LossWeights, Objective, PretrainConfig
from .normalize import Statistics

BOUND = 4.0
"""A level counts at most so many times more or less than another of the same size."""


def level_factors(balance: str, net: AtomFieldNet, statistics: Statistics) -> tuple[tuple[str, float], ...]:
    """(level, factor on its residuals of energies, forces and stress), none where the balance is fixed.

    Residuals are in units of one energy scale for all levels, so that a level with large forces has large losses and the
    others are learnt late. The factor puts them in units of the level's own RMS force; no label changes and no head does.
    """
    if balance == "fixed":
        return ()
    scale = float(net.atom_head.energy_scale)
    found = []
    for level, (squares, number) in sorted(statistics.level_squares.items()):
        rms = (squares / max(number, 1)) ** 0.5
        factor = scale / rms if rms > 0 else BOUND
        found.append((level, min(max(factor, 1 / BOUND), BOUND)))
    return tuple(found)


def balance_lines(config: PretrainConfig, factors: tuple[tuple[str, float], ...]) -> list[str]:
    """One line for each stream with the weights of its terms, and one for the levels."""
    lines = [
        "Loss: for each stream its weight times the sum over terms of (weight x mean over the labels of the step)"
    ]
    for s in config.streams:
        terms = ", ".join(
            f"{name} {s.weight * value:g}" for name, value in terms_of(s.objective, config.loss)
        )
        lines.append(f"  {'+'.join(s.sources)} ({s.objective}): {terms}")
    said = (
        ", ".join(f"{level} {factor:.3g}" for level, factor in factors)
        or "1 for every level (balance: fixed)"
    )
    lines.append(f"  factors on residuals of energy, forces and stress: {said}")
    return lines


def terms_of(objective: Objective, weights: LossWeights) -> list[tuple[str, float]]:
    """Names and weights of the terms that an objective may have."""
    match objective:
        case "supervised":
            names = ("energy", "forces", "stress", "dipole", "charges", "property")
            return [(name, getattr(weights, name)) for name in names]
        case "denoise":
            return [("noise", weights.noise)]
        case "denoise_forces":
            return [("noise", weights.noise), ("energy", weights.energy)]
        case "masked_atoms":
            return [("element", weights.element)]
        case "masked_patches":
            return [("patch", weights.patch)]
        case "next_step":
            return [("field", weights.field)]
