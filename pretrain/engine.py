"""Two engines with one face (call, ``backward``, ``gradient_square``, ``step``, ``skip``, ``loss_factor``): DeepSpeed for
pretraining, plain torch for finetuning."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .clock import Clock
from .config import OptimizerConfig
from .flat import FlatWeights

BETAS = (0.9, 0.99)
"""How fast averages of the gradient and of its square forget."""


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Matrices decay; vectors, biases, stacked heads and embeddings do not."""
    return not (parameter.ndim < 2 or "head" in name or "embedding" in name or "conditions.level" in name)


def parameter_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups, with and without weight decay (see :func:`decays`)."""
    decay: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in net.named_parameters():
        (decay if decays(name, parameter) else free).append(parameter)
    return [{"params": decay, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def optimizer_of(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    """What ``config.name`` says. Each goes element by element, so ZeRO may cut weights anywhere."""
    if config.name == "nadam":
        return torch.optim.NAdam(groups, lr=config.learning_rate, betas=BETAS, decoupled_weight_decay=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=BETAS, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Each group's rate is ``rate`` times its own ``scale`` (1 unless given)."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)


@dataclass
class EngineState:
    """Weights, in the order of the engine's tensors, and the optimiser's state by its parameters; this rank's part of both."""

    weights: list[torch.Tensor]
    optimizer: list[dict[str, Any]]

    @staticmethod
    def of(tensors: Iterable[torch.Tensor], optimizer: torch.optim.Optimizer) -> EngineState:
        own = [p for group in optimizer.param_groups for p in group["params"]]
        weights = [t.detach().clone() for t in (*tensors, *own)]
        return EngineState(weights, [copy.deepcopy(optimizer.state.get(p, {})) for p in own])

    @torch.no_grad()
    def restore(self, tensors: Iterable[torch.Tensor], optimizer: torch.optim.Optimizer) -> None:
        own = [p for group in optimizer.param_groups for p in group["params"]]
        for tensor, weight in zip((*tensors, *own), self.weights, strict=True):
            tensor.copy_(weight)
        for parameter, state in zip(own, self.optimizer, strict=True):
            optimizer.state[parameter] = copy.deepcopy(state)


class TorchEngine:
    """Plain torch: an optimiser with gradient clipping by global norm."""

    touch_all = False
    zero_stage = 0
    """No part of it is another process's."""
    flat: FlatWeights | None = None

    def __init__(self, net: nn.Module, groups: list[dict[str, Any]], config: OptimizerConfig):
        self.module, self.clip = net, config.gradient_clipping
        self._parameters = list(
            net.parameters()
        )  # walking through all modules takes as long as a small kernel
        self._norm: float | None = None
        self.optimizer = optimizer_of(groups, config)
        self.loss_factor = 1.0

    def __call__(self, *inputs, **options):
        return self.module(*inputs, **options)

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        self._norm = None
        loss.backward()

    def gradient_square(self) -> torch.Tensor:
        """Squared norm of the gradient, before clipping."""
        square = _square(p.grad for p in self._parameters if p.grad is not None)
        self._norm = float(square) ** 0.5
        return square

    @torch.no_grad()
    def step(self) -> None:
        """Clip by the global norm (a norm that is not finite leaves no gradient finite) and update."""
        if self._norm is None:
            self.gradient_square()
        assert self._norm is not None
        factor = self.clip / (self._norm + 1e-6)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if gradients and not factor >= 1:
            torch._foreach_mul_(gradients, factor)
        self.optimizer.step()
        self._forget()

    def skip(self) -> None:
        """The end of a step that changes nothing."""
        self._forget()

    def _forget(self) -> None:
        self._norm = None
        self.optimizer.zero_grad(set_to_none=True)

    @property
    def client(self) -> torch.optim.Optimizer:
        """The optimiser, by the name that it has in DeepSpeed's engine."""
        return self.optimizer

    def copied(self) -> EngineState:
        """Weights and optimiser as they are now."""
        return EngineState.of((), self.optimizer)

    def restore(self, state: EngineState) -> None:
        """As it was when :meth:`copied` was called."""
        state.restore((), self.optimizer)


def _square(gradients: Iterable[torch.Tensor]) -> torch.Tensor:
    """Sum of all squares, float64."""
    given = [g.detach() if g.dtype.itemsize >= 4 else g.detach().float() for g in gradients]
    if not given:
        return torch.zeros((), dtype=torch.float64)
    return torch.stack(torch._foreach_norm(given)).double().square().sum()


def deepspeed_json(
    config: OptimizerConfig, *, zero_stage: int, accumulation: int, world_size: int, parameters: int
) -> dict[str, Any]:
    """DeepSpeed's configuration, generated from ours and written into the run; clipping is explicit because its default is 1, and
    buckets are no larger than the network because by default they take 2 GB of a GPU."""
    bucket = max(2, min(parameters + parameters % 2, 500_000_000))  # ZeRO wants an even number
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": accumulation,
        "train_batch_size": accumulation * world_size,
        "gradient_clipping": config.gradient_clipping,
        "zero_optimization": {
            "stage": zero_stage,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
        },
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
    }


