"""PyTorch files (``.pt``, ``.pth``): a dictionary of tensors, as arrays of a field. Loaded with ``weights_only=True``: nothing in
them runs.

Format: ``torch.save`` (docs.pytorch.org, "Serialization semantics"); neuraloperator keeps pairs as ``{"x": input, "y": output}``,
first axis samples. Name what they are: ``--map permeability=x,solution=y,spacing=0.0625+0.0625``. A list of tensors has the
names 0, 1, ...
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.errors import InputError

from .arrays import read_named
from .options import Outcomes, ReadOptions


def read_tensors(path: Path, options: ReadOptions) -> Outcomes:
    """All samples of the file."""
    arrays: dict[str, np.ndarray] = {}
    _flatten(_load(path), "", arrays, path)
    if not arrays:
        raise InputError("the file holds no tensors", str(path))
    taken = {part for key in options.map.values() for part in key.split("+")}
    if {"x", "y"} <= set(arrays) and arrays["x"].ndim > 1:
        if not taken & {"x", "y"}:
            raise InputError(
                f"holds pairs x {list(arrays['x'].shape)} -> y {list(arrays['y'].shape)}, but not what they are; name them and "
                "the distance of grid points: --map permeability=x,solution=y,spacing=0.1+0.1 (and dt=0.1 where y has times)",
                str(path),
            )
        arrays = {
            k: v for k, v in arrays.items() if k not in {"x", "y"} - taken
        }  # halves of pairs are no coordinates
    yield from read_named(arrays, path, options)


def _load(path: Path) -> Any:
    import torch

    if path.stat().st_size == 0:
        raise InputError("the file is empty", str(path))
    with open(path, "rb") as opened:
        if opened.read(2) not in (b"PK", b"\x80\x02"):  # a zip archive, or the format before torch 1.6
            raise InputError("is not a PyTorch file", str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about old storages and about sharing memory
            # a pickle: weights_only lets it make tensors and plain containers, and refuses whatever else it asks for
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise InputError("asks for more memory than there is; is it whole?", str(path)) from None
    except Exception as error:  # a file from elsewhere makes torch's reader raise almost anything
        text = " ".join(str(error).split())
        if "Weights only load failed" in text or "Unsupported" in text:
            raise InputError(
                "holds Python objects other than tensors, which are not loaded because they can run code; save plain tensors",
                str(path),
            ) from None
        raise InputError(
            f"is not a PyTorch file, or not a whole one ({type(error).__name__} {text[:100]})", str(path)
        ) from None


def _flatten(value: Any, name: str, out: dict[str, np.ndarray], path: Path) -> None:
    import torch

    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_quantized:
            raise InputError(f"tensor {name!r} is {value.layout}, expected a dense one", str(path))
        value = value.detach()
        if value.dtype in (torch.bfloat16, torch.float16):
            value = value.to(torch.float32)
        out[name or "tensor"] = value.resolve_conj().resolve_neg().numpy()
    elif isinstance(value, dict):
        for key, part in value.items():
            _flatten(part, f"{name}.{key}" if name else str(key), out, path)
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            _flatten(part, f"{name}.{number}" if name else str(number), out, path)
    elif isinstance(value, (bool, int, float)):
        out[name or "value"] = np.array(value)
