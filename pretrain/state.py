"""The optimiser's state as whole tensors by parameter name, out of the pieces that ZeRO leaves on each rank and back into them.

Whole, it does not depend on the number of ranks nor on the stage, and it can be written as safetensors. DeepSpeed's own universal
format does the same by way of pickles and a separate conversion. What is assumed of the optimiser: a tensor in its
state has the shape of the parameter, or is a scalar (the count of steps) that is the same for all parameters of a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from atomfield.data.errors import InputError

from .engine import DeepSpeedEngine, TorchEngine
from .ranks import device_of_messages, distributed

Engine = DeepSpeedEngine | TorchEngine
WEIGHT = "weight"
"""The parameter itself, in float32, beside the keys of its state."""


def whole_state(engine: Engine) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
    """Collective. ``{parameter}.{key}`` -> tensor in the parameter's shape (complete on rank 0 only), and scalars by
    parameter and key."""
    if isinstance(engine, TorchEngine) or engine.zero_stage == 0:
        tensors, scalars = _plain(engine)
    elif engine.zero_stage == 3:
        tensors, scalars = _stage_3(engine)
    else:
        tensors, scalars = _stages_1_and_2(engine)
    if engine.flat is None:
        return tensors, scalars
    members = zip(_trained(engine), engine.flat.members, strict=True)
    return engine.flat.apart(tensors), {name: scalars[part] for (part, _), own in members for name in own}


def load_whole_state(
    engine: Engine, tensors: dict[str, Tensor], scalars: dict[str, dict[str, float]]
) -> None:
    """Put what :func:`whole_state` gave into ``engine``, at any stage and number of ranks. Raises ``InputError`` where the
    network has other parameters than the state."""
    for name, parameter in _parameters(engine):
        shape = tuple(getattr(parameter, "ds_shape", parameter.shape))
        found = tensors.get(f"{name}.{WEIGHT}")
        if found is None or tuple(found.shape) != shape:
            said = "nothing" if found is None else f"shape {tuple(found.shape)}"
            raise InputError(
                f"the checkpoint has {said} for parameter {name}, the network of this configuration has shape {shape}; "
                "give the configuration of the run that wrote it, or another `out`"
            )
    if engine.flat is not None:
        first = next(name for name, _ in _parameters(engine))
        tensors = engine.flat.together(tensors, [WEIGHT, *_keys_of(first, tensors)])
        members = zip(_trained(engine), engine.flat.members, strict=True)
        scalars = {part: scalars.get(next(iter(own)), {}) for (part, _), own in members}
    if isinstance(engine, TorchEngine) or engine.zero_stage == 0:
        _load_plain(engine, tensors, scalars)
    elif engine.zero_stage == 3:
        _load_stage_3(engine, tensors, scalars)
    else:
        _load_stages_1_and_2(engine, tensors, scalars)


def _parameters(engine: Engine) -> list[tuple[str, nn.Parameter]]:
    """Those that have elements: DeepSpeed does not know the others (a head without properties)."""
    named = engine.module.named_parameters()
    return [(n, p) for n, p in named if getattr(p, "ds_numel", p.numel())]


def _trained(engine: Engine) -> list[tuple[str, nn.Parameter]]:
    """The parameters that DeepSpeed knows: the network's own, or the vectors that they are views of."""
    return _parameters(engine) if engine.flat is None else list(engine.flat.named_parameters())


def _keys(state: dict[str, Any], shape: torch.Size) -> tuple[list[str], dict[str, float]]:
    """Names of the tensors that follow the parameter's shape, and the scalars."""
    tensors = [k for k, v in state.items() if isinstance(v, Tensor) and v.ndim and v.shape == shape]
    scalars = {
        k: float(v)
        for k, v in state.items()
        if isinstance(v, (int, float)) or (isinstance(v, Tensor) and not v.ndim)
    }
    return tensors, scalars


def _keys_of(name: str, tensors: dict[str, Tensor]) -> list[str]:
    """The keys of a parameter's state; a longer name that begins alike has a further dot in the rest."""
    start = f"{name}."
    rest = [k.removeprefix(start) for k in tensors if k.startswith(start)]
    return [k for k in rest if "." not in k and k != WEIGHT]


def _counts(engine: Engine, scalars: dict[str, float], beside: Tensor) -> dict[str, Tensor]:
    """Scalars as the optimiser keeps them: torch's fused kernels want them on the device of the weights, its others on the
    CPU (as ``torch.optim.Optimizer.load_state_dict`` decides)."""
    near = any(group.get("fused") or group.get("capturable") for group in engine.client.param_groups)
    return {
        key: torch.tensor(value, device=beside.device if near else "cpu") for key, value in scalars.items()
    }


# ---------------------------------------------------------------------- stage 0
def _plain(engine: Engine) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, float]] = {}
    for name, parameter in _trained(engine):
        state = engine.client.state.get(parameter, {})
        keys, scalars[name] = _keys(state, parameter.shape)
        tensors |= {f"{name}.{key}": state[key].detach() for key in keys}
        tensors[f"{name}.{WEIGHT}"] = parameter.detach()
    return tensors, scalars


@torch.no_grad()
def _load_plain(engine: Engine, tensors: dict[str, Tensor], scalars: dict[str, dict[str, float]]) -> None:
    for name, parameter in _trained(engine):
        parameter.copy_(tensors[f"{name}.{WEIGHT}"])
        state = {k: tensors[f"{name}.{k}"].to(parameter, copy=True) for k in _keys_of(name, tensors)}
        state |= _counts(engine, scalars.get(name, {}), parameter)
        if state:
            engine.client.state[parameter] = state


