"""Text of Triton kernels: statements from expressions, and the module that they are loaded from.

Triton reads the source of a kernel from a file, so each library of kernels is a file in the cache folder, named by its content.
Only source that this package writes is run; nothing of a checkpoint enters it beyond a few small integers.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from atomfield.models.fused.expressions import Expressions
from atomfield.models.fused.library import cache_folder, compiler

logger = logging.getLogger("atomfield")

_OLDEST = (7, 0)
"""Compute capability that Triton starts at."""
HEADER = "import triton\nimport triton.language as tl\n\n"


def statements(
    e: Expressions, outputs: list[tuple[str, int]], load: Callable[[str], str], prefix: str
) -> list[str]:
    """Lines that compute every output, each as soon as what it rests on is there; ``@`` in a target is the value.

    load: what reads a variable. prefix: of the names of intermediate values.
    """
    text: dict[int, str] = {}
    lines: list[str] = []
    for target, node in outputs:
        for number in e.needed([node]):
            if number not in text:
                lines.append(f"{prefix}{number} = {_value(e, number, text, load)}")
                text[number] = f"{prefix}{number}"
        lines.append(target.replace("@", text[node]))
    return lines


def _value(e: Expressions, number: int, text: dict[int, str], load: Callable[[str], str]) -> str:
    node = e.nodes[number]
    match node.kind:
        case "one":
            return "1.0"
        case "var":
            return load(node.name)
        case "inverse":
            return f"1.0 / {text[node.factors[0]]}"
        case "mul":
            return f"{text[node.factors[0]]} * {text[node.factors[1]]}"
    terms = [(c, text[n]) for c, n in node.terms]
    if not terms:
        return "0.0"
    parts = [
        f"{'-' if c < 0 else '+'} {name if abs(c) == 1.0 else f'{abs(c)!r} * {name}'}" for c, name in terms
    ]
    return " ".join(parts).removeprefix("+ ")


def kernel(name: str, arguments: list[str], body: list[str]) -> str:
    """One ``triton.jit`` function, compiled once: whether numbers and lists of edges are multiples of 16 is not looked at, which
    would compile it again in the middle of a training."""
    numbers, lists = (
        [n for n in names if n in arguments] for names in (("count",), ("start", "order", "other"))
    )
    decorator = f"@triton.jit(do_not_specialize={numbers}, do_not_specialize_on_alignment={lists})"
    return "\n".join([decorator, f"def {name}({', '.join(arguments)}):", *indented(body)]) + "\n\n"


def indented(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]


def module_of(source: str) -> ModuleType:
    """The kernels of ``source`` as a module."""
    key = hashlib.sha256(source.encode()).hexdigest()[:24]
    file = cache_folder() / "kernels" / f"triton_{key}.py"
    if not file.exists() or file.read_text() != source:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(handle, "w") as stream:
            stream.write(source)
        os.replace(draft, file)
    spec = importlib.util.spec_from_file_location(f"atomfield_triton_{key}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def on_device_of(x: Tensor) -> AbstractContextManager[Any]:
    """Kernels start on the current GPU: make it that of ``x``."""
    if not x.is_cuda or x.device.index == torch.cuda.current_device():
        return nullcontext()
    return torch.cuda.device(x.device)


@lru_cache(maxsize=1)
def _triton_is_there() -> bool:
    return importlib.util.find_spec("triton") is not None


def runs_on(tensor: Tensor) -> bool:
    """Whether Triton is there for tensors like this one: on a GPU, or anywhere under its interpreter (TRITON_INTERPRET=1)."""
    if not _triton_is_there():
        return False
    if os.environ.get("TRITON_INTERPRET") == "1":
        return True
    return tensor.is_cuda and _triton_can_build(tensor.device.index or 0)


@lru_cache(maxsize=16)
def _triton_can_build(device: int) -> bool:
    """Whether kernels can be built for this GPU; said once where they cannot."""
    if torch.cuda.get_device_capability(device) < _OLDEST:
        why = f"Triton has no kernels for {torch.cuda.get_device_name(device)}"
    elif compiler() is None:
        why = "no C compiler found, which Triton starts its kernels with"
    else:
        return True
    logger.warning("%s: the network runs in eager mode, which is slower", why)
    return False
