"""The pass over atoms, with its derivatives, as one graph of tensor operations with free sizes, compiled by ``torch.compile``.

``torch.compile`` does not follow a gradient taken inside a pass, so energy and forces are traced into one graph first (as NequIP
does, Tan et al., arXiv:2504.16068): what is left are plain operations, ours among them, which it fuses and differentiates once
more for training. Traced once for each kind of call; sizes of batches are free, so nothing is compiled again for a new number of
edges. Compiling takes a minute or so, once.

Legend: ``N`` nodes, ``E`` edges, ``G`` graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from atomfield.data.graph_batch import GraphBatch
from atomfield.models.auxiliary import ATOM_INPUTS
from atomfield.models.fused.edges import EdgeList, Order

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from atomfield.models.heads import Answers
    from atomfield.models.network import AtomFieldNet


class SymbolicBatch(GraphBatch):
    """Sizes stay symbols while a graph is traced."""

    @property
    def num_nodes(self) -> int:
        return self.positions.shape[0]

    @property
    def num_edges(self) -> int:
        return self.edge_index.shape[1]

    @property
    def num_graphs(self) -> int:
        return self.cell.shape[0]


class Kind(NamedTuple):
    """What a graph is traced for."""

    derived: bool
    """Forces as derivatives; else what the heads read alone."""
    stress: bool
    answers: Answers
    one_graph: bool
    one_level: bool
    training: bool


class CompiledPass:
    """The compiled passes of one network. ``backend``: of ``torch.compile``; None: traced and run as it is."""

    def __init__(self, net: AtomFieldNet, backend: str | None = "inductor"):
        self.net, self.backend = net, backend
        self._known: dict[Kind, tuple[list[str], Callable[..., Any]]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return CompiledPass, (self.net, self.backend)

    def serves(self, batch: GraphBatch) -> bool:
        """Whether a pass over ``batch`` can be traced: atoms with nothing given but what the kinds of atoms are (labels are not
        read), and a network without what :meth:`hindrance` names."""
        return (
            batch.world != "field"
            and not (ATOM_INPUTS & batch.quantities.keys())
            and not self.hindrance()
            and batch.num_edges > 1
            and batch.num_nodes > 1
        )

    def hindrance(self) -> str:
        """What of the network keeps every pass from being traced; "" if nothing."""
        config = self.net.config
        found = {
            "long_range": config.long_range != "none",
            "electrostatics": config.electrostatics,
            "priors": self.net.priors is not None,
            "user properties": bool(config.properties),
            "recompute": self.net.backbone.recompute,
        }
        return ", ".join(name for name, there in found.items() if there)

    def __call__(
        self, batch: GraphBatch, level_G: Tensor, *, stress: bool, answers: Answers, derived: bool = True
    ) -> dict[str, Tensor]:
        """What ``AtomFieldNet.differentiated`` gives, or without ``derived`` what the heads say, without terms that labels lack;
        differentiable with respect to weights."""
        training = torch.is_grad_enabled()
        # streams of a training differ in levels and in labels of stress, and each kind takes a minute to compile
        one_level = len(set(batch.levels)) == 1 and not training
        stressed = derived and (stress or training)
        kind = Kind(derived, stressed, answers, batch.num_graphs == 1, one_level, training)
        if kind not in self._known:
            names, graph = traced(self.net, kind)
            made = graph if self.backend is None else torch.compile(graph, backend=self.backend, dynamic=True)
            self._known[kind] = names, made
        names, run = self._known[kind]
        found = run(*_tensors(self.net, batch, level_G), *_weights(self.net, training))
        out = dict(zip(names, found, strict=True))
        if not stress:
            out.pop("stress", None)
        return out


def _weights(net: AtomFieldNet, training: bool) -> list[Tensor]:
    return [w if training else w.detach() for w in net.parameters()]


def _tensors(net: AtomFieldNet, batch: GraphBatch, level_G: Tensor) -> list[Tensor]:
    """What a traced graph is given beside weights."""
    edges = EdgeList.of(batch)
    missing = torch.full((batch.num_graphs,), float("nan"), dtype=torch.float64, device=level_G.device)
    conditions = [batch.conditions.get(name, missing).double() for name in net.config.conditions]
    near, far = edges.by_receiver, edges.by_sender
    return [
        batch.positions, batch.cell, batch.species, batch.node_type, batch.graph_index, batch.edge_index, batch.edge_shift,
        near.start, near.order, far.start, far.order, level_G, *conditions,
    ]  # fmt: skip


def traced(net: AtomFieldNet, kind: Kind) -> tuple[list[str], GraphModule]:
    """The names of the results, and the graph that gives them from :func:`_tensors` and the network's parameters."""
    from torch.fx.experimental.proxy_tensor import make_fx  # takes a while

    levels = [net.config.levels[0]] if kind.one_level else ["", " "]
    names: list[str] = []
    weights = dict(net.named_parameters())

    def run(*given: Tensor) -> list[Tensor]:
        positions, cell, species, node_type, graph_index, edge_index, edge_shift, *rest = given
        near_start, near_order, far_start, far_order, level_G, *rest = rest
        conditions = dict(zip(net.config.conditions, rest, strict=False))
        own = dict(zip(weights, rest[len(conditions) :], strict=True))
        batch = SymbolicBatch(
            positions=positions, species=species, node_type=node_type, graph_index=graph_index,
            volume=torch.ones_like(positions[:, 0]), cell=cell,
            pbc=torch.ones(cell.shape[0], 3, dtype=torch.bool, device=cell.device),
            edge_index=edge_index, edge_shift=edge_shift,
            edge_is_radius=torch.ones_like(edge_index[0], dtype=torch.bool), quantities={}, next_quantities={},
            conditions=conditions, levels=levels, spacing=torch.ones_like(cell[:, 0, 0]), world="crystal",
            bonds_known=torch.zeros_like(cell[:, 0, 0], dtype=torch.bool),
        )  # fmt: skip
        edges = EdgeList(edge_index[0], edge_index[1], batch.num_nodes)
        bounds = near_start[:1]  # of chunks: kernels for GPUs have none
        edges.__dict__["by_receiver"] = Order(
            near_start, near_order, edges.receiver_E, edges.sender_E, bounds
        )
        edges.__dict__["by_sender"] = Order(far_start, far_order, edges.sender_E, edges.receiver_E, bounds)
        batch.derived["edges"] = edges
        out = functional_call(_Pass(net), {f"net.{n}": w for n, w in own.items()}, (batch, level_G, kind))
        names[:] = out
        return list(out.values())

    example = _example(net, kind)
    with torch.set_grad_enabled(kind.training):
        graph = make_fx(run, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*example)
    _without_detach(graph)
    return names, graph


