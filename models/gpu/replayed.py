"""Passes of training and validation on a GPU as CUDA graphs: what hundreds of short kernels cost to start is paid once.

A pass with its forces, and its way back to the weights, are two recordings; an operation of autograd replays one and then the
other, so that losses, engines and optimisers stand around it as around any pass. Batches of changing sizes run in a few
recordings: each has room for more nodes, edges and graphs than the batch it was made for, and what is left over is filled with
pairs of atoms that do not see each other (:func:`fill`), whose answers are cut off and whose cotangents are zero.

All recordings share one pool of memory, so between a pass and its way back no other may be replayed: a pass that comes in
between is made plainly.

Legend: ``N`` nodes, ``E`` edges, ``G`` graphs.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from atomfield.data.graph_batch import GraphBatch
from atomfield.models.auxiliary import ATOM_INPUTS, HIDDEN

from .cuda_graphs import CudaGraphs, Recorder, reason
from .room import Room, empty, fill, inputs_of, length_of

if TYPE_CHECKING:
    from atomfield.models.heads import Answers
    from atomfield.models.network import AtomFieldNet

logger = logging.getLogger("atomfield")

MOST_EDGES = 300_000
"""Beyond, kernels run longer than starting them takes, and room to spare costs more than it saves."""
_MOST_RECORDINGS = 48
_TRIES = 96
"""Recordings after which fewer than ten passes for each mean that sizes differ too much."""


class Call(NamedTuple):
    """What a pass is asked for."""

    derived: bool
    """Forces as derivatives of the energy; else what the heads read alone."""
    stress: bool
    answers: Answers


class ReplayedPass:
    """The recorded passes of one network whose weights change in place."""

    def __init__(self, net: AtomFieldNet, recorder: Recorder | None = None):
        self.net = net
        self._recorder = recorder
        self._recordings: list[_Recording] = []
        """The one that was used last stands at the end."""
        self._named: dict[str, torch.nn.Parameter] | None = None
        self._made = self._served = 0
        self._most_edges = MOST_EDGES
        self._refused = False
        self._under_way: weakref.ref[_UnderWay] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy records for itself, in a pool of its own."""
        return ReplayedPass, (self.net, None if isinstance(self._recorder, CudaGraphs) else self._recorder)

    def serves(self, batch: GraphBatch) -> bool:
        """Whether passes over ``batch`` can be recorded: on a GPU, with nothing but weights to be differentiated by, and a
        network without terms that work on the whole of a structure or are not tensor operations alone."""
        config = self.net.config
        given = [batch.positions, batch.cell, *batch.quantities.values()]
        return (
            (batch.positions.is_cuda or self._recorder is not None)
            and not self._refused
            and 1 < batch.num_edges <= self._most_edges
            and config.long_range == "none"
            and not (config.fourier if batch.world == "field" else config.electrostatics)
            and not (config.constraints and batch.world == "field")
            and self.net.priors is None
            and not any(p.trees for p in config.properties)
            and not self.net.backbone.recompute
            and HIDDEN not in batch.quantities
            and (batch.world == "field" or not (ATOM_INPUTS & batch.quantities.keys()))
            and not any(t.requires_grad for t in given)
            and not torch.is_autocast_enabled(batch.positions.device.type)
        )

    def __call__(self, batch: GraphBatch, level_G: Tensor, call: Call) -> dict[str, Tensor] | None:
        """What the network answers, differentiable by its weights; None where a pass must be made plainly."""
        if not self.serves(batch) or (self._under_way is not None and self._under_way() is not None):
            return None
        weights = self._weights()
        if weights is None:
            return None
        key = self._key(batch, call, weights)
        recording = next((r for r in reversed(self._recordings) if r.key == key), None)
        if recording is None and (recording := self._record(batch, level_G, call, weights, key)) is None:
            return None
        self._recordings.remove(recording)
        self._recordings.append(recording)
        self._served += 1
        recording.take(batch, level_G)
        return self._replay(recording, batch, weights)

    def _weights(self) -> dict[str, torch.nn.Parameter] | None:
        """None where they are not there as a whole (ZeRO 3) or in several precisions."""
        if self._named is None:  # walking through all modules takes as long as several kernels
            self._named = dict(self.net.named_parameters())
        whole = not any(hasattr(p, "ds_id") for p in self._named.values())
        return self._named if whole and len({p.dtype for p in self._named.values()}) == 1 else None

    def _key(self, batch: GraphBatch, call: Call, weights: dict[str, torch.nn.Parameter]) -> tuple[Any, ...]:
        recorded = torch.is_grad_enabled()
        inputs = tuple((n, v.shape[1:], v.dtype) for n, v in inputs_of(self.net, batch).items())
        places = tuple((w.data_ptr(), recorded and w.requires_grad) for w in weights.values())
        kept = (batch.positions.dtype, batch.volume.dtype, batch.positions.device)
        room = Room.for_batch(batch)
        # what is made in inference mode cannot be written to elsewhere
        modes = (recorded, self.net.training, torch.is_inference_mode_enabled())
        return room, call, batch.world == "field", modes, inputs, kept, places

    def _record(
        self,
        batch: GraphBatch,
        level_G: Tensor,
        call: Call,
        weights: dict[str, torch.nn.Parameter],
        key: tuple[Any, ...],
    ) -> _Recording | None:
        if self._made >= _TRIES and self._served < 10 * self._made:
            self._refuse("the sizes of batches differ too much")
            return None
        device = batch.positions.device
        moved = isinstance(self._recorder, CudaGraphs) and self._recorder.device != device
        if self._recorder is None or moved:
            self._recorder = CudaGraphs(device)
        del self._recordings[: max(0, len(self._recordings) + 1 - _MOST_RECORDINGS)]
        try:
            found = _Recording(self.net, self._recorder, batch, level_G, call, weights, key)
        except torch.OutOfMemoryError:  # smaller ones may go on, once they have given back what they hold
            self._most_edges = batch.num_edges // 2
            self._recordings.clear()
            logger.warning(
                "passes over more than %d edges are not recorded, for which memory does not suffice",
                self._most_edges,
            )
            return None
        except RuntimeError as error:
            self._refuse(reason(error))
            return None
        self._made += 1
        self._recordings.append(found)
        return found

    def _refuse(self, why: str) -> None:
        self._refused = True
        self._recordings.clear()
        logger.warning("passes are not recorded from here on, which takes longer for small batches (%s)", why)

    def _replay(
        self, recording: _Recording, batch: GraphBatch, weights: dict[str, torch.nn.Parameter]
    ) -> dict[str, Tensor]:
        rows = recording.rows_of(batch)
        if not recording.trained:
            recording.forward()
            return {name: value[: rows[name]].clone() for name, value in recording.values.items()}
        under_way = _UnderWay()
        self._under_way = weakref.ref(under_way)
        trained = [weights[name] for name in recording.trained]
        found = _Replayed.apply(recording, rows, under_way, *trained)
        return dict(zip(recording.values, found, strict=True))


