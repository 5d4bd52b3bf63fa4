"""Energy curves of pairs that come apart, by a network with a cutoff of 5 angstrom, with and without dispersion in its energy.

    python benchmarks/dissociation.py [--steps 800] [--out benchmarks/results/dissociation.md]
    python benchmarks/dissociation.py --model atomfield-s     a table of a finished model instead, for the same page

Pairs of noble gases (He to Xe) and of molecules of the starter corpus, rigid and randomly turned. Labels: exp(-r / 0.25 angstrom)
between atoms of different fragments (Born and Mayer), scaled to van der Waals radii, plus D3(BJ) of PBE; the level declares that
they contain it. Trained on distances of closest atoms up to 5 angstrom; curves to 20. The network with the term learns what the
term leaves. Of each curve: the largest error, the share of points beyond 5 angstrom of wrong sign (attraction is right), and
the exponent n of |E| ~ r^-n between 8 and 16 angstrom (6 for atoms). Needs the extra ``dispersion``.
A finished model is compared with its own levels: Lennard-Jones for noble gases (crystals alone are in its data), GFN2-xTB for
molecules (extra ``generate``), from where the label begins to attract. Attraction: less than -0.1 meV.
"""

from __future__ import annotations

import argparse
import platform
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
from ase.data import chemical_symbols, vdw_radii
from torch import Tensor

from atomfield.data.generate import xtb
from atomfield.data.generate.potentials import potential
from atomfield.data.graph import Graph
from atomfield.data.source import open_source
from atomfield.models.checkpoint import cast
from atomfield.models.config import NetworkConfig
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.physics_priors.dispersion import damping_of, dispersion
from atomfield.physics_priors.pairs import find_pairs

NOBLE = (2, 10, 18, 36, 54)
MOLECULES = ("C", "N", "O=C=S", "ClCl")
"""Groups of the starter corpus."""
FAR, LEVEL, SOFTNESS = 45.0, "model-d3", 0.25
CURVE = torch.linspace(2.6, 20.0, 88, dtype=torch.float64)
NETWORKS = {"without dispersion": (), "with dispersion": ("d3:pbe",)}


def monomers() -> dict[str, tuple[Tensor, Tensor]]:
    """Name -> positions ``[n, 3]`` about the centre and species ``[n]``."""
    out = {f"{chemical_symbols[z]}2": (torch.zeros(1, 3).double(), torch.tensor([z])) for z in NOBLE}
    for graph in open_source("starter/molecules"):
        name = f"({graph.group})2"
        if graph.group in MOLECULES and name not in out:
            out[name] = (graph.positions - graph.positions.mean(0), graph.species)
    return out


def turned(positions: Tensor, rng: np.random.Generator) -> Tensor:
    """By a random rotation (Arvo's would do; here QR of a Gaussian matrix)."""
    q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    return positions @ torch.from_numpy(q * np.linalg.det(q)).T


def placed(a: Tensor, b: Tensor, gap: float) -> Tensor:
    """Both fragments, ``b`` moved along x until the closest atoms are ``gap`` apart."""
    low, high = 0.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        moved = b + torch.tensor([middle, 0.0, 0.0], dtype=torch.float64)
        low, high = (middle, high) if float(torch.cdist(a, moved).min()) < gap else (low, middle)
    return torch.cat([a, b + torch.tensor([high, 0.0, 0.0], dtype=torch.float64)])


def labelled(positions: Tensor, species: Tensor, half: int) -> Graph:
    """Energy in eV and forces; atoms ``half`` and later are the second fragment."""
    x = positions.clone().requires_grad_()
    radius = torch.tensor(vdw_radii[:119]).nan_to_num(2.0)[species]
    apart = torch.cdist(x[:half], x[half:])
    contact = radius[:half, None] + radius[None, half:]
    repulsion = (0.05 * torch.exp((contact - apart) / SOFTNESS)).sum()
    index = torch.zeros(len(x), dtype=torch.int64)
    pairs = find_pairs(x, torch.zeros(1, 3, 3).double(), species, index, 100.0)
    energy = repulsion + dispersion(pairs, damping_of("pbe"))[0]
    (gradient,) = torch.autograd.grad(energy, x)
    return Graph(
        positions,
        species,
        "molecule",
        level=LEVEL,
        quantities={"energy": energy.detach(), "forces": -gradient},
    )