class _Pass(torch.nn.Module):
    def __init__(self, net: AtomFieldNet):
        super().__init__()
        self.net = net

    def forward(self, batch: GraphBatch, level_G: Tensor, kind: Kind) -> dict[str, Tensor]:
        if kind.derived:
            return self.net.differentiated(batch, level_G, stress=kind.stress, answers=kind.answers)
        return self.net.read(batch, batch.positions, batch.cell, level_G, added=False, answers=kind.answers)


def _without_detach(graph: GraphModule) -> None:
    """Tensors that the way back reads are noted as detached, but belong to what is differentiated once more."""
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and node.target == torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.recompile()


def _example(net: AtomFieldNet, kind: Kind) -> Sequence[Tensor]:
    """Inputs to trace with, whose sizes differ from each other and from those of the network."""
    nodes, graphs, device = 101, 1 if kind.one_graph else 7, net.device
    random = torch.Generator().manual_seed(0)
    positions = 9 * torch.rand(nodes, 3, generator=random, dtype=torch.float64)
    edge_index = torch.stack([torch.arange(3 * nodes + 4) % nodes, (torch.arange(3 * nodes + 4) + 1) % nodes])
    graph_index = torch.arange(nodes) * graphs // nodes
    batch = GraphBatch(
        positions=positions, species=torch.ones(nodes, dtype=torch.int64), node_type=torch.zeros(nodes, dtype=torch.int64),
        graph_index=graph_index, volume=torch.ones(nodes),
        cell=9 * torch.eye(3, dtype=torch.float64).expand(graphs, 3, 3).clone(),
        pbc=torch.ones(graphs, 3, dtype=torch.bool), edge_index=edge_index,
        edge_shift=torch.zeros(edge_index.shape[1], 3, dtype=torch.float64),
        edge_is_radius=torch.ones(edge_index.shape[1], dtype=torch.bool), quantities={}, next_quantities={}, conditions={},
        levels=[""] * graphs, spacing=torch.ones(graphs), world="crystal",
    ).to(device)  # fmt: skip
    level_G = torch.zeros(graphs, dtype=torch.int64, device=device)
    return [*_tensors(net, batch, level_G), *_weights(net, kind.training)]
