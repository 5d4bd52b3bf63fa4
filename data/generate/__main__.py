"""``python -m atomfield.data.generate corpus/NAME --out STORE``: one part of the pretraining corpus, by its config.

``python -m atomfield.data.generate --out DIR``: the starter corpus again, one store per data set. A finished store is left as it
is; the same command goes on where an interrupted one stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from ..errors import InputError, Provenance
from ..graph import Graph
from ..store import is_store, write_store
from .corpus import Order, build_corpus

NAMES = ("fields", "task_fields", "molecules", "task_molecules", "crystals", "task_crystals")


def generate(name: str, scale: float, jobs: int) -> tuple[Iterable[Graph], dict]:
    """The graphs of one data set and a report of what was dropped and by which code."""
    match name:
        case "fields":
            from .fields import fields

            return list(fields(scale)), _solver_report()
        case "task_fields":
            from .fields import task_fields

            return list(task_fields(scale)), _solver_report()
        case "molecules":
            from .molecules import molecules

            return molecules(scale=scale, jobs=jobs)
        case "task_molecules":
            from .molecules import task_molecules

            return task_molecules(scale=scale, jobs=jobs)
        case "crystals":
            from .crystals import crystals

            return crystals(scale=scale, jobs=jobs)
        case "task_crystals":
            from .crystals import task_crystals

            return task_crystals(scale=scale, jobs=jobs)
    raise InputError(f"data set {name!r} is not part of the corpus, expected one of {', '.join(NAMES)}")


def _solver_report() -> dict:
    """The solvers are ours; the library underneath is torch."""
    return {
        "dropped": {},
        "versions": {name: metadata.version(name) for name in ("atomfield", "torch", "numpy")},
    }


def stamped(name: str, graphs: Iterable[Graph]) -> Iterator[Graph]:
    """The graphs with their provenance: this module, the number in the data set, our licence."""
    for number, graph in enumerate(graphs):
        yield replace(
            graph, provenance=Provenance(f"atomfield.data.generate/{name}", number, licence="Apache-2.0")
        )


def _share(text: str) -> tuple[float, float]:
    first, _, last = text.partition(":")
    try:
        return float(first), float(last)
    except ValueError:
        raise InputError(f"is {text!r}, expected two fractions A:B, 0:0.5 for example", "--share") from None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m atomfield.data.generate", description=__doc__)
    parser.add_argument(
        "config", nargs="?", help="corpus/NAME or a config file; without it the starter corpus"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="the store; of the starter corpus the folder of its stores"
    )
    parser.add_argument(
        "--only", default=",".join(NAMES), help="of the starter corpus: comma-separated names"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the full size")
    parser.add_argument("--jobs", type=int, default=2, help="processes for the quantum chemistry")
    parser.add_argument(
        "--without", action="append", default=[], metavar="SRC",
        help="with a config: leave out the molecules or crystals of this file, folder or store; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="sources", action="append", default=[], metavar="STORE",
        help="with corpus/molecule_properties: a finished store whose molecules are labelled; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--share", default="0:1", metavar="A:B",
        help="with a config: only this part of the work, 0:0.5 and 0.5:1 make two stores that are together the whole",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        if options.config is not None:
            order = Order(
                options.out,
                options.scale,
                options.jobs,
                without=tuple(options.without),
                sources=tuple(options.sources),
                share=_share(options.share),
            )
            report = build_corpus(options.config, order)
            print(json.dumps(report, indent=1))
            return 0
        if options.without or options.sources:
            raise InputError(
                f"--{'without' if options.without else 'from'} goes with a config, corpus/molecules for example; "
                "the starter corpus is fixed"
            )
        for name in options.only.split(","):
            if is_store(options.out / name):
                print(f"{name}: already there")
                continue
            graphs, report = generate(name, options.scale, options.jobs)
            index = write_store(stamped(name, graphs), options.out / name, form="parquet")
            (options.out / name / "report.json").write_text(json.dumps(report, indent=1, default=str) + "\n")
            print(f"{name}: {index['num_records']} records written to {options.out / name}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
