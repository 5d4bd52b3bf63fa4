"""A node program as one differentiable operation, twice differentiable."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .library import compiled
from .mode import weights_are_fixed
from .node_program import NodeProgram
from .node_source import NODES, Function, Parameter, Piece, node_source, tensors
from .tape import call

_REAL = {torch.float32: "float", torch.float64: "double"}
_MOST_CHUNKS = 64
_CHUNK = 4 * NODES


@dataclass
class NodeBlock:
    """A program with the places of its inputs and outputs in tensors ``[N, rows, columns]``, and its parameters in order."""

    program: NodeProgram
    inputs: dict[str, Piece]
    outputs: list[tuple[int, Piece]]
    parameters: list[Parameter]

    def __post_init__(self) -> None:
        p = self.program
        values = {name: p.input(name, piece.rows, piece.columns) for name, piece in self.inputs.items()}
        cotangents = {f"g{i}": piece for i, (_, piece) in enumerate(self.outputs)}
        seeds = {
            value: p.input(f"g{i}", piece.rows, piece.columns)
            for i, (value, piece) in enumerate(self.outputs)
        }
        moves = {f"a_{name}": piece for name, piece in self.inputs.items()}
        first, sums = p.gradient(seeds, list(values.values()))
        rates = [
            p.dot(p.input(f"a_{name}", piece.rows, piece.columns), value)
            for (name, piece), value in zip(self.inputs.items(), first, strict=True)
            if value is not None
        ]
        total = rates[0]
        for rate in rates[1:]:
            total = p.add(total, rate)
        second, second_sums = p.gradient({total: p.constant([1.0])}, [*values.values(), *seeds.values()])
        d_inputs = [_renamed(piece, "d_") for piece in self.inputs.values()]
        d_cotangents = [_renamed(piece, "d_g_") for piece in cotangents.values()]
        self.in_names = tensors(list(self.inputs.values()))
        self.out_names = tensors([piece for _, piece in self.outputs])
        all_inputs = self.inputs | {n: _renamed(piece, "g_") for n, piece in cotangents.items()}
        with_moves = all_inputs | {n: _renamed(piece, "a_") for n, piece in moves.items()}
        self.functions = [
            Function("forward", p, self.inputs, self.outputs),
            Function("first", p, all_inputs, _kept(first, d_inputs)),
            Function("first_with_sums", p, all_inputs, _kept(first, d_inputs), sums),
            Function("second", p, with_moves, _kept(second, d_inputs + d_cotangents), second_sums),
        ]
        self._libraries: dict[str, ctypes.CDLL | None] = {}
        self._written = [_written(f) for f in self.functions]
        names = [f"d_{n}" for n in self.in_names] + [f"d_g_{n}" for n in self.out_names]
        orders = [[name for name, *_ in written] for written in self._written]
        self._found = [[order.index(n) if n in order else None for n in names] for order in orders]
        self._numels = [p.numel for p in self.parameters]

    def library(self, real: str) -> ctypes.CDLL | None:
        if real not in self._libraries:
            arguments = {}
            for f in self.functions:
                count = len(tensors(list(f.inputs.values()))) + len(
                    tensors([piece for _, piece in f.outputs])
                )
                places = [ctypes.c_void_p] * (count + len(self.parameters) + 1)
                arguments[f.name] = (ctypes.c_int64, ctypes.c_int64, *places, ctypes.c_int)
            self._libraries[real] = compiled(
                lambda: node_source(self.functions, self.parameters, real), arguments
            )
        return self._libraries[real]

    def available(self, x: Tensor) -> bool:
        """Whether there are kernels for this tensor: on a CPU, in float32 or float64, where a compiler was found."""
        return x.device.type == "cpu" and x.dtype in _REAL and self.library(_REAL[x.dtype]) is not None

    def __call__(self, inputs: Sequence[Tensor], parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Output tensors ``[N, rows, columns]``; ``inputs`` in the order of ``in_names``."""
        return _Block.apply(self, *[t.contiguous() for t in inputs], *[t.contiguous() for t in parameters])

    # ------------------------------------------------------------------ calls
    def run(
        self, which: int, given: Sequence[Tensor], parameters: Sequence[Tensor], sums: Tensor | None
    ) -> list[Tensor]:
        """Call one function; returns the tensors that it writes, zero where it writes nothing."""
        like = given[0]
        nodes = like.shape[0]
        written = [
            (like.new_empty if whole else like.new_zeros)((nodes, rows, columns))
            for _, rows, columns, whole in self._written[which]
        ]
        library = self.library(_REAL[like.dtype])
        assert library is not None
        arguments = (
            nodes, self.chunks(nodes), *[t.data_ptr() for t in (*given, *parameters, *written)],
            None if sums is None else sums.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        call(getattr(library, self.functions[which].name), arguments, [*given, *parameters], [*written, sums])
        return written

    def derivatives(
        self, which: int, written: Sequence[Tensor], like: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """What a function wrote in the order of inputs (and cotangents), shaped as they are; None where it writes nothing."""
        return [
            None if place is None else written[place].view_as(t)
            for place, t in zip(self._found[which], like, strict=False)
        ]

    def slopes(
        self,
        given: Sequence[Tensor],
        cotangents: Sequence[Tensor],
        parameters: Sequence[Tensor],
        *,
        weights: bool,
    ) -> tuple[list[Tensor | None], Tensor | None]:
        """Derivatives of ``<cotangents, outputs>`` with respect to each of ``given`` (None: no dependence), unknown to autograd;
        with ``weights`` also rows ``[chunks, numbers]`` whose sum, :meth:`split`, is that of the parameters."""
        sums = self.sums(given[0]) if weights else None
        which = 2 if weights else 1
        written = self.run(which, [*given, *cotangents], parameters, sums)
        return self.derivatives(which, written, given), sums

    def second(
        self,
        given: Sequence[Tensor],
        cotangents: Sequence[Tensor],
        rates: Sequence[Tensor],
        parameters: Sequence[Tensor],
    ) -> tuple[list[Tensor | None], Tensor | None]:
        """Derivatives of ``<rates, slopes>`` with respect to each of ``given``, then of ``cotangents``, and rows as there."""
        sums = self.sums(given[0]) if self.functions[3].sums else None
        everything = [*given, *cotangents]
        written = self.run(3, [*everything, *rates], parameters, sums)
        return self.derivatives(3, written, everything), sums

    @staticmethod
    def chunks(nodes: int) -> int:
        """Parts that threads share and that keep sums of their own: they depend on the number of nodes alone."""
        return max(1, min(_MOST_CHUNKS, nodes // _CHUNK))

    def sums(self, like: Tensor) -> Tensor:
        return like.new_empty(self.chunks(len(like)), sum(self._numels))

    def split(self, total: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Derivatives shaped as ``parameters``, from all of them in a row."""
        parts = total.split(self._numels)
        return [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]


def _renamed(piece: Piece, prefix: str) -> Piece:
    return replace(piece, tensor=prefix + piece.tensor)


def _written(function: Function) -> list[tuple[str, int, int, bool]]:
    """(name, rows, columns, written as a whole?) of each tensor that a function writes."""
    pieces = [piece for _, piece in function.outputs]
    found = []
    for name in tensors(pieces):
        own = [piece for piece in pieces if piece.tensor == name]
        rows, columns = own[0].tensor_rows, own[0].tensor_columns
        found.append((name, rows, columns, sum(p.rows * p.columns for p in own) == rows * columns))
    return found


def _kept(values: Sequence[int | None], pieces: Sequence[Piece]) -> list[tuple[int, Piece]]:
    return [(value, piece) for value, piece in zip(values, pieces, strict=True) if value is not None]


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx, block, *tensors_and_parameters):
        count = len(block.in_names)
        given, parameters = tensors_and_parameters[:count], tensors_and_parameters[count:]
        ctx.block, ctx.count = block, count
        ctx.save_for_backward(*tensors_and_parameters)
        return tuple(block.run(0, given, parameters, None))

    @staticmethod
    def backward(ctx, *cotangents):
        with_sums = any(ctx.needs_input_grad[1 + ctx.count :]) and not weights_are_fixed()
        found = _Gradient.apply(ctx.block, ctx.count, with_sums, *ctx.saved_tensors, *cotangents)
        return None, *found


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, block, count, with_sums, *tensors):
        saved = len(tensors) - len(block.out_names)
        given, parameters = tensors[:count], tensors[count:saved]
        cotangents = [g.contiguous() for g in tensors[saved:]]
        ctx.block, ctx.count, ctx.saved = block, count, saved
        ctx.save_for_backward(*given, *parameters, *cotangents)
        ctx.set_materialize_grads(False)
        found, sums = block.slopes(given, cotangents, parameters, weights=with_sums)
        slopes = [None] * len(parameters) if sums is None else block.split(sums.sum(0), parameters)
        return (*found, *slopes)

    @staticmethod
    @once_differentiable
    def backward(ctx, *moves):
        block, count = ctx.block, ctx.count
        if any(move is not None for move in moves[count:]):
            raise NotImplementedError(
                "second derivatives through the derivative with respect to a node block's weights"
            )
        given, parameters = ctx.saved_tensors[:count], ctx.saved_tensors[count : ctx.saved]
        cotangents = ctx.saved_tensors[ctx.saved :]
        rates = [
            torch.zeros_like(t) if move is None else move.contiguous()
            for t, move in zip(given, moves[:count], strict=True)
        ]
        found, sums = block.second(given, cotangents, rates, parameters)
        slopes = [None] * len(parameters) if sums is None else block.split(sums.sum(0), parameters)
        return None, None, None, *found[:count], *slopes, *found[count:]