def prepare_environment(device: str) -> None:
    """Defaults that the launchers would set, for a run in one process; no extension is compiled."""
    for key, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}.items():
        os.environ.setdefault(key, value)
    if "MASTER_PORT" not in os.environ:
        import socket

        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            os.environ["MASTER_PORT"] = str(s.getsockname()[1])
    if device == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("DS_BUILD_OPS", "0")


class DeepSpeedEngine:
    """``deepspeed.initialize`` with an optimiser of torch as its client: at stages 0 and 1 around the network's weights as a few
    long vectors (see ``flat.py``), at 2 and 3 around the network itself, since these stages do not keep a whole gradient."""

    def __init__(
        self,
        net: nn.Module,
        config: OptimizerConfig,
        *,
        zero_stage: int,
        accumulation: int,
        clock: Clock | None = None,
    ):
        import deepspeed

        world_size = int(os.environ["WORLD_SIZE"])
        groups = parameter_groups(net, config.weight_decay)
        self.flat = FlatWeights(net, groups) if zero_stage < 2 else None
        managed = 1 if self.flat else accumulation
        """Micro-batches that DeepSpeed knows of in a step."""
        self.settings = deepspeed_json(
            config,
            zero_stage=zero_stage,
            accumulation=managed,
            world_size=world_size,
            parameters=sum(p.numel() for p in net.parameters()),
        )
        client = optimizer_of(self.flat.groups if self.flat else groups, config)
        self.client, self.module, self.zero_stage, self.world_size = client, net, zero_stage, world_size
        # stage 2 needs all parameters in one order; stage 3 holds none whole, and views of vectors have gradients already
        self.touch_all = zero_stage == 2
        self._stands_still = False
        client.step = self._gated(client.step)  # type: ignore[method-assign]
        self.engine, self.optimizer, _, _ = deepspeed.initialize(
            model=self.flat or net, optimizer=client, config=self.settings
        )
        if self.flat:
            self.flat.bind()
        if clock is not None:
            clock.watch(deepspeed.comm.comm.cdb)
        # DeepSpeed averages over ranks and over the micro-batches that it knows of; our losses are already means of the step
        self.loss_factor = float(world_size * managed)

    def __call__(self, *inputs, **options):
        return self.module(*inputs, **options) if self.flat else self.engine(*inputs, **options)

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        if self.flat:  # ranks may have unequal numbers of micro-batches
            loss.backward()
            if last:
                self.engine.backward(self.engine())
            return
        self.engine.backward(loss)
        if not self.engine.is_gradient_accumulation_boundary():
            self.engine.step()  # counts a micro-batch, no more

    def gradient_square(self) -> torch.Tensor:
        """This rank's share of the squared norm of the whole gradient, before clipping; the shares add up over the ranks."""
        if self.zero_stage == 0:  # every rank has all of it
            assert self.flat is not None
            return _square(p.grad for p in self.flat.parts if p.grad is not None) / self.world_size
        parts = self.engine.optimizer.averaged_gradients
        own = [g for group in parts.values() for g in group or [] if not getattr(g, "_zero_padding", False)]
        return _square(own)

    def step(self) -> None:
        """The update; DeepSpeed clips, steps and gathers the weights of all ranks."""
        self.engine.step()
        self._forget_gradients()

    def skip(self) -> None:
        """The end of a step that changes nothing: DeepSpeed goes through its motions and clears its gradients, but the optimiser
        that it calls stands still. (Left to itself, stage 0 steps with NaN and destroys the weights.)"""
        self._stands_still = True
        try:
            self.engine.step()
        finally:
            self._stands_still = False
        self._forget_gradients()

    def copied(self) -> EngineState:
        """Weights and optimiser as they are now, between two steps: this rank's part. Stages 0, 1 and 2."""
        assert self.zero_stage < 3, "ZeRO 3 has the network in pieces"
        return EngineState.of(self.module.parameters(), self.client)

    def restore(self, state: EngineState) -> None:
        """As it was when :meth:`copied` was called."""
        state.restore(self.module.parameters(), self.client)

    def _forget_gradients(self) -> None:
        """The vectors begin anew. ZeRO 3 overwrites its buffer at the first micro-batch of a step and adds at the others: what
        has no gradient in the first would be added to the gradient of the step before."""
        if self.flat:
            self.flat.forget()
        if self.zero_stage == 3:
            self.engine.optimizer.grad_partitions_flat_buffer.zero_()

    def _gated(self, update: Callable[..., Any]) -> Callable[..., Any]:
        def gated(*given: Any, **options: Any) -> Any:
            return None if self._stands_still else update(*given, **options)

        return gated
