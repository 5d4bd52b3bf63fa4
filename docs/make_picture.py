"""Draws docs/images/overview.png: molecules, crystals and fields become graphs, one backbone reads them all, heads answer.

Run: python docs/make_picture.py
"""

from __future__ import annotations

from pathlib import Path

import ase.build
import matplotlib
import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from ase.neighborlist import neighbor_list
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

INK, QUIET, LINE = "#1c2733", "#5b6875", "#8a97a5"
FILL, ACCENT = "#f3f6f9", "#2f6690"
OUT = Path(__file__).parent / "images" / "overview.png"


def main() -> None:
    figure = plt.figure(figsize=(12.0, 5.2), dpi=150, facecolor="white")
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, 12), ylim=(0.1, 5.3))
    page.axis("off")
    for row, (name, note, draw) in enumerate(
        [
            ("molecules", "extxyz, SDF,\nSMILES", draw_molecule),
            ("crystals", "CIF, POSCAR,\npymatgen", draw_crystal),
            ("fields", "npz, HDF5,\nNetCDF, meshes", draw_field),
        ]
    ):
        bottom = 3.62 - 1.62 * row
        box(page, 0.25, bottom, 2.6, 1.4)
        inset = figure.add_axes((0.32 / 12, (bottom - 0.02) / 5.2, 1.25 / 12, 1.24 / 5.2))
        draw(inset)
        page.text(1.62, bottom + 0.86, name, color=INK, fontsize=12, weight="bold")
        page.text(1.62, bottom + 0.44, note, color=QUIET, fontsize=8, va="center", linespacing=1.4)
        arrow(page, (2.87, bottom + 0.7), (3.56, 2.7 + 0.3 * (1 - row)))
    box(page, 3.6, 1.72, 1.5, 1.96)
    page.text(4.35, 3.4, "Graph", color=INK, fontsize=12, weight="bold", ha="center")
    lines = "nodes\ntyped edges\nquantities\nconditions\nprovenance"
    page.text(4.35, 2.5, lines, color=QUIET, fontsize=9, ha="center", va="center", linespacing=1.45)
    arrow(page, (5.12, 2.7), (5.62, 2.7))
    backbone(page, 5.65, 1.0)
    rows = [
        ("potential energy surface", "energy, forces, stress: ASE, relaxation, MD"),
        ("properties", "scalars, classes, dipoles, charges"),
        ("evolution of fields", "next state, rollouts"),
    ]
    for row, (name, note) in enumerate(rows):
        bottom = 3.55 - 1.3 * row
        box(page, 9.05, bottom, 2.75, 0.86, edge=ACCENT)
        page.text(9.2, bottom + 0.52, name, color=INK, fontsize=11, weight="bold")
        page.text(9.2, bottom + 0.2, note, color=QUIET, fontsize=7.8)
        arrow(page, (8.37, 2.7 + 0.3 * (1 - row)), (9.02, bottom + 0.43))
    OUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUT)
    print(f"Written: {OUT}")


def box(
    page: Axes, x: float, y: float, width: float, height: float, edge: str = LINE, fill: str = FILL
) -> None:
    style = "round,pad=0,rounding_size=0.08"
    page.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, fc=fill, ec=edge, lw=1.1))


def arrow(page: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color=LINE, lw=1.3))


def backbone(page: Axes, x: float, y: float) -> None:
    box(page, x, y, 2.7, 3.4, edge=ACCENT, fill="#e6eef5")
    page.text(x + 1.35, y + 3.08, "one backbone", color=INK, fontsize=13, weight="bold", ha="center")
    page.text(x + 1.35, y + 2.8, "E(3)-equivariant, reflections too", color=ACCENT, fontsize=8.6, ha="center")
    parts = [
        ("embedding", "species, quantities, conditions"),
        ("edges: SO(2) convolutions", "parity classes in the edge's frame"),
        ("nodes: products", "body order, gated update"),
    ]
    for row, (name, note) in enumerate(parts):
        bottom = y + 2.05 - 0.72 * row
        box(page, x + 0.2, bottom, 2.3, 0.56, edge=ACCENT, fill="white")
        page.text(x + 1.35, bottom + 0.34, name, color=INK, fontsize=9, ha="center")
        page.text(x + 1.35, bottom + 0.12, note, color=QUIET, fontsize=7.5, ha="center")
    text = "the same weights for all three worlds,\npretrained with DeepSpeed"
    page.text(x + 1.35, y + 0.27, text, color=QUIET, fontsize=8, ha="center", va="center", linespacing=1.4)


# ---------------------------------------------------------------- the three worlds
def draw_molecule(axes: Axes) -> None:
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.rotate(35, "y")
    atoms.rotate(20, "x")
    draw_atoms(axes, atoms.positions, atoms.numbers, *neighbor_list("ij", atoms, 1.6), scale=0.55)


def draw_crystal(axes: Axes) -> None:
    cell = ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    corners = cell.repeat(2)
    keep = (corners.positions <= 5.65).all(axis=1)
    corners = corners[keep]
    corners.pbc = False
    corners.rotate(-17, "y")
    corners.rotate(14, "x")
    draw_atoms(axes, corners.positions, corners.numbers, *neighbor_list("ij", corners, 2.9), scale=0.34)


def draw_atoms(
    axes: Axes,
    positions: np.ndarray,
    numbers: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    scale: float,
) -> None:
    """Balls and sticks, drawn from the back to the front; bonds are (first, second)."""
    for i, j in zip(first, second, strict=True):
        if i < j:
            depth = positions[[i, j], 2].min()
            axes.plot(*positions[[i, j], :2].T, color="#9aa5b1", lw=1.8, zorder=depth, solid_capstyle="round")
    for position, number in zip(positions, numbers, strict=True):
        ball = plt.Circle(
            position[:2], scale * covalent_radii[number], fc=jmol_colors[number], ec=INK, lw=0.6
        )
        ball.set_zorder(position[2] + 0.01)
        axes.add_patch(ball)
    low, high = positions[:, :2].min(0) - 0.7, positions[:, :2].max(0) + 0.7
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.axis("off")


def draw_field(axes: Axes) -> None:
    """Vorticity of random Fourier modes, with points of a graph on it."""
    rng = np.random.default_rng(4)
    x, y = np.meshgrid(np.linspace(0, 2 * np.pi, 200), np.linspace(0, 2 * np.pi, 200))
    vorticity = np.zeros_like(x)
    for kx in range(-4, 5):
        for ky in range(5):
            k = np.hypot(kx, ky)
            if 1 <= k <= 4:
                vorticity += np.cos(kx * x + ky * y + rng.uniform(0, 2 * np.pi)) * rng.normal() / k**1.2
    axes.imshow(vorticity, cmap="RdBu_r", origin="lower", extent=(0, 1, 0, 1), interpolation="bilinear")
    px, py = np.meshgrid(np.linspace(0.06, 0.94, 9), np.linspace(0.06, 0.94, 9))
    axes.scatter(px, py, s=2.5, color=INK, alpha=0.55, linewidths=0)
    axes.axis("off")


if __name__ == "__main__":
    main()