def energies(net: AtomFieldNet, graphs: list[Graph]) -> Tensor:
    with torch.no_grad():
        return net(graphs_to_batch(net.config, graphs), forces=False)["energy"]


def train(priors: tuple[str, ...], graphs: list[Graph], steps: int) -> AtomFieldNet:
    """Adam on energies and forces in units of 10 meV, which is what the attraction is; errors beyond that count linearly."""
    torch.manual_seed(0)
    config = NetworkConfig(
        channels=16, channels_unnatural=0, lmax=1, correlation=2, radial_hidden=16, head_hidden=16, cutoff=5.0,
        average_neighbors=4.0, levels=(LEVEL,), default_level_atoms=LEVEL, priors=priors, contains={LEVEL: ("d3:pbe",)},
        dispersion_cutoff=FAR,
    )  # fmt: skip
    net = AtomFieldNet(config)
    net.atom_head.energy_scale.fill_(0.01)
    packs = [graphs[k::20] for k in range(20)]
    batches = [(graphs_to_batch(config, p), torch.stack([g.quantities["energy"] for g in p])) for p in packs]
    forces = [torch.cat([g.quantities["forces"] for g in p]) for p in packs]
    optimiser, order = torch.optim.Adam(net.parameters(), lr=5e-3), np.random.default_rng(0)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 5e-3 * (1 - step / steps)
        k = int(order.integers(len(batches)))
        out = net(batches[k][0], properties=False)
        huber = lambda x: torch.nn.functional.huber_loss(x / 0.01, torch.zeros_like(x))  # noqa: E731
        loss = huber(out["energy"] - batches[k][1]) + huber(out["forces"] - forces[k])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
    return net.eval()


def curves(net: AtomFieldNet | None, pair: list[Graph], apart: Graph) -> Tensor:
    """Interaction energy in meV along the pairs; ``apart`` are the same fragments 45 angstrom apart. None: the labels."""
    whole = [*pair, apart]
    values = torch.stack([g.quantities["energy"] for g in whole]) if net is None else energies(net, whole)
    return 1e3 * (values[:-1] - values[-1])