@contextmanager
def replaying(net: AtomFieldNet, on: bool) -> Iterator[None]:
    """Within, passes over like batches are recorded where ``on``; what holds them goes with it."""
    before = net.replayed
    if on:
        net.replay_passes()
    try:
        yield
    finally:
        net.replayed = before


class _UnderWay:
    """A pass whose way back has not been taken; it ends with what autograd keeps of it."""


class _Replayed(torch.autograd.Function):
    """Answers from weights: the recording of a pass, and back that of its derivatives."""

    @staticmethod
    def forward(
        ctx: Any, recording: _Recording, rows: dict[str, int], under_way: _UnderWay, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.recording, ctx.rows, ctx.under_way = recording, rows, under_way
        ctx.set_materialize_grads(False)
        recording.forward()
        found = {name: value[: rows[name]].clone() for name, value in recording.values.items()}
        ctx.mark_non_differentiable(*(v for name, v in found.items() if name not in recording.cotangents))
        return tuple(found.values())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        if ctx.under_way is None:
            raise RuntimeError(
                "a recorded pass has one way back only; make the pass again, or without recordings"
            )
        ctx.under_way = None
        recording: _Recording = ctx.recording
        for (name, rows), given in zip(ctx.rows.items(), cotangents, strict=True):
            if name in recording.cotangents:
                own = recording.cotangents[name]
                own.zero_()
                if given is not None:
                    own[:rows].copy_(given)
        recording.backward()
        return None, None, None, *recording.gradients()


class _Recording:
    """A pass, and where gradients are recorded its way back, for batches up to some size."""

    def __init__(
        self, net: AtomFieldNet, recorder: Recorder, batch: GraphBatch, level_G: Tensor, call: Call,
        weights: dict[str, torch.nn.Parameter], key: tuple[Any, ...],
    ):  # fmt: skip
        self.key = key
        self.room: Room = key[0]
        self._batch, self._level = empty(net, batch, level_G, self.room)
        self._cutoff = length_of(net, batch)
        recorded = torch.is_grad_enabled() and any(w.requires_grad for w in weights.values())
        # in the same memory, but the engine that trains the network has no hooks on these
        self._weights = {
            n: w.detach().requires_grad_(recorded and w.requires_grad) for n, w in weights.items()
        }
        trained = {n: w for n, w in self._weights.items() if w.requires_grad}
        self.values: dict[str, Tensor] = {}
        self.cotangents: dict[str, Tensor] = {}
        self._live: dict[str, Tensor] = {}
        self._flat, self._found = level_G, [False] * len(trained)
        inner = _Inner(net)

        def forward() -> None:
            given = replace(self._batch)  # nothing derived is taken over
            named = {f"net.{n}": w for n, w in self._weights.items()}
            with torch.set_grad_enabled(recorded):
                self._live = functional_call(inner, named, (given, self._level, call))
            self.values = {name: value.detach() for name, value in self._live.items()}

        def backward() -> None:
            live = [self._live[name] for name in self.cotangents]
            found = torch.autograd.grad(
                live, list(trained.values()), list(self.cotangents.values()), allow_unused=True
            )
            self._found = [g is not None for g in found]
            self._flat = torch.cat([g.flatten() for g in found if g is not None])

        def both() -> None:
            forward()
            if not self.cotangents:
                self.cotangents = {n: torch.zeros_like(v) for n, v in self._live.items() if v.requires_grad}
            if self.cotangents:
                backward()
            self._live = {}  # what autograd keeps belongs to the stream that this ran on

        self.take(batch, level_G)
        recorder.warm(both)
        self.forward = recorder.record(forward)
        self.backward = recorder.record(backward) if self.cotangents else lambda: None
        self._live = {}
        if any(len(value) not in (self.room.nodes, self.room.graphs) for value in self.values.values()):
            raise RuntimeError("an answer belongs neither to nodes nor to graphs")
        self.trained = list(trained) if self.cotangents else []
        """Names of the weights that have a gradient."""
        self._shapes = [w.shape for w, there in zip(trained.values(), self._found, strict=True) if there]

    def take(self, batch: GraphBatch, level_G: Tensor) -> None:
        fill(self._batch, self._level, batch, level_G, self._cutoff)

    def rows_of(self, batch: GraphBatch) -> dict[str, int]:
        """How many rows of each answer belong to ``batch``."""
        own = {self.room.nodes: batch.num_nodes, self.room.graphs: batch.num_graphs}
        return {name: own[len(value)] for name, value in self.values.items()}

    def gradients(self) -> list[Tensor | None]:
        """Of each weight of ``trained``, in memory of their own."""
        pieces = iter(self._flat.clone().split([shape.numel() for shape in self._shapes]))
        shapes = iter(self._shapes)
        return [next(pieces).view(next(shapes)) if there else None for there in self._found]


class _Inner(torch.nn.Module):
    def __init__(self, net: AtomFieldNet):
        super().__init__()
        self.net = net

    def forward(self, batch: GraphBatch, level_G: Tensor, call: Call) -> dict[str, Tensor]:
        if batch.world == "field":
            return self.net.fields(batch, level_G, features=call.answers.features)
        if call.derived:
            return self.net.conservative(batch, level_G, stress=call.stress, answers=call.answers)
        return self.net.plain(batch, level_G, added=False, answers=call.answers)
