"""Put a pretrained checkpoint into the package: ``models/pretrained/NAME``, weights float32, nothing of the training beside them.

    python benchmarks/ship_model.py --from runs/further/model --name atomfield-s --strip \\
        --molecules gfn2-xtb --crystals eam-zhou-2004,pedone-2006 --corpus corpus/crystals,corpus/crystal_minima

``--crystals``: the levels among which a periodic structure without a level chooses. ``--corpus``: the stores of crystals, whose
pairs of elements are written into the checkpoint, so that a potential of oxides is not asked about silicon.

The checkpoint of a run already holds averaged weights and no state of an optimiser. What is checked: the default levels are
there and have energies, all weights are finite, and everything that ships stays within 16 MB. The model card is written by
``benchmarks/pretrained_card.py`` afterwards; until then the card of the run stays beside the weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import torch
from ase.data import chemical_symbols

from atomfield.data.errors import InputError
from atomfield.data.source import open_source
from atomfield.inference.levels import unknown_to
from atomfield.models import checkpoint, shipped
from atomfield.models.grow import PER_LEVEL, grown
from atomfield.models.network import AtomFieldNet

LIMIT = 16_000_000
"""Bytes of all shipped weights together."""


def ship(
    source: Path,
    name: str,
    molecules: str,
    crystals: tuple[str, ...],
    into: Path,
    *,
    corpus: Sequence[str] = (),
    strip: bool = False,
) -> Path:
    """Write ``into/name`` and return it.

    molecules: the level that answers for molecules where none is named ("": as in the checkpoint); crystals: the levels among
    which a periodic structure chooses (empty: as in the checkpoint). corpus: stores of crystals for the pairs of elements.
    strip: without the parts that only objectives of pretraining need, and without rows for the corpus's properties: what these
    share stays and is what a property of the user's begins with. Raises ``InputError`` for a level without energies, weights
    that are no numbers, and too many bytes.
    """
    net = without_extras(checkpoint.load(source, dtype=torch.float32), molecules, crystals, strip)
    if corpus:
        pairs = {k: v for k, v in element_pairs(corpus).items() if k in net.config.levels}
        net.config = net.config.model_copy(update={"element_pairs": tuple(pairs.items())})
    for level in (net.config.default_level_atoms, *crystals):
        if not bool(net.atom_head.reference[net.config.levels.index(level)].ne(0).any()):
            raise InputError(
                f"level {level!r} has no reference energies, so it cannot answer by default", str(source)
            )
    for key, value in net.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"tensor {key!r} has values that are no numbers", str(source))
    card = (checkpoint.find(source) / "README.md").read_text(encoding="utf-8")
    folder = checkpoint.save(net, into / name, card)
    size = sum(f.stat().st_size for f in into.rglob("*.safetensors"))
    if size > LIMIT:
        raise InputError(
            f"shipped weights have {size / 1e6:.1f} MB with this model, expected at most 16 MB", str(folder)
        )
    return folder


def without_extras(net: AtomFieldNet, molecules: str, crystals: tuple[str, ...], strip: bool) -> AtomFieldNet:
    """The same weights with these default levels, without the row of records that have no level, and without an uncertainty,
    which belongs to a finetuning."""
    default = molecules or net.config.default_level_atoms
    for level in (default, *crystals):
        if level not in net.config.levels:
            raise InputError(
                f"level {level!r} is unknown to this model, expected one of {', '.join(filter(None, net.config.levels))}"
            )
    if strip and net.config.properties:
        net = grown(net, net.config.model_copy(update={"properties": ()}))
    kept = [row for row, level in enumerate(net.config.levels) if level]  # records without labels have none
    update = {
        "levels": tuple(net.config.levels[row] for row in kept),
        "default_level_atoms": default,
        "crystal_levels": crystals or tuple(name for name in net.config.crystal_levels if name),
        "uncertainty": None,
        "auxiliary": () if strip else net.config.auxiliary,
    }
    out = AtomFieldNet(net.config.model_copy(update=update))
    old = net.state_dict()
    with torch.no_grad():
        for name, target in out.state_dict().items():
            target.copy_(old[name][kept] if name in PER_LEVEL else old[name])
    return out.eval()


def element_pairs(corpus: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Level -> pairs of elements of its periodic records and elements that stand alone, as ``NetworkConfig.element_pairs``."""
    found: dict[str, set[tuple[int, ...]]] = {}
    for store in corpus:
        for graph in open_source(store):
            if graph.world == "crystal" and graph.level:
                present = torch.unique(graph.species).tolist()
                systems = combinations(present, 2) if len(present) > 1 else [tuple(present)]
                found.setdefault(graph.level, set()).update(systems)
    return {
        level: tuple("-".join(chemical_symbols[z] for z in one) for one in sorted(systems))
        for level, systems in found.items()
    }


def several(net: AtomFieldNet) -> list[str]:
    """``Cu: emt, x`` for each element whose pure crystals more than one level of the defaults knows: these need a name."""
    out = []
    for z, symbol in enumerate(chemical_symbols):
        known = [n for n in net.config.crystal_levels if z and not unknown_to(net, n, torch.tensor([z]))]
        if len(known) > 1 and net.config.default_level_atoms not in known:
            out.append(f"{symbol}: {', '.join(known)}")
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from", dest="source", type=Path, required=True, metavar="CKPT")
    parser.add_argument("--name", required=True, help="atomfield-s, atomfield-xs")
    parser.add_argument("--molecules", default="", metavar="LEVEL", help="default level of molecules")
    parser.add_argument("--crystals", default="", metavar="LEVEL,...", help="levels of crystals")
    parser.add_argument("--corpus", default="", metavar="STORE,...", help="the corpus' stores of crystals")
    parser.add_argument(
        "--strip", action="store_true", help="leave out what only objectives of pretraining need"
    )
    parser.add_argument("--into", type=Path, default=shipped.FOLDER, metavar="DIR")
    given = parser.parse_args(arguments)
    crystals = tuple(c for c in given.crystals.split(",") if c)
    try:
        folder = ship(
            given.source,
            given.name,
            given.molecules,
            crystals,
            given.into,
            corpus=[c for c in given.corpus.split(",") if c],
            strip=given.strip,
        )
    except InputError as error:
        print(f"ship_model: {error}", file=sys.stderr)
        return 2
    config = checkpoint.read_config(folder)
    print(f"Written: {folder} ({(folder / 'model.safetensors').stat().st_size / 1e6:.2f} MB)")
    print(
        f"molecules: {config.default_level_atoms}; crystals: {', '.join(config.crystal_levels) or 'as molecules'}"
    )
    for line in several(checkpoint.load(folder)):
        print(f"several levels know crystals of {line}; without --level these are an error")
    return 0


if __name__ == "__main__":
    sys.exit(main())