def judged(found: Tensor, truth: Tensor) -> tuple[float, float, float]:
    """(largest error in meV where the label is below 50 meV, share of wrong signs beyond 5 angstrom, exponent of the decay)."""
    low, far, tail = truth < 50, CURVE > 5, (CURVE > 8) & (CURVE < 16)
    wrong = (found[far] >= 0).double().mean()
    slope = float("nan")
    if bool((found[tail] < 0).all()):
        x, y = CURVE[tail].log(), (-found[tail]).log()
        slope = float(-((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())
    return float((found - truth)[low].abs().max()), float(wrong), slope


def own_label(graph: Graph) -> float:
    """Energy in eV by the potential or method that the level of ``graph`` is."""
    if graph.level == "gfn2-xtb":
        return xtb.label(graph.species.numpy(), graph.positions.numpy()).energy
    index, cell = torch.zeros(graph.num_nodes, dtype=torch.int64), torch.zeros(1, 3, 3).double()
    return float(potential(graph.level).energy(find_pairs(graph.positions, cell, graph.species, index, FAR)))


def of_model(name: str) -> list[str]:
    """Rows of Markdown: each pair at a level that knows its elements."""
    import atomfield

    net, rng, rows = cast(atomfield.load(name).net, torch.float64).eval(), np.random.default_rng(0), []
    lengths = torch.arange(2.6, 10.01, 0.2, dtype=torch.float64)
    for pair, (body, species) in monomers().items():
        level = "gfn2-xtb" if len(body) > 1 else "lj-bernardes-1958"
        if pair == "He2":  # in no level
            continue
        a, b = turned(body, rng), turned(body, rng)
        graphs = [
            Graph(placed(a, b, float(gap)), torch.cat([species, species]), "molecule", level=level,
                  conditions={"charge": 0.0, "spin": 0.0})
            for gap in [*lengths, FAR]
        ]  # fmt: skip
        truth = 1e3 * torch.tensor([own_label(g) for g in graphs]).double()
        found = 1e3 * energies(net, graphs)
        truth, found = truth[:-1] - truth[-1], found[:-1] - found[-1]
        attracts = truth < -0.1
        wells = [f"{float(x.min()):.1f} at {float(lengths[x.argmin()]):.1f}" for x in (truth, found)]
        wrong = []
        for part in (attracts & (lengths <= 5), attracts & (lengths > 5)):
            share = 100 * float((found[part] > -1e-3).double().mean()) if bool(part.any()) else float("nan")
            wrong.append("–" if share != share else f"{share:.0f}")
        rows.append(
            f"| {pair} | {level} | {' | '.join(wells)} | {' | '.join(wrong)} | {float(truth[lengths > 6][0]):.2g} |"
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/dissociation.md"))
    parser.add_argument("--model", default="", help="name or folder of a checkpoint: only its table, printed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.model:
        print(
            "| pair | level | its well, meV at A | the model's | wrong sign to 5 A, % | beyond, % | level at 6.2 A, meV |"
        )
        print("|---|---|---:|---:|---:|---:|---:|")
        of_model(arguments.model)
        return
    rng, training, tests = np.random.default_rng(0), [], {}
    for name, (body, species) in monomers().items():
        both, half = torch.cat([species, species]), len(species)
        for gap in rng.uniform(2.4, 5.0, 40):
            training.append(labelled(placed(turned(body, rng), turned(body, rng), gap), both, half))
        a, b = turned(body, rng), turned(body, rng)
        at = lambda gap, a=a, b=b, both=both, half=half: labelled(placed(a, b, float(gap)), both, half)  # noqa: E731
        tests[name] = ([at(gap) for gap in CURVE], at(FAR - 1e-6))
    truth = {name: curves(None, *test) for name, test in tests.items()}
    found, rows = {}, []
    for label, priors in NETWORKS.items():
        begin = time.process_time()
        net = train(priors, training, arguments.steps)
        found[label] = {name: curves(net, *test) for name, test in tests.items()}
        print(f"{label}: {time.process_time() - begin:.0f} s", flush=True)
    for name in tests:
        cells = [f"{x:.2g}" for x in judged(truth[name], truth[name])[2:]]
        for label in NETWORKS:
            error, wrong, slope = judged(found[label][name], truth[name])
            cells += [f"{error:.2g}", f"{100 * wrong:.0f}", "–" if slope != slope else f"{slope:.2f}"]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    text = [
        f"# Pairs that come apart ({date.today()})\n",
        f"`python benchmarks/dissociation.py --steps {arguments.steps}` on {platform.machine()}, one thread, "
        f"torch {torch.__version__}. What the labels and columns are: the text of the script. Without the term nothing acts "
        "beyond the cutoff, which counts as a wrong sign; the largest errors are those of the repulsion, at the shortest "
        "distances.\n",
        "| pair | exponent of the labels | "
        + " | ".join(f"{n}: largest error, meV | wrong sign, % | exponent" for n in NETWORKS)
        + " |",
        "|---|" + "---:|" * (1 + 3 * len(NETWORKS)),
        *rows,
        "\n![curves](dissociation.png)",
    ]
    arguments.out.write_text("\n".join(text) + "\n")
    print("\n".join(rows))
    draw(truth, found, arguments.out.with_suffix(".png"))


def draw(truth: dict[str, Tensor], found: dict[str, dict[str, Tensor]], file: Path) -> None:
    """-E over the distance, both logarithmic: a straight line of slope -6 is right, a curve that ends is not attraction."""
    from matplotlib.ticker import FixedLocator, NullLocator

    from atomfield.finetune.plots import BLUE, RED, new_figure, plain

    figure = new_figure(10.0, 7.5)
    panels = np.ravel(figure.subplots(3, 3, sharex=True))
    for panel, (name, labels) in zip(panels, truth.items(), strict=False):
        panel.loglog(CURVE, -labels, color="black", linewidth=3, alpha=0.3, label="labels")
        for (label, values), colour in zip(found.items(), (RED, BLUE), strict=True):
            panel.loglog(CURVE, -values[name], color=colour, linewidth=1.2, label=label)
        panel.axvline(5.0, color="grey", linewidth=0.7, linestyle=":")
        panel.set_title(name, fontsize=10)
        panel.set_ylim(1e-4 * float(-labels.min()), 3 * float(-labels.min()))
        plain(panel)
    for panel in panels:
        panel.xaxis.set_major_locator(FixedLocator([3, 5, 10, 20]))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter("{x:g}")
    for panel in panels[6:]:
        panel.set_xlabel("closest atoms (Å)")
    for panel in panels[::3]:
        panel.set_ylabel("attraction (meV)")
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
