"""How far each stage of our network is from what this machine can do: a roofline table.

    python benchmarks/roofline.py --threads 2 [--size default] [--structure si216] [--repeats 20] [--out FILE.json]

The limits are measured first: the best rate of a float32 matrix product and of copying memory. A stage is a kind of module (its
class); every call of it in one evaluation of energy and forces is recorded with its inputs and repeated alone: forward and the
gradient of its inputs, which is what forces take (forward alone where no input wants one). Its least time is the larger of
operations / peak rate and of the memory it must move (inputs, outputs and weights once, twice with the gradient) / copy rate; the
fraction is that over the measured time. Operations are those of the formulas: a product of matrices 2 m n k, any other operation
one per element of its result, views none; of compiled kernels they are counted from their programs (``Layer._block``: what acts
node by node) and by the formulas of ``models/operations.py``, of the rest in eager mode. The gradient counts as the forward
pass again for each input that wants one, twice at most. What is no such stage (the sum of energies, copies between kernels) is
``elsewhere``. Pieces that run alone find their inputs in caches, so a small stage can pass memory's limit.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structures
import torch
from machine import description
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).parent / "peers"))  # the worker of our package builds the network
from atomfield_speed import config_of, graphs, network_of

from atomfield.models.network import graphs_to_batch
from atomfield.models.operations import edge_operations, product_operations

STAGES = (
    "Backbone.geometry", "ConditionEmbedding", "NodeEmbedding", "EdgeConvolution.convolve", "Layer._block", "Layer.powers",
    "AtomHead",
)  # fmt: skip
"""Classes of modules, or methods of them, that are stages; one inside another is part of it."""
VIEWS = ("view", "reshape", "expand", "permute", "transpose", "t.", "slice", "select", "split", "unsqueeze", "squeeze", "detach",
         "alias", "as_strided", "unbind", "empty", "lift", "_to_copy")  # fmt: skip


class Operations(TorchDispatchMode):
    """Counts the arithmetic of what runs inside, see the module's text."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), settings: Any = None) -> Any:
        out = function(*arguments, **(settings or {}))
        name = function.__name__
        given = list(tensors(arguments))
        if name.startswith(("mm", "addmm", "bmm", "baddbmm")):
            left = given[-2]
            self.count += 2 * out.numel() * left.shape[-1]
        elif not name.startswith(VIEWS):
            results = sum(t.numel() for t in tensors(out))
            self.count += (
                max([results, *(t.numel() for t in given)]) if name.startswith(("sum", "mean")) else results
            )
        return out


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists, dictionaries and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for x in value.values():
            yield from tensors(x)
    elif isinstance(value, list | tuple):
        for x in value:
            yield from tensors(x)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for x in dataclasses.fields(value):
            yield from tensors(getattr(value, x.name))


def detached(value: Any) -> Any:
    """A copy without history whose floating tensors want gradients where the originals did."""
    if isinstance(value, Tensor):
        return value.detach().requires_grad_(value.requires_grad)
    if isinstance(value, dict):
        return {k: detached(x) for k, x in value.items()}
    if type(value) in (list, tuple):
        return type(value)(detached(x) for x in value)
    if (
        dataclasses.is_dataclass(value)
        and not isinstance(value, type)
        and any(t.requires_grad for t in tensors(value))
    ):
        return dataclasses.replace(
            value, **{f.name: detached(getattr(value, f.name)) for f in dataclasses.fields(value)}
        )
    return value


