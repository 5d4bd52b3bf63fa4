"""One cell of the table ``scaling``: pretrain a size on a share of the corpus for a given time, and validate what comes out.

    python benchmarks/scaling.py data     --config FILE --corpus DIR --cache runs/scaling/data [--exclude DIR]
    python benchmarks/scaling.py pretrain --config FILE --size s --share 4 --seconds 600 --cache DIR --run RUN --result FILE

FILE is a pretraining configuration whose sources are ``corpus/NAME``, stores in DIR (or of the starter corpus). ``data`` writes
shares 1, 1/4 and 1/16 of each store and a validation part once. Shares are by groups and nested. The validation part is of the
whole corpus and the same for all cells: up to 200 groups that no share trains on, of levels and elements that the smallest has.
``--exclude`` takes out the molecules and compositions of the tasks that are finetuned to afterwards (DIR: the cache of
``transfer.py data``); the corpus of ``configs/corpus`` is made without them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from timed_pretraining import timed_pretraining

if TYPE_CHECKING:
    from atomfield.data.graph import Graph

SHARES = (16, 4, 1)
"""Denominators."""
SHARE_SEED, VALIDATION_GROUPS = 7, 200


# ---------------------------------------------------------------- data
def sources_of(config: dict[str, Any]) -> list[str]:
    """Names of all stores, once each."""
    names: list[str] = []
    for stream in config["streams"]:
        source = stream["source"]
        names += [source] if isinstance(source, str) else list(source)
    return list(dict.fromkeys(names))


def group_of(graph: Graph) -> str:
    return graph.group or str(graph.provenance)


def in_share(group: str, denominator: int) -> bool:
    """Whether a group is in the share 1/denominator: the smaller is a part of the larger."""
    from atomfield.data.splits import fraction_of

    return fraction_of(group, SHARE_SEED) < 1 / denominator


def validation_of(graphs: Sequence[Graph], known: set[tuple[str, int]]) -> list[Graph]:
    """A drawn record of each of up to ``VALIDATION_GROUPS`` groups of the standing validation part whose (level, element) pairs
    are all in ``known``; by hashes, so always the same."""
    from atomfield.data.splits import fraction_of, split_of

    held: dict[str, list[Graph]] = {}
    for graph in graphs:
        pairs = {(graph.level, z) for z in graph.species.tolist()}
        if split_of(group_of(graph)) == "valid" and pairs <= known:
            held.setdefault(group_of(graph), []).append(graph)
    drawn = lambda name: held[name][int(fraction_of(name, SHARE_SEED + 2) * len(held[name]))]  # noqa: E731
    names = sorted(held, key=lambda name: fraction_of(name, SHARE_SEED + 1))
    return [drawn(name) for name in names[:VALIDATION_GROUPS]]  # the first of a group is often its minimum


def make_data(options: argparse.Namespace) -> None:
    from atomfield.data.excluding import Excluded, identities_of
    from atomfield.data.source import open_source
    from atomfield.data.splits import split_of
    from atomfield.data.store import is_store, write_store

    tasks = [str(f.parent) for f in sorted(options.exclude.rglob("index.json"))] if options.exclude else []
    excluded = Excluded(identities_of([f for f in tasks if open_source(f)[0].world != "field"]))

    def left_out(graph: Graph) -> bool:
        return graph.world != "field" and excluded.has(graph)

    for name in sources_of(yaml.safe_load(options.config.read_text())):
        whole = open_source(str(options.corpus / Path(name).name) if name.startswith("corpus/") else name)
        for share in SHARES:
            out = share_folder(options.cache, name, share)
            if not is_store(out):
                write_store((g for g in whole if in_share(group_of(g), share) and not left_out(g)), out)
        out = options.cache / "valid" / Path(name).name
        if not is_store(out):
            smallest = open_source(str(share_folder(options.cache, name, SHARES[0])))
            trained = (g for g in smallest if split_of(group_of(g)) == "train")
            known = {(g.level, z) for g in trained for z in g.species.tolist()}
            found = validation_of([g for g in whole if not left_out(g)], known)
            if not found:
                raise SystemExit(f"{name}: the smallest share has no level or element of the validation part")
            write_store(found, out)
        print(
            name, {share: len(open_source(str(share_folder(options.cache, name, share)))) for share in SHARES}
        )


def share_folder(cache: Path, name: str, share: int) -> Path:
    return cache / f"share_{share}" / Path(name).name


# ---------------------------------------------------------------- a cell
def pretrain(options: argparse.Namespace) -> dict[str, Any]:
    """Train in a process of its own, then validate RUN/model."""
    config = yaml.safe_load(options.config.read_text())
    put = lambda name: str(share_folder(options.cache, name, options.share).absolute())  # noqa: E731
    for stream in config["streams"]:
        source = stream["source"]
        stream["source"] = put(source) if isinstance(source, str) else [put(s) for s in source]
    config |= {
        "out": str(options.run.absolute()), "network": yaml.safe_load(options.size), "max_time": options.seconds,
        "clock": "processor", "seed": options.seed, "resume": False,
    }  # fmt: skip
    last = timed_pretraining(config)
    return {
        "steps": last["step"], "training_processor_s": last["seconds"],
        **validated(options, config), **counts(options, config),
    }  # fmt: skip


def counts(options: argparse.Namespace, config: dict[str, Any]) -> dict[str, Any]:
    from atomfield.data.source import open_source
    from atomfield.models import checkpoint

    net = checkpoint.load(options.run / "model")
    records = sum(len(open_source(name)) for name in sources_of(config))
    return {"parameters": sum(p.numel() for p in net.parameters()), "records": records}


def validated(options: argparse.Namespace, config: dict[str, Any]) -> dict[str, Any]:
    """Validation errors, ``valid/STORE/QUANTITY``."""
    import torch

    from atomfield.data.source import open_source
    from atomfield.models import checkpoint
    from atomfield.pretrain.losses import Targets
    from atomfield.pretrain.streams import Stream
    from atomfield.pretrain.validate import errors

    net = checkpoint.load(options.run / "model").eval()
    found: dict[str, float] = {}
    for given in config["streams"]:
        if given["objective"] not in ("supervised", "next_step"):
            continue
        names = [given["source"]] if isinstance(given["source"], str) else given["source"]
        for name in (Path(n).name for n in names):
            graphs = list(open_source(str(options.cache / "valid" / name)))
            stream = Stream(
                graphs, Targets(given["objective"]), cutoff=net.config.cutoff, max_edges=10_000, seed=0
            )
            with torch.no_grad():
                each = errors(net, stream, "cpu", max_batches=10_000)
            found |= {f"valid/{name}/{key}": value for key, value in each.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=["data", "pretrain"])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"))
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument(
        "--exclude", type=Path, help="cache of the tasks, whose molecules and compositions are left out"
    )
    parser.add_argument("--size", default="s", help="a size, or a network as YAML")
    parser.add_argument("--share", type=int, choices=SHARES, default=1)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    if options.stage == "data":
        make_data(options)
        return
    began = time.monotonic()
    values = pretrain(options)
    options.result.write_text(json.dumps({**values, "command_s": time.monotonic() - began}, indent=1))


if __name__ == "__main__":
    main()