# ---------------------------------------------------------------------- stages 1 and 2
# A rank has, per group of parameters, one flat float32 partition that the optimiser works on. Each parameter that has a piece
# there carries `_hp_mapping` with where the piece lies in the partition (hp) and in the parameter (lp).
def _flat_groups(engine: DeepSpeedEngine) -> Iterator[tuple[Tensor, list[Any]]]:
    zero = engine.engine.optimizer
    yield from zip(zero.single_partition_of_fp32_groups, zero.bit16_groups, strict=True)


def _stages_1_and_2(engine: DeepSpeedEngine) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
    names = {id(p): n for n, p in _trained(engine)}
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, float]] = {}
    for flat, parameters in _flat_groups(engine):
        state = engine.client.state.get(flat, {})
        keys, own = _keys(state, flat.shape)
        scalars |= {names[id(p)]: own for p in parameters}
        for key in (WEIGHT, *keys):
            pieces = flat if key == WEIGHT else state[key]
            whole = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float32, device=flat.device)
            for parameter, part in zip(parameters, whole.split([p.numel() for p in parameters]), strict=True):
                if (mapping := parameter._hp_mapping) is not None:
                    here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
                    part.narrow(0, here.start, here.numel).copy_(
                        pieces.detach().narrow(0, there.start, there.numel)
                    )
                tensors[f"{names[id(parameter)]}.{key}"] = part.view(parameter.shape)
            if distributed():  # the others' pieces, where there are zeros here
                dist.reduce(whole, dst=0)
    return tensors, scalars


@torch.no_grad()
def _load_stages_1_and_2(
    engine: DeepSpeedEngine, tensors: dict[str, Tensor], scalars: dict[str, dict[str, float]]
) -> None:
    names = {id(p): n for n, p in _trained(engine)}
    for flat, parameters in _flat_groups(engine):
        first = names[id(parameters[0])]
        state: dict[str, Tensor] = {}
        for key in (WEIGHT, *_keys_of(first, tensors)):
            pieces = flat if key == WEIGHT else torch.zeros_like(flat)
            for parameter in parameters:
                if (mapping := parameter._hp_mapping) is not None:
                    here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
                    value = tensors[f"{names[id(parameter)]}.{key}"].reshape(-1)
                    pieces.narrow(0, there.start, there.numel).copy_(value.narrow(0, here.start, here.numel))
            if key != WEIGHT:
                state[key] = pieces
        state |= _counts(engine, scalars.get(first, {}), flat)
        if state:
            engine.client.state[flat] = state
        for parameter in parameters:
            parameter.copy_(tensors[f"{names[id(parameter)]}.{WEIGHT}"])


# ---------------------------------------------------------------------- stage 3
def _stage_3(engine: DeepSpeedEngine) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    keys, own = _keys_of_partitions(engine)
    tensors: dict[str, Tensor] = {}
    for name, parameter in _parameters(engine):
        tensors[f"{name}.{WEIGHT}"] = safe_get_full_fp32_param(parameter)
        for key in keys:
            tensors[f"{name}.{key}"] = safe_get_full_optimizer_state(parameter, key)
    return tensors, {name: own for name, _ in _parameters(engine)}


def _load_stage_3(
    engine: DeepSpeedEngine, tensors: dict[str, Tensor], scalars: dict[str, dict[str, float]]
) -> None:
    from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

    zero = engine.engine.optimizer
    first = next(name for name, _ in _parameters(engine))
    keys = _keys_of(first, tensors)
    for flat in zero.fp32_partitioned_groups_flat:
        state = {key: torch.zeros_like(flat) for key in keys}
        state |= _counts(engine, scalars.get(first, {}), flat)
        if state:
            engine.client.state[flat] = state
    device = torch.device(device_of_messages() if distributed() else "cpu")
    for name, parameter in _parameters(engine):
        length = int(getattr(parameter, "ds_tensor").ds_numel)  # noqa: B009 (set by ZeRO, unknown to types)
        safe_set_local_fp32_param(parameter, _piece(tensors[f"{name}.{WEIGHT}"], length).to(device))
        for key in keys:
            safe_set_local_optimizer_state(
                parameter, _piece(tensors[f"{name}.{key}"], length).to(device), key
            )
    if zero.fp16_partitioned_groups_flat:  # the partitions that the network computes with follow
        for low, high in zip(
            zero.fp16_partitioned_groups_flat, zero.fp32_partitioned_groups_flat, strict=True
        ):
            low.data.copy_(high.data)


def _piece(whole: Tensor, length: int) -> Tensor:
    """This rank's part of a tensor that ZeRO 3 cuts into parts of ``length``, the last of them padded with zeros. DeepSpeed's own
    setters of whole tensors run over the end where the number of elements is no multiple of the number of ranks."""
    rank = dist.get_rank() if distributed() else 0
    flat = whole.reshape(-1)[rank * length : (rank + 1) * length]
    return torch.nn.functional.pad(flat, (0, length - len(flat)))


def _keys_of_partitions(engine: DeepSpeedEngine) -> tuple[list[str], dict[str, float]]:
    for flat in engine.engine.optimizer.fp32_partitioned_groups_flat:
        if state := engine.client.state.get(flat):
            return _keys(state, flat.shape)
    return [], {}


def whole_weights(engine: DeepSpeedEngine) -> dict[str, Tensor]:
    """Collective. The weights that ZeRO 3 has in pieces, whole on every rank."""
    import deepspeed

    named = dict(engine.module.named_parameters())
    with deepspeed.zero.GatheredParameters(list(named.values())):
        return {name: p.detach().clone() for name, p in named.items()}