def best(call: Callable[[], Any], repeats: int) -> float:
    """Smallest time in seconds."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def limits(repeats: int) -> tuple[float, float]:
    """Operations per second of a matrix product, and bytes per second of a copy (read and written both count)."""
    a, b, c = (torch.randn(512, 512) for _ in range(3))
    large, other = torch.randn(2**24), torch.empty(2**24)  # 64 MB each: beyond the caches of most
    multiply = best(lambda: torch.mm(a, b, out=c), 20 * repeats)
    return 2 * 512**3 / multiply, 2 * large.nbytes / best(lambda: other.copy_(large), repeats)


def recorded(
    network: nn.Module, run: Callable[[], Any]
) -> list[tuple[str, nn.Module, Callable[..., Any], tuple, dict]]:
    """Every call of a stage in ``run``, outermost stages only: name, module, what was called, and its arguments."""
    calls: list[tuple[str, nn.Module, Callable[..., Any], tuple, dict]] = []
    inside = False

    def watched(name: str, module: nn.Module, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:
            nonlocal inside
            if inside:
                return original(*arguments, **settings)
            calls.append((name, module, original, detached(arguments), detached(settings)))
            inside = True
            try:
                return original(*arguments, **settings)
            finally:
                inside = False

        return call

    changed = []
    for module in network.modules():
        for stage in STAGES:
            kind, _, method = stage.partition(".")
            if type(module).__name__ == kind:
                method = method or "forward"
                object.__setattr__(module, method, watched(stage, module, getattr(module, method)))
                changed.append((module, method))
    run()
    for module, method in changed:
        object.__delattr__(module, method)
    missing = set(STAGES) - {name for name, *_ in calls}
    if missing:
        print(f"not in this network, so part of elsewhere: {', '.join(sorted(missing))}")
    return calls


def arithmetic(
    module: nn.Module, call: Callable[..., Any], arguments: tuple, settings: dict, forward: Callable[[], Any]
) -> float:
    """Operations of one forward call of a stage."""
    match call.__name__:
        case "_block":
            program = arguments[0].program
            values = program.needed([value for value, _ in arguments[0].outputs])
            return float(len(arguments[2]) * sum(per_node(program, v) for v in values))
        case "convolve":
            return edge_operations(module.shape(settings["scalars_only"])) * len(arguments[3].basis_EB)
        case "powers":
            return product_operations(module.shape) * len(arguments[0])
        case _:
            with Operations() as counter:
                forward()
            return float(counter.count)


def per_node(program: Any, value: int) -> int:
    """Operations of one value of a node program."""
    operation = program.operations[value]
    size = operation.rows * operation.columns
    match operation.kind:
        case "linear":
            return 2 * size * program.size(operation.operands[0])[1]
        case "sum":
            rows, columns = program.size(operation.operands[0])
            return rows * columns
        case "add" | "mul" | "scale" | "sigmoid" | "rsqrt":
            return size
        case _:
            return 0


def measure(
    module: nn.Module, call: Callable[..., Any], arguments: tuple, settings: dict, repeats: int
) -> dict[str, float]:
    """Times (s), operations and least bytes of one call of a stage."""
    inputs = [t for t in tensors((arguments, settings)) if t.requires_grad]

    def forward() -> Any:
        with torch.no_grad():
            return call(*arguments, **settings)

    def with_gradient() -> Any:
        with torch.enable_grad():
            out = [t for t in tensors(call(*arguments, **settings)) if t.requires_grad]
        return (
            torch.autograd.grad(out, inputs, [torch.ones_like(t) for t in out], allow_unused=True)
            if out
            else None
        )

    moved = sum(t.nbytes for t in tensors((arguments, settings))) + sum(t.nbytes for t in tensors(forward()))
    if call.__name__ == "forward":
        moved += sum(p.nbytes for p in module.parameters())
    return {
        "forward_s": best(forward, repeats), "gradient_s": best(with_gradient, repeats) if inputs else 0.0,
        "operations": arithmetic(module, call, arguments, settings, forward) * (1 + min(2, len(inputs))),
        "bytes": float(moved * (2 if inputs else 1)), "calls": 1.0,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--size", default="default")
    parser.add_argument("--structure", default="si216")
    parser.add_argument("--cutoff", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "roofline.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    machine = description()
    peak, rate = limits(options.repeats)
    with tempfile.TemporaryDirectory() as folder:
        structures.write(structures.named(options.structure), Path(folder) / "x.xyz")
        records = graphs(str(Path(folder) / "x.xyz"))
    probe = graphs_to_batch(config_of(options.size, options.cutoff, 16.0), records)
    config = config_of(options.size, options.cutoff, probe.num_edges / probe.num_nodes)
    network, batch = network_of(config), probe
    network.requires_grad_(False)

    def whole() -> Any:
        with torch.no_grad():
            return network(batch)

    rows: dict[str, dict[str, float]] = {}
    for name, module, call, arguments, settings in recorded(network, whole):
        sums = rows.setdefault(name, {})
        for key, value in measure(module, call, arguments, settings, options.repeats).items():
            sums[key] = sums.get(key, 0.0) + value
    total = best(whole, options.repeats)
    neighbours = best(lambda: graphs_to_batch(config, records), options.repeats)
    print(f"matrix product {peak / 1e9:.1f} GFLOP/s, copy {rate / 1e9:.1f} GB/s, {options.threads} threads")
    print(f"{'stage':20}{'calls':>6}{'ms':>9}{'MFLOP':>9}{'MB':>8}{'limit ms':>10}{'of limit':>9}")
    for name, row in rows.items():
        seconds = row["gradient_s"] or row["forward_s"]
        least = max(row["operations"] / peak, row["bytes"] / rate)
        row |= {"least_s": least, "fraction": least / seconds}
        print(
            f"{name:20}{row['calls']:6.0f}{1e3 * seconds:9.2f}{row['operations'] / 1e6:9.1f}{row['bytes'] / 1e6:8.2f}"
            f"{1e3 * least:10.3f}{100 * row['fraction']:8.0f}%"
        )
    stages = sum(row["gradient_s"] or row["forward_s"] for row in rows.values())
    print(f"{'elsewhere':20}{'':6}{1e3 * (total - stages):9.2f}")
    print(f"energy and forces {1e3 * total:.2f} ms, finding edges {1e3 * neighbours:.2f} ms")
    content = {
        "what": "roofline", "machine": machine, "threads": options.threads, "size": options.size, "structure": options.structure,
        "edges": batch.num_edges, "peak_flops": peak, "copy_bytes": rate, "stages": rows, "energy_forces_s": total,
        "elsewhere_s": total - stages, "neighbours_s": neighbours, "load_average_after": list(os.getloadavg()),
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
